//! What a result may say at most. It is a file that anybody may have written, and what it says of sizes
//! is multiplied and counted through: beyond these bounds that would overflow, or take for ever.

use super::{RunResult, Test};
use crate::GemmaConfig;
use crate::probe::ProductShape;

/// Tokens of a prompt, of a generation or of what comes before: a hundred times the longest contexts.
const MOST_TOKENS: usize = 1 << 24;

/// Rows.
const MOST_ROWS: usize = 1 << 16;

/// Any one dimension of a model or of a product.
const MOST_WIDE: usize = 1 << 31;

/// Layers.
const MOST_LAYERS: usize = 1 << 16;

/// Parameters.
const MOST_PARAMETERS: u64 = 1 << 50;

/// Operations and bytes of a test: they are counted in 64 bits.
const MOST_WORK: f64 = (1_u64 << 63) as f64;

/// Sees that nothing in `result` is beyond all measure.
///
/// # Errors
/// What is, in words.
pub(super) fn check(result: &RunResult) -> Result<(), String> {
    let run = &result.run;
    if run.model.parameters > MOST_PARAMETERS {
        return Err(format!(
            "a model of {} parameters is beyond all measure",
            run.model.parameters
        ));
    }
    let tests = run.tests.iter();
    let tests = tests.chain(result.samples.iter().map(|sample| &sample.test));
    let tests = tests.chain(result.warmups.iter().map(|warmup| &warmup.test));
    let tests = tests.chain(
        result
            .failures
            .iter()
            .filter_map(|failure| failure.test.as_ref()),
    );
    let tests = tests.chain(result.stopped.iter().map(|stopped| &stopped.test));
    let config = run.model.config.as_ref();
    if !config.is_none_or(is_model) {
        return Err("the model's shapes are beyond all measure".into());
    }
    for test in tests {
        if !is_test(test) || !config.is_none_or(|config| is_work(config, test)) {
            return Err(format!("the test {test} is beyond all measure"));
        }
    }
    let mut products = result.products.iter();
    match products.find(|product| !is_product(&product.shape)) {
        Some(product) => Err(format!(
            "the product {} is beyond all measure",
            product.part
        )),
        None => Ok(()),
    }
}

fn is_test(test: &Test) -> bool {
    let counts = [test.prompt_tokens, test.generate_tokens, test.depth];
    counts.iter().all(|count| *count <= MOST_TOKENS) && test.batch <= MOST_ROWS
}

fn is_model(config: &GemmaConfig) -> bool {
    let widths = [
        config.vocab_size,
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
    ];
    widths.iter().all(|width| *width <= MOST_WIDE)
        && config.num_layers() <= MOST_LAYERS
        && weights(config) < MOST_PARAMETERS as f64
}

/// Parameters, about, and no fewer.
fn weights(config: &GemmaConfig) -> f64 {
    let hidden = config.hidden_size as f64;
    let heads = (config.num_attention_heads + config.num_key_value_heads) as f64;
    let projections = 2.0 * heads * config.head_dim as f64;
    let layer = (hidden + 1.0) * (projections + 3.0 * config.intermediate_size as f64 + 8.0);
    hidden + config.num_layers() as f64 * layer + 2.0 * config.vocab_size as f64 * hidden
}

/// Whether what a test reads, in four bytes an element, and multiplies can be counted.
fn is_work(config: &GemmaConfig, test: &Test) -> bool {
    let context = (test.depth + test.prompt_tokens + test.generate_tokens + 1) as f64;
    let heads = (4 * config.num_attention_heads + 8 * config.num_key_value_heads) as f64;
    let seen = config.num_layers() as f64 * heads * config.head_dim as f64 * context;
    test.batch.max(1) as f64 * context * (4.0 * weights(config) + seen) < MOST_WORK
}

fn is_product(shape: &ProductShape) -> bool {
    let sides = [shape.rows, shape.in_features, shape.out_features];
    let elements = shape.in_features as f64 * shape.out_features as f64;
    sides.iter().all(|side| *side <= MOST_WIDE)
        && elements * shape.rows.max(4) as f64 * 4.0 < MOST_WORK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemma::preset;
    use crate::generate::Mode;

    fn test(tokens: usize, batch: usize) -> Test {
        Test {
            prompt_tokens: tokens,
            generate_tokens: tokens,
            depth: tokens,
            batch,
            mode: Mode::Pipelined,
        }
    }

    #[test]
    fn whatever_is_measured_today_is_within() {
        for name in ["gemma-3-270m", "gemma-2-9b"] {
            let config = preset(name).unwrap().config();
            assert!(is_model(&config));
            assert!(is_work(&config, &test(1 << 17, 8)), "{name}");
        }
    }

    #[test]
    fn what_is_within_can_be_counted() {
        let config = preset("gemma-2-9b").unwrap().config();
        let dtype = crate::Dtype::F32;
        let mut largest = test(1, MOST_ROWS);
        while is_work(&config, &test(2 * largest.prompt_tokens, MOST_ROWS)) {
            largest = test(2 * largest.prompt_tokens, MOST_ROWS);
        }
        let Test {
            prompt_tokens: tokens,
            batch,
            ..
        } = largest;
        // Tests are built with checks for overflow.
        assert!(config.prefill_operations(batch, 2 * tokens, tokens) > 0);
        assert!(config.decode_operations(batch, 2 * tokens, tokens) > 0);
        assert!(config.decode_bytes(dtype, batch, 2 * tokens, tokens) > 0);
        assert!(config.kv_cache_bytes(dtype, batch, 3 * tokens) > 0);
    }

    #[test]
    fn what_is_beyond_is_refused() {
        assert!(!is_test(&test(usize::MAX, 1)));
        assert!(!is_test(&test(1, usize::MAX)));
        let config = GemmaConfig {
            intermediate_size: usize::MAX,
            ..preset("gemma-3-270m").unwrap().config()
        };
        assert!(!is_model(&config));
        let shape = ProductShape {
            rows: MOST_WIDE,
            in_features: MOST_WIDE,
            out_features: MOST_WIDE,
        };
        assert!(!is_product(&shape));
    }
}
