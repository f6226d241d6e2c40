//! How many tokens of a row are appended at once, and multiplied at once in probes.

use mlxbench_core::GemmaConfig;
use mlxbench_core::generate::DEFAULT_CHUNK;
use mlxbench_core::results::Test;

use crate::config::MeasureConfig;

/// Share of the machine's memory that the attention scores of one layer may take in f32. Attention
/// that isn't fused holds them up to four times over (scores, masked, softmax, rounded).
const SCORES_SHARE: f64 = 0.05;

/// The smallest chunk that short memory makes.
const SMALLEST: usize = 256;

/// Rows of a probe's products, where neither prompts nor the chunk say more: shorter prompts have
/// the limit of longer ones.
const PROBE_ROWS: usize = 512;

/// The config's chunk; where it has none, the default, halved while the scores of the largest test
/// exceed their share of `memory_bytes` (0 where the machine doesn't tell).
pub(super) fn chunk(
    measure: &MeasureConfig,
    tests: &[Test],
    gemma: &GemmaConfig,
    memory_bytes: u64,
) -> usize {
    if let Some(chunk) = measure.chunk {
        return chunk.get();
    }
    let share = match memory_bytes {
        0 => f64::INFINITY,
        bytes => bytes as f64 * SCORES_SHARE,
    };
    let heads = gemma.layers.iter().map(|layer| layer.attention.heads);
    let heads = heads.max().unwrap_or(0);
    let bytes = |test: &Test, chunk: usize| {
        let tokens = chunk.min(test.depth().max(test.prompt_tokens()));
        let elements = [test.rows(), heads, tokens, test.context()].map(|n| n as f64);
        elements.iter().product::<f64>() * size_of::<f32>() as f64
    };
    // A training appends nothing, and a server has its own.
    let appending = |test: &&Test| test.as_generate().is_some() || test.as_chat().is_some();
    let fits = |chunk| {
        tests
            .iter()
            .filter(appending)
            .all(|test| bytes(test, chunk) <= share)
    };
    let mut chunk = DEFAULT_CHUNK;
    while chunk > SMALLEST && !fits(chunk) {
        chunk /= 2;
    }
    chunk
}

/// Rows of the products that stand for prefill in probes: a chunk's of the longest prompt.
pub(super) fn probe_rows(chunk: usize, tests: &[Test]) -> usize {
    let longest = tests.iter().map(Test::prompt_tokens).max();
    chunk.min(longest.unwrap_or(0).max(PROBE_ROWS))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use mlxbench_core::gemma::preset;
    use mlxbench_core::generate::Mode;
    use mlxbench_core::lora::LoraModules;
    use mlxbench_core::results::{GenerateTest, LoraTest};

    use super::*;

    fn test(prompt_tokens: usize, depth: usize, batch: usize) -> Test {
        Test::Generate(GenerateTest {
            prompt_tokens,
            generate_tokens: 4,
            depth,
            batch,
            mode: Mode::Pipelined,
        })
    }

    /// Of Gemma 3 270M, which has four heads.
    fn chunk_of(tests: &[Test], memory_bytes: u64) -> usize {
        let gemma = preset("gemma-3-270m").unwrap().config();
        chunk(&MeasureConfig::default(), tests, &gemma, memory_bytes)
    }

    #[test]
    fn the_default_is_halved_until_the_scores_fit() {
        // 4 heads x 2048 tokens x 8192 entries x 4 bytes are 256 MiB.
        let tests = [test(64, 0, 1), test(4096, 4096, 1)];
        let fitting = ((256 << 20) as f64 / SCORES_SHARE) as u64 + 1;
        assert_eq!(chunk_of(&tests, fitting), 2048);
        assert_eq!(chunk_of(&tests, fitting - 2), 1024);
        assert_eq!(chunk_of(&tests, 1), SMALLEST);
        assert_eq!(chunk_of(&tests, 0), 2048);
    }

    #[test]
    fn rows_count_and_short_prompts_do_not() {
        let memory = ((256 << 20) as f64 / SCORES_SHARE) as u64 + 1;
        assert_eq!(chunk_of(&[test(4096, 4096, 8)], memory), SMALLEST);
        assert_eq!(chunk_of(&[test(64, 0, 8)], memory), 2048);
    }

    #[test]
    fn a_training_which_appends_nothing_does_not_count() {
        let training = Test::Lora(LoraTest {
            rank: 8,
            layers: 16,
            modules: LoraModules::default(),
            batch: 32,
            tokens: 2048,
            steps: 4,
            gradient_checkpointing: false,
        });
        assert_eq!(chunk_of(&[test(64, 0, 1), training], 1 << 30), 2048);
    }

    #[test]
    fn what_the_config_says_holds_whatever_the_memory() {
        let gemma = preset("gemma-3-270m").unwrap().config();
        let measure = MeasureConfig {
            chunk: NonZeroUsize::new(4096),
            ..MeasureConfig::default()
        };
        assert_eq!(chunk(&measure, &[test(8192, 0, 1)], &gemma, 1), 4096);
    }

    #[test]
    fn probes_have_no_more_rows_than_prompts_need() {
        assert_eq!(probe_rows(2048, &[test(64, 0, 1)]), 512);
        assert_eq!(probe_rows(2048, &[test(64, 0, 1), test(1000, 0, 1)]), 1000);
        assert_eq!(probe_rows(2048, &[test(4096, 0, 1)]), 2048);
        assert_eq!(probe_rows(8, &[test(4096, 0, 1)]), 8);
    }
}
