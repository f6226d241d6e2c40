//! The answer in words: which framework is fastest here, by how much with what certainty, at what
//! memory, and was it the same work?

use mlxbench_analysis::{Estimate, Leader, Row, RunnerUp, leader};
use mlxbench_core::results::{Metric, TargetId, Test, Verdict};

use crate::quantisation::fidelity_in_short;
use crate::{Digest, quantisation, units};

/// What the first lines of a report say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// One sentence.
    pub(crate) headline: String,
    /// What it rests on: a name and a sentence or two.
    pub(crate) facts: Vec<(&'static str, String)>,
}

/// A rate that there may be a fastest of.
struct Race {
    metric: Metric,
    rate: fn(&Row) -> Option<Estimate>,
    /// What a framework does, by itself and before a rate.
    verbs: [&'static str; 2],
}

const DECODE: Race = Race {
    metric: Metric::Decode,
    rate: |row| row.decode_tokens_per_second,
    verbs: ["generates", "generates"],
};

const PREFILL: Race = Race {
    metric: Metric::Prefill,
    rate: |row| row.prefill_tokens_per_second,
    verbs: ["reads prompts", "reads prompts at"],
};

/// The answer that `digest` gives.
pub(crate) fn answer(digest: &Digest<'_>) -> Answer {
    let decode = raced(digest, &DECODE);
    let prefill = raced(digest, &PREFILL);
    let headline = match (&decode, &prefill) {
        (Some((_, leader)), _) => headline(digest, leader, &DECODE),
        (None, Some((_, leader))) => headline(digest, leader, &PREFILL),
        (None, None) => nothing(digest),
    };
    let sentence = |race: &Option<(Test, Leader<'_>)>, what: &Race| {
        let (test, leader) = race.as_ref()?;
        Some(of_leader(digest, *test, leader, what))
    };
    let leading = decode.as_ref().or(prefill.as_ref());
    let facts = [
        ("Generation", sentence(&decode, &DECODE)),
        ("Prompt", sentence(&prefill, &PREFILL)),
        (
            "Memory",
            leading.and_then(|(_, leader)| memory(digest, leader.row)),
        ),
        ("Same work", Some(work(digest))),
        ("Fidelity", fidelity(digest)),
        ("Not measured", failures(digest)),
    ];
    let facts = facts
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)));
    Answer {
        headline,
        facts: facts.collect(),
    }
}

/// The leader of the main test; of the first test that has one where that has none.
fn raced<'a>(digest: &'a Digest<'_>, race: &Race) -> Option<(Test, Leader<'a>)> {
    let tests = digest.result.run.tests.iter().copied();
    let mut tests = digest.main_test().into_iter().chain(tests);
    tests.find_map(|test| {
        let leader = leader(
            digest.result,
            &digest.summary,
            &test,
            race.metric,
            race.rate,
        )?;
        Some((test, leader))
    })
}

/// Who wins, and what quantised weights among the two cost.
fn headline(digest: &Digest<'_>, leader: &Leader<'_>, race: &Race) -> String {
    let second = leader.runner_up.as_ref().map(|second| second.row);
    let costs = quantisation::of_rows([leader.row].into_iter().chain(second));
    let fidelity: Vec<String> = costs.into_iter().map(fidelity_in_short).collect();
    let winner = winner(digest, leader, race);
    match fidelity.is_empty() {
        true => winner,
        false => format!("{winner} (fidelity of {})", fidelity.join("; of ")),
    }
}

fn winner(digest: &Digest<'_>, leader: &Leader<'_>, race: &Race) -> String {
    let quantised = |row: &Row| row.quantisation_cost.is_some();
    let name = |row: &Row| match quantised(row) {
        true => row.target.to_string(),
        false => digest.framework(&row.target),
    };
    let first = name(leader.row);
    let [does, reaches] = race.verbs;
    let Some(second) = &leader.runner_up else {
        let rate = (race.rate)(leader.row).map(|rate| units::rate(&rate));
        let rate = rate.unwrap_or_default();
        return format!("{first} {reaches} {rate} tokens a second");
    };
    let mut other = name(second.row);
    let mut one = first.clone();
    let device = |row: &Row| row.target.placement.device.clone();
    let mixed = device(leader.row) != device(second.row)
        || [leader.row, second.row].into_iter().any(quantised);
    if one == other || mixed {
        // It may be device, precision or threads that make the difference.
        (one, other) = (leader.row.target.to_string(), second.row.target.to_string());
    }
    let times = times(second.ratio.median);
    match second.certain() {
        Some(true) if second.ratio.median < SMALLEST_LEAD => {
            format!("No clear winner: {one} and {other} differ by less than 1 %")
        }
        Some(true) => format!("{one} {does} fastest: {times} as fast as {other}"),
        Some(false) => {
            format!("No clear winner: this run can't tell whether {one} or {other} {does} faster")
        }
        None => format!(
            "{one} {does} fastest, {times} as fast as {other}, but the repetitions are too few to be sure"
        ),
    }
}

/// A lead below this isn't worth a name, however sure it is.
const SMALLEST_LEAD: f64 = 1.01;

/// `1.32 times`.
fn times(ratio: f64) -> String {
    format!("{ratio:.2} times")
}

fn of_leader(digest: &Digest<'_>, test: Test, leader: &Leader<'_>, race: &Race) -> String {
    let row = leader.row;
    let rate = (race.rate)(row)
        .map(|rate| units::rate(&rate))
        .unwrap_or_default();
    let mut text = format!(
        "{} {} {rate} tokens a second in {test}",
        row.target, race.verbs[1]
    );
    if let Some(second) = &leader.runner_up {
        let ratio = &second.ratio;
        let interval = ratio.interval.map(|interval| {
            let (low, high) = (interval.low, interval.high);
            format!(" (95 % sure between {low:.2} and {high:.2})")
        });
        let same = second.row.target.backend == row.target.backend;
        let whose = if same {
            "the next"
        } else {
            "the fastest of the next framework"
        };
        text += &format!(
            ": {}{} as fast as {}, {whose}",
            times(ratio.median),
            interval.unwrap_or_default(),
            second.row.target
        );
    }
    text += ".";
    if leader.runner_up.as_ref().and_then(RunnerUp::certain) == Some(false) {
        text += " That is no clear winner.";
    }
    if !leader.set_aside.is_empty() {
        let aside = leader.set_aside.iter().map(|row| row.target.to_string());
        let aside: Vec<String> = aside.collect();
        text += &format!(
            " Faster, but not counted, for it is not the same work: {}.",
            aside.join(", ")
        );
    }
    let others = wins(digest, race, row);
    text + &others
}

/// In how many of the other tests the same framework leads.
fn wins(digest: &Digest<'_>, race: &Race, row: &Row) -> String {
    let tests = digest.result.run.tests.iter();
    let leaders = tests
        .filter_map(|test| leader(digest.result, &digest.summary, test, race.metric, race.rate));
    let leaders: Vec<Leader<'_>> = leaders.collect();
    if leaders.len() < 2 {
        return String::new();
    }
    let backend = |leader: &&Leader<'_>| leader.row.target.backend == row.target.backend;
    let won = leaders.iter().filter(backend).count();
    let framework = digest.framework(&row.target);
    format!(" {framework} leads in {won} of {} tests.", leaders.len())
}

fn memory(digest: &Digest<'_>, fastest: &Row) -> Option<String> {
    let peak = Row::peak_bytes;
    let held = units::bytes(peak(fastest)?);
    let floor = fastest.memory_floor_bytes.map(|floor| {
        let share = units::share(peak(fastest).unwrap_or(0) as f64 / floor as f64);
        format!(
            ", {share} of the {} that weights and cache need",
            units::bytes(floor)
        )
    });
    let rows = digest
        .summary
        .rows
        .iter()
        .filter(|row| row.test == fastest.test);
    let leanest = rows
        .filter(|row| peak(row).is_some())
        .min_by_key(|row| peak(row))?;
    let leanest = if leanest.target == fastest.target {
        "; no target needs less".to_owned()
    } else {
        let least = units::bytes(peak(leanest)?);
        format!("; the leanest is {} with {least}", leanest.target)
    };
    let floor = floor.unwrap_or_default();
    Some(format!(
        "{} holds {held} at the peak{floor}{leanest}.",
        fastest.target
    ))
}

fn work(digest: &Digest<'_>) -> String {
    let result = digest.result;
    let Some(reference) = &result.run.settings.reference else {
        return "Not checked: the config has no reference.".into();
    };
    let measured = |target: &TargetId| {
        let mut rows = digest.summary.rows.iter();
        rows.any(|row| row.target == *target && row.repetitions > 0)
    };
    let verdict_of = |target: &TargetId| match result.equivalence_of(target) {
        Some(known) => Some(known.verdict),
        // Measured, and nobody looked: a run that was cut short, or other tools' targets.
        None => measured(target).then_some(Verdict::Unchecked),
    };
    let of = |verdict: Verdict| {
        let targets = result.run.targets.iter();
        let known = targets.filter(|target| verdict_of(target) == Some(verdict));
        known.map(TargetId::to_string).collect::<Vec<_>>()
    };
    let count = |verdict: Verdict, name: &str| match of(verdict).len() {
        0 => None,
        some => Some(format!("{some} {name}")),
    };
    let good = [
        count(Verdict::Identical, "identical"),
        count(Verdict::Equivalent, "equivalent"),
    ];
    let good: Vec<String> = good.into_iter().flatten().collect();
    let named = |verdict: Verdict, name: &str| match of(verdict).as_slice() {
        [] => None,
        targets => Some(format!("{name}: {}", targets.join(", "))),
    };
    let bad = [
        named(Verdict::Different, "different"),
        named(Verdict::Unchecked, "not compared"),
    ];
    let bad: Vec<String> = bad.into_iter().flatten().collect();
    match (good.as_slice(), bad.as_slice()) {
        ([], []) => format!("Nothing was compared with the reference, {reference}."),
        (good, []) => format!("Yes: compared with {reference}, {}.", good.join(", ")),
        ([], bad) => format!("Compared with {reference}, {}.", bad.join("; ")),
        (good, bad) => format!(
            "Not all: compared with {reference}, {}; {}.",
            good.join(", "),
            bad.join("; ")
        ),
    }
}

/// What quantised weights cost; `None` where none were measured.
fn fidelity(digest: &Digest<'_>) -> Option<String> {
    let measured = digest.summary.rows.iter().filter(|row| row.repetitions > 0);
    let costs = quantisation::of_rows(measured).into_iter();
    let costs: Vec<String> = costs.map(fidelity_in_short).collect();
    (!costs.is_empty()).then(|| format!("Against full precision, {}.", costs.join("; ")))
}

/// What is missing, in one sentence.
fn failures(digest: &Digest<'_>) -> Option<String> {
    let rows = &digest.summary.rows;
    let tests = digest.result.run.tests.len();
    let missing = digest.result.run.targets.iter().filter_map(|target| {
        let own = rows.iter().filter(|row| row.target == *target);
        let without = own.filter(|row| row.repetitions == 0);
        let without: Vec<String> = without.map(|row| row.test.to_string()).collect();
        match without.len() {
            0 => None,
            all if all == tests => Some(target.to_string()),
            _ => Some(format!("{target} in {}", without.join(" and "))),
        }
    });
    let missing: Vec<String> = missing.collect();
    let listed = match missing.as_slice() {
        [] => return None,
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        few => few.join(", "),
    };
    Some(format!("{listed}: see why in the table."))
}

fn nothing(digest: &Digest<'_>) -> String {
    match digest.result.run.targets.len() {
        0 => "The run has no targets".into(),
        _ if digest.summary.rows.iter().any(|row| row.repetitions > 0) => {
            "No target has a rate that counts: see why in the table".into()
        }
        1 => "Nothing was measured: the only target failed".into(),
        targets => format!("Nothing was measured: none of {targets} targets gave a figure"),
    }
}
