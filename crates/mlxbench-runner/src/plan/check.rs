//! What targets are checked with: a text of the form of the plan's tests, short enough to be no burden.

use mlxbench_core::generate::Mode;
use mlxbench_core::results::Test;
use mlxbench_core::{Error as CoreError, GemmaConfig};

use super::{Answers, Passages, Target, settle};
use crate::config::Config;
use crate::prompt::{Prompt, PromptSource};
use crate::{Error, Result};

/// Rows that are checked together: what mixes rows up, or masks by the first, shows with two.
pub(super) const ROWS: usize = 2;

/// Tokens of a row at least: the begin token alone would make all rows the same.
const FEWEST: usize = 8;

/// Tokens by which a long row exceeds the chunk and the model's window, where no limit is written.
const BEYOND: usize = 64;

/// How targets are checked: as the tests of the plan are run.
#[derive(Debug)]
pub struct Check {
    /// The target that the others are compared with.
    pub reference: Target,
    /// The ids in the cache and those handed over before the compared positions.
    pub prompt: Prompt,
    /// Positions to compare in each row.
    pub positions: usize,
    /// When the host waits.
    pub mode: Mode,
    /// The text over which quantised weights are compared with full precision, or why there is none.
    pub passages: Result<Passages, String>,
}

impl Check {
    /// Positions that are compared, over all rows.
    pub(super) fn compared(&self) -> usize {
        self.positions * self.prompt.prompt.batch()
    }
}

/// The check that the config asks for, of targets that append `chunk` tokens at once.
pub(super) fn check(
    config: &Config,
    chunk: usize,
    tests: &[Test],
    source: &PromptSource,
    gemma: &GemmaConfig,
    answers: &mut Answers<'_>,
    passages: Result<Passages, String>,
) -> Result<Option<Check>> {
    let Some(id) = config.equivalence.reference()? else {
        return Ok(None);
    };
    if id.placement.precision.is_quantised() {
        return Err(Error::Core(CoreError::Invalid(format!(
            "[equivalence] reference is {id}: quantised weights are no reference; write one in f32, which is \
             given the weights that the codes of quantised targets stand for"
        ))));
    }
    let (depth, handed_over) = lengths(config, chunk, tests, gemma);
    let room = gemma.max_position_embeddings - (depth + handed_over) + 1;
    let positions = config.equivalence.positions.get().div_ceil(ROWS);
    let pipelined = tests.iter().any(|test| test.mode() == Mode::Pipelined);
    Ok(Some(Check {
        reference: Target {
            worker: settle(&id, answers.of(&id.backend)),
            id,
            optional: false,
        },
        prompt: prompt(source, depth, handed_over, gemma),
        positions: positions.min(room),
        mode: match pipelined {
            true => Mode::Pipelined,
            false => Mode::Synchronous,
        },
        passages,
    }))
}

/// Tokens of a row in the cache and handed over: those of the longest test, cut to the limit, with
/// tokens in the cache if any test has some.
pub(super) fn lengths(
    config: &Config,
    chunk: usize,
    tests: &[Test],
    gemma: &GemmaConfig,
) -> (usize, usize) {
    let windows = gemma
        .layers
        .iter()
        .filter_map(|layer| layer.attention.window);
    let window = windows.max().unwrap_or(0);
    let limit = match config.equivalence.prompt_tokens {
        Some(limit) => limit.get(),
        None => chunk.max(window).saturating_add(BEYOND),
    };
    let limit = limit.max(FEWEST).min(gemma.max_position_embeddings);
    let given = Test::context;
    let deep = tests.iter().any(|test| test.depth() > 0);
    // Trainings are compared by themselves, and lengthen nothing for the others.
    let others = tests.iter().any(|test| test.as_lora().is_none());
    let of_interest = tests.iter().filter(|test| !(deep && test.depth() == 0));
    let of_interest = of_interest.filter(|test| !(others && test.as_lora().is_some()));
    let Some(longest) = of_interest.max_by_key(|test| given(test)) else {
        return (0, 1);
    };
    let length = given(longest).max(FEWEST).min(limit);
    if !deep {
        return (0, length);
    }
    // Both parts are there; what must be cut is cut from the larger one.
    let least_depth = longest.depth().min(length / 2);
    let handed_over = longest.prompt_tokens().max(1).min(length - least_depth);
    (length - handed_over, handed_over)
}

/// Rows of such lengths that differ, whatever the source.
fn prompt(source: &PromptSource, depth: usize, handed_over: usize, gemma: &GemmaConfig) -> Prompt {
    let rows = source.different_rows(ROWS, depth + handed_over, gemma);
    Prompt {
        context: (depth > 0).then(|| rows.columns(0..depth)),
        prompt: rows.columns(depth..depth + handed_over),
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::results::GenerateTest;

    use super::*;
    use mlxbench_core::gemma::preset;

    fn config(more: &str) -> Config {
        let text = format!(
            "name = \"x\"\n{more}\n[model]\nsource = \"x\"\n[[test]]\nprompt_tokens = 1\n\
             [[target]]\nbackend = \"mock\"\ndtypes = [\"f32\"]\n"
        );
        toml::from_str(&text).unwrap()
    }

    fn test(prompt_tokens: usize, depth: usize) -> Test {
        Test::Generate(GenerateTest {
            prompt_tokens,
            generate_tokens: 4,
            depth,
            batch: 1,
            mode: Mode::Pipelined,
        })
    }

    /// Of Gemma 3, whose window is 512, in chunks of as many.
    fn lengths_of(more: &str, tests: &[Test]) -> (usize, usize) {
        chunked(512, more, tests)
    }

    fn chunked(chunk: usize, more: &str, tests: &[Test]) -> (usize, usize) {
        let gemma = preset("gemma-3-270m").unwrap().config();
        lengths(&config(more), chunk, tests, &gemma)
    }

    #[test]
    fn short_tests_are_checked_at_their_length() {
        assert_eq!(lengths_of("", &[test(64, 0), test(16, 0)]), (0, 64));
        assert_eq!(lengths_of("", &[test(0, 0)]), (0, FEWEST));
    }

    #[test]
    fn long_tests_are_checked_past_the_chunk_and_the_window() {
        assert_eq!(lengths_of("", &[test(4096, 0)]), (0, 576));
        assert_eq!(chunked(2048, "", &[test(4096, 0)]), (0, 2112));
        assert_eq!(chunked(2048, "", &[test(64, 0)]), (0, 64));
        let limited = "[equivalence]\nprompt_tokens = 100\n";
        assert_eq!(lengths_of(limited, &[test(4096, 0)]), (0, 100));
    }

    #[test]
    fn tests_with_depth_are_checked_with_a_context() {
        assert_eq!(lengths_of("", &[test(0, 4096)]), (575, 1));
        assert_eq!(lengths_of("", &[test(512, 4096)]), (288, 288));
        assert_eq!(lengths_of("", &[test(4096, 0), test(512, 10)]), (10, 512));
    }

    #[test]
    fn rows_differ_from_random_ids_and_from_a_text() {
        let gemma = preset("gemma-3-270m").unwrap().config();
        let text = PromptSource::Text(vec![10, 11, 12]);
        for source in [text, PromptSource::Random { seed: 7 }] {
            let prompt = prompt(&source, 3, 5, &gemma);
            let [first, second] = &prompt.prompt.rows().collect::<Vec<_>>()[..] else {
                panic!("two rows")
            };
            assert_ne!(first, second);
            let context = prompt.context.unwrap();
            assert_eq!((context.len(), first.len()), (3, 5));
            assert!(context.rows().all(|row| row[0] == 2), "begin tokens");
        }
    }
}
