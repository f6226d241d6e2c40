//! What a worker answers to a conversation, taken with care.

use mlxbench_core::converse::{Turn, shared_tokens};
use mlxbench_core::generate::Mode;
use mlxbench_core::limits::BYTES;
use mlxbench_core::protocol::{Converse, Conversed};

use super::WorkerError;
use super::replies::{time, wrong};

/// A conversation with the turns, tokens and times that were asked for.
///
/// # Errors
/// When they don't add up.
pub(super) fn checked(
    conversed: Conversed,
    asked: &Converse,
    vocab_size: usize,
) -> Result<Conversed, WorkerError> {
    let (turns, prompts) = (&conversed.turns, &asked.prompts);
    if turns.len() != prompts.len() {
        return Err(wrong(format!(
            "asked for {} turns, the worker answered with {}",
            prompts.len(),
            turns.len()
        )));
    }
    let mut before: &[u32] = &[];
    for (at, (turn, prompt)) in turns.iter().zip(prompts).enumerate() {
        check(
            turn,
            prompt.len(),
            prompt.len() - shared_tokens(before, prompt),
            asked,
            vocab_size,
        )
        .map_err(|what| {
            wrong(format!(
                "turn {} of the worker's conversation: {what}",
                at + 1
            ))
        })?;
        time(turn.token_ns.last().copied().unwrap_or_default())?;
        before = prompt;
    }
    time(conversed.cold_ttft_ns)?;
    if (asked.mode, conversed.form) == (Mode::Synchronous, Mode::Pipelined) {
        return Err(wrong(
            "asked to read each token first, the worker handed over steps ahead",
        ));
    }
    let peaks = turns.iter().map(|turn| turn.device_peak_bytes);
    match peaks.chain([conversed.device_peak_bytes]).flatten().max() {
        Some(bytes @ BYTES..) => Err(wrong(format!("the worker says that it held {bytes} bytes"))),
        _ => Ok(conversed),
    }
}

fn check(
    turn: &Turn,
    prompt: usize,
    new: usize,
    asked: &Converse,
    vocab_size: usize,
) -> Result<(), String> {
    let (tokens, times) = (turn.tokens.len(), turn.token_ns.len());
    if (tokens, times) != (asked.new_tokens, asked.new_tokens) || !turn.token_ns.is_sorted() {
        return Err(format!(
            "asked for {} tokens, it has {tokens} and {times} times, or times that run backwards",
            asked.new_tokens
        ));
    }
    if (turn.prompt_tokens, turn.new_tokens) != (prompt, new) {
        return Err(format!(
            "its prompt has {prompt} tokens, {new} of them new, and it says {} and {}",
            turn.prompt_tokens, turn.new_tokens
        ));
    }
    if !(new..=prompt).contains(&turn.read_tokens) {
        return Err(format!(
            "{} tokens read of {prompt}, of which {new} are new",
            turn.read_tokens
        ));
    }
    match turn.tokens.iter().find(|&&id| id as usize >= vocab_size) {
        Some(id) => Err(format!("token {id} of a model that has {vocab_size}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::Nanos;

    use super::*;

    fn asked() -> Converse {
        Converse {
            prompts: vec![vec![2, 3], vec![2, 3, 4, 5, 6]],
            new_tokens: 2,
            chunk: 4,
            mode: Mode::Synchronous,
            logits: None,
        }
    }

    fn answer(change: impl FnOnce(&mut Conversed)) -> Result<Conversed, WorkerError> {
        let turn = |prompt_tokens, new_tokens, read_tokens| Turn {
            prompt_tokens,
            new_tokens,
            read_tokens,
            token_ns: vec![Nanos(5), Nanos(9)],
            tokens: vec![1, 2],
            device_peak_bytes: None,
        };
        let mut conversed = Conversed {
            turns: vec![turn(2, 2, 2), turn(5, 3, 3)],
            cold_ttft_ns: Nanos(7),
            finite: true,
            form: Mode::Synchronous,
            device_peak_bytes: None,
        };
        change(&mut conversed);
        checked(conversed, &asked(), 64)
    }

    #[test]
    fn a_whole_answer_is_taken_and_one_that_reads_all_again_too() {
        assert!(answer(|_| {}).is_ok());
        assert!(answer(|answer| answer.turns[1].read_tokens = 5).is_ok());
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let message = |change: fn(&mut Conversed)| answer(change).unwrap_err().message;
        assert!(message(|answer| drop(answer.turns.pop())).contains("asked for 2 turns"));
        let second = message(|answer| answer.turns[1].read_tokens = 1);
        assert!(
            second.contains("turn 2") && second.contains("1 tokens read of 5"),
            "{second}"
        );
        assert!(message(|answer| answer.turns[0].tokens[1] = 64).contains("token 64"));
        assert!(message(|answer| answer.turns[0].token_ns[1] = Nanos(1)).contains("backwards"));
        assert!(message(|answer| answer.turns[0].prompt_tokens = 9).contains("it says 9"));
        assert!(message(|answer| answer.form = Mode::Pipelined).contains("handed over steps"));
        assert!(message(|answer| answer.cold_ttft_ns = Nanos(u64::MAX)).contains("took"));
    }
}
