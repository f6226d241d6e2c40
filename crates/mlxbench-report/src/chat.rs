//! Conversations for tables: their turns, and all kinds of them together.

use mlxbench_analysis::{Estimate, Row, TurnFigures, TurnMemory};
use mlxbench_core::generate::Mode;
use mlxbench_core::results::ChatTest;

use crate::table::{self, Table};
use crate::{Digest, units};

/// The columns of a turn.
const TURNS: [&str; 8] = [
    "target",
    "test",
    "turn",
    "prompt tokens",
    "new",
    "read",
    "TTFT",
    "memory so far",
];

/// The columns of all kinds of conversation together.
const TOGETHER: [&str; 5] = [
    "target",
    "conversations",
    "overall t/s",
    "generate t/s",
    "warm TTFT",
];

/// All kinds of conversation together, and the turns of each.
pub(crate) fn tables(digest: &Digest<'_>) -> Vec<Table> {
    table::with_rows([
        Table {
            heading: "Geometric means over the conversations".into(),
            about: "Each conversation has the same weight.".into(),
            header: &TOGETHER,
            figures: 2..TOGETHER.len(),
            rows: together(digest).map(Vec::from).collect(),
        },
        Table {
            heading: "Turns of the conversations".into(),
            about: "A warm turn reads its new tokens alone; one that reads more has found its history dropped from a \
                    window's cache, and has read it again. Memory is the most up to the turn's end: by the \
                    framework's own count where it keeps one, else of the worker process."
                .into(),
            header: &TURNS,
            figures: 2..TURNS.len(),
            rows: turns(digest).map(Vec::from).collect(),
        },
    ])
}

/// A row a target, test and turn.
fn turns<'a>(digest: &'a Digest<'_>) -> impl Iterator<Item = [String; TURNS.len()]> + 'a {
    let rows = digest.summary.rows.iter();
    rows.flat_map(move |row| {
        let turns = row.chat.iter().flat_map(|chat| &chat.turns).enumerate();
        turns.map(move |(at, turn)| of_turn(digest, row, at, turn))
    })
}

fn of_turn(digest: &Digest<'_>, row: &Row, at: usize, turn: &TurnFigures) -> [String; TURNS.len()] {
    [
        digest.name(&row.target).to_string(),
        row.test.to_string(),
        (at + 1).to_string(),
        turn.prompt_tokens.to_string(),
        turn.new_tokens.to_string(),
        turn.read_tokens.to_string(),
        turn.ttft_ns.map(units::time).unwrap_or_default(),
        turn.memory.map(with_owner).unwrap_or_default(),
    ]
}

/// `1.12 GiB (process)`.
fn with_owner(TurnMemory { bytes, of }: TurnMemory) -> String {
    format!("{} ({})", units::bytes(bytes), of.name())
}

/// A row a target and mode.
fn together<'a>(digest: &'a Digest<'_>) -> impl Iterator<Item = [String; TOGETHER.len()]> + 'a {
    let all = digest.summary.conversations.iter();
    all.map(|all| {
        let rate = |rate: &Option<Estimate>| rate.as_ref().map(units::rate).unwrap_or_default();
        let mode = match all.mode {
            Mode::Pipelined => "",
            Mode::Synchronous => " (sync)",
        };
        [
            digest.name(&all.target).to_string(),
            format!("{} +tg{}{mode}", all.names.join(", "), all.generate_tokens),
            rate(&all.overall_tokens_per_second),
            rate(&all.decode_tokens_per_second),
            all.warm_ttft_ns
                .map(|time| with_interval(&time))
                .unwrap_or_default(),
        ]
    })
}

fn with_interval(time: &Estimate) -> String {
    let median = units::time(time.median);
    match time.interval {
        Some(interval) => {
            let (low, high) = (units::time(interval.low), units::time(interval.high));
            format!("{median} ({low} to {high})")
        }
        None => median,
    }
}

/// One line a target for those who read no tables.
pub(crate) fn sentences<'a>(digest: &'a Digest<'_>) -> impl Iterator<Item = String> + 'a {
    together(digest).map(|[target, names, overall, generate, warm]| {
        format!(
            "{target}, geometric mean over {names}: {overall} tokens/s overall, {generate} generated, warm TTFT {warm}"
        )
    })
}

/// What a row has read again, where it has.
pub(crate) fn read_again(row: &Row) -> Option<String> {
    let tokens = row.chat.as_ref()?.read_again_tokens;
    (tokens > 0).then(|| {
        format!("{tokens} tokens of history read again: a window's cache had dropped them")
    })
}

/// `4 turns up to 904 prompt tokens, 32 generated in each`.
pub(crate) fn spelled(test: &ChatTest) -> String {
    let ChatTest {
        turns,
        prompt_tokens,
        generate_tokens,
        ..
    } = test;
    format!(
        "{turns} turns up to {prompt_tokens} prompt tokens, {generate_tokens} generated in each"
    )
}
