//! Every op of an adapter once, for its tests.

use mlxbench_core::{Backend, Checkpoint, Device, Dtype, Error, GemmaConfig, Placement, Result};

use mlxbench_models::progress::UNWATCHED;
use mlxbench_models::synth;
use mlxbench_ops::{Op, Ops, Part, Prepared, Workload};

/// Small Gemmas of each generation, with a window that the workload leaves behind.
const CONFIGS: [&str; 3] = [
    r#"{"model_type": "gemma", "vocab_size": 96, "hidden_size": 36, "intermediate_size": 40,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8, "attention_bias": true, "tie_word_embeddings": false}"#,
    r#"{"model_type": "gemma2", "vocab_size": 96, "hidden_size": 36, "intermediate_size": 40,
        "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1,
        "head_dim": 8, "query_pre_attn_scalar": 5, "sliding_window": 4}"#,
    r#"{"model_type": "gemma3_text", "vocab_size": 96, "hidden_size": 36,
        "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8,
        "sliding_window": 4, "sliding_window_pattern": 3}"#,
];

const WORKLOAD: Workload = Workload {
    prefill_tokens: 7,
    decode_depth: 9,
};

/// Runs every op of small models of each generation, on the CPU in f32, twice over the layers.
///
/// # Errors
/// When the framework fails, or what comes out isn't finite or has the wrong size.
pub fn every_op<B: Backend>(backend: &mut B) -> Result<()>
where
    B::Model: Ops,
{
    let placement = Placement {
        device: Device::cpu(),
        precision: Dtype::F32.into(),
    };
    for json in CONFIGS {
        let config = GemmaConfig::from_json(json)?;
        let folder = tempfile::tempdir().map_err(|error| Error::io("a temporary folder", error))?;
        let folder = folder.path().join("model");
        synth::write(&config, Dtype::F32, 0, &folder, UNWATCHED)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let mut model = backend.load(&Checkpoint::open(&folder)?, &placement)?;
        for op in Op::all(&config, &WORKLOAD) {
            let place =
                |what: String| Error::Invalid(format!("{:?}, {op}: {what}", config.generation));
            check(&mut model, &op).map_err(place)?;
        }
    }
    Ok(())
}

/// What is wrong with `op`, in words.
fn check(model: &mut impl Ops, op: &Op) -> Result<(), String> {
    let words = |error: Error| error.to_string();
    let config = model.config().clone();
    let mut prepared = model.prepare(op).map_err(words)?;
    for _ in 0..2 * op.layers(&config).len().max(1) {
        prepared.run().map_err(words)?;
    }
    prepared.wait().map_err(words)?;
    let output = prepared.output().map_err(words)?;
    if output.len() != elements_out(op, &config) {
        let expected = elements_out(op, &config);
        return Err(format!("{} elements, not {expected}", output.len()));
    }
    match output.iter().find(|element| !element.is_finite()) {
        Some(element) => Err(format!("an element is {element}")),
        None => Ok(()),
    }
}

/// How many elements come out of `op`.
fn elements_out(op: &Op, config: &GemmaConfig) -> usize {
    let Some((_, layer)) = op.first_layer(config) else {
        return 0;
    };
    let (q, kv) = (layer.attention.query_width(), layer.attention.kv_width());
    let width = match op.part {
        Part::Norm | Part::Output | Part::Down | Part::Layer(_) => config.hidden_size,
        Part::Qkv | Part::QkNorm | Part::Rope => q + 2 * kv,
        Part::Attention(_) => q,
        Part::GateUp => 2 * layer.mlp_width,
        Part::Geglu => layer.mlp_width,
        Part::LmHead => return config.vocab_size,
    };
    op.tokens * width
}
