//! What a backend says that it can't do, it refuses to do: a model in another precision than the one asked
//! for would mislabel its row.

use mlxbench_core::probe::ProductShape;
use mlxbench_core::{Backend, Checkpoint, Dtype, Error, GemmaConfig, Placement, Precision, Result};
use mlxbench_models::progress::UNWATCHED;
use mlxbench_models::synth;

const CONFIG: &str = r#"{"model_type": "gemma", "vocab_size": 32, "hidden_size": 16,
    "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8}"#;

/// Asks `backend` on each device of this machine for a model and a product in every precision that it says it
/// can't use there, and returns these.
///
/// # Errors
/// When a precision isn't listed, one is listed as unsupported and used all the same, or the refusal isn't
/// [`Error::Unsupported`] with the reason that was listed.
pub fn every_refusal<B: Backend>(backend: &mut B) -> Result<Vec<Precision>> {
    let folder = tempfile::tempdir().map_err(|error| Error::io("a temporary folder", error))?;
    let model = folder.path().join("model");
    synth::write(
        &GemmaConfig::from_json(CONFIG)?,
        Dtype::F32,
        0,
        &model,
        UNWATCHED,
    )
    .map_err(|error| Error::Invalid(error.to_string()))?;
    let checkpoint = Checkpoint::open(&model)?;
    let shape = ProductShape {
        rows: 1,
        in_features: 16,
        out_features: 16,
    };
    let mut refused = Vec::new();
    for support in backend.devices() {
        for precision in Precision::ALL {
            let placement = Placement {
                device: support.device.clone(),
                precision,
            };
            let mut known = support.precisions.iter();
            let known = known.find(|known| known.precision == precision);
            let known = known.ok_or_else(|| Error::Invalid(format!("{placement} isn't listed")))?;
            let Some(reason) = &known.unsupported else {
                continue;
            };
            let answers = [
                backend.load(&checkpoint, &placement).map(drop),
                backend.product(shape, 1, &placement).map(drop),
            ];
            for answer in answers {
                match answer {
                    Err(Error::Unsupported(message)) if message.contains(reason) => {}
                    other => {
                        let message =
                            format!("{placement} can't be used ({reason}), but: {other:?}");
                        return Err(Error::Invalid(message));
                    }
                }
            }
            refused.push(precision);
        }
    }
    Ok(refused)
}
