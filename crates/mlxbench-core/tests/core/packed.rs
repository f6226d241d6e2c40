//! Folders with matrices that mlx-lm packed. The real ones stand in mlxbench-conformance, with mlx-lm's own
//! logits.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::collections::BTreeMap;

use mlxbench_core::{Checkpoint, Dtype, GemmaConfig};
use safetensors::Dtype as Stored;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

const CONFIG: &str = r#"{"model_type": "gemma", "vocab_size": 8, "hidden_size": 32, "intermediate_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 32,
    "quantization": {"group_size": 32, "bits": 4, "model.layers.0.mlp.down_proj": false}}"#;

const UP: &str = "model.layers.0.mlp.up_proj";

/// Type, shape and bytes by name.
type Parts = BTreeMap<String, (Stored, Vec<usize>, Vec<u8>)>;

/// The model, plain but for `up_proj`: codes 0 to 15 twice a row, scales of a half, biases of -1.
fn parts() -> Parts {
    let plain = GemmaConfig::from_json(CONFIG)
        .unwrap()
        .tensors()
        .into_iter();
    let mut parts: Parts = plain
        .map(|spec| {
            let ones = (0..spec.elements()).flat_map(|_| 1_f32.to_le_bytes());
            (spec.name, (Stored::F32, spec.shape, ones.collect()))
        })
        .collect();
    let row = [0x7654_3210_u32, 0xfedc_ba98, 0x7654_3210, 0xfedc_ba98];
    let words = (0..32)
        .flat_map(|_| row)
        .flat_map(u32::to_le_bytes)
        .collect();
    parts.insert(format!("{UP}.weight"), (Stored::U32, vec![32, 4], words));
    for (name, value) in [("scales", 0.5), ("biases", -1.0)] {
        let value = half::bf16::from_f32(value).to_le_bytes();
        let bytes = (0..32).flat_map(|_| value).collect();
        parts.insert(format!("{UP}.{name}"), (Stored::BF16, vec![32, 1], bytes));
    }
    parts
}

fn folder(parts: &Parts) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    let views = parts.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let path = folder.path().join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path).unwrap();
    folder
}

fn refusal(change: impl FnOnce(&mut Parts)) -> String {
    let mut parts = parts();
    change(&mut parts);
    let folder = folder(&parts);
    Checkpoint::open(folder.path()).unwrap_err().to_string()
}

#[test]
fn a_packed_matrix_is_what_its_codes_stand_for() {
    let folder = folder(&parts());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(checkpoint.is_packed());
    let name = format!("{UP}.weight");
    let row: Vec<f32> = (0..32).map(|at| 0.5 * (at % 16) as f32 - 1.0).collect();
    let weights = checkpoint.tensor(&name).to_vec::<f32>();
    assert_eq!(weights, row.repeat(32));
    assert_eq!(checkpoint.elements(&name), weights.len());
    let packed = checkpoint.packed(&name).remove(0);
    assert_eq!((packed.columns, packed.words.bytes().len()), (32, 32 * 16));
    // Others are left alone, and bytes are those stored.
    assert!(
        checkpoint
            .packed("model.layers.0.mlp.gate_proj.weight")
            .is_empty()
    );
    assert_eq!(checkpoint.dtypes(), [Dtype::F32, Dtype::Bf16].into());
    let stored: usize = parts().values().map(|(_, _, bytes)| bytes.len()).sum();
    assert_eq!(checkpoint.stored_bytes(), stored as u64);
}

#[test]
fn a_broken_packing_is_told_with_the_part_that_is_wrong() {
    let biases = format!("{UP}.biases");
    let message = refusal(|parts| drop(parts.remove(&biases)));
    assert!(
        message.contains(&format!("`{biases}` is missing")),
        "{message}"
    );
    let weight = format!("{UP}.weight");
    let message = refusal(|parts| {
        let (_, shape, bytes) = parts.get_mut(&weight).unwrap();
        (*shape, *bytes) = (vec![32, 3], vec![0; 32 * 12]);
    });
    assert!(
        message.contains("shape [32, 3], config.json asks for [32, 4]"),
        "{message}"
    );
    let message = refusal(|parts| parts.get_mut(&weight).unwrap().0 = Stored::F32);
    assert!(message.contains("packed words are U32"), "{message}");
    // Its path says that it isn't packed, and it is.
    let down = "model.layers.0.mlp.down_proj";
    let message = refusal(|parts| {
        for part in ["weight", "scales", "biases"] {
            let packed = parts[&format!("{UP}.{part}")].clone();
            parts.insert(format!("{down}.{part}"), packed);
        }
    });
    assert!(
        message.contains("so the weights are quantised"),
        "{message}"
    );
}
