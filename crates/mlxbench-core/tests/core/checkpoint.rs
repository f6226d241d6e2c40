//! Model folders, good and bad, as users have them.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::path::Path;

use mlxbench_core::gemma::TensorSpec;
use mlxbench_core::{Checkpoint, Dtype, GemmaConfig};
use safetensors::tensor::TensorView;
use tempfile::TempDir;

const CONFIG: &str = r#"{"model_type": "gemma3_text", "vocab_size": 8, "hidden_size": 4,
    "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 1,
    "num_key_value_heads": 1, "head_dim": 2, "max_position_embeddings": 32}"#;

fn specs() -> Vec<TensorSpec> {
    GemmaConfig::from_json(CONFIG).unwrap().tensors()
}

/// Writes `specs` as f32 tensors whose elements count up.
fn write(path: &Path, specs: &[TensorSpec], name: impl Fn(&str) -> String) {
    let bytes: Vec<Vec<u8>> = specs
        .iter()
        .map(|spec| {
            (0..spec.elements())
                .flat_map(|n| (n as f32).to_le_bytes())
                .collect()
        })
        .collect();
    let views = specs.iter().zip(&bytes).map(|(spec, bytes)| {
        let view = TensorView::new(safetensors::Dtype::F32, spec.shape.clone(), bytes).unwrap();
        (name(&spec.name), view)
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

fn folder_with(specs: &[TensorSpec]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    write(
        &folder.path().join("model.safetensors"),
        specs,
        str::to_owned,
    );
    folder
}

fn refusal(folder: &Path) -> String {
    Checkpoint::open(folder).unwrap_err().to_string()
}

#[test]
fn a_whole_folder_opens_and_its_tensors_convert() {
    let folder = folder_with(&specs());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let tensor = checkpoint.tensor("model.norm.weight");
    assert_eq!(tensor.dtype(), Dtype::F32);
    assert_eq!(tensor.to_vec::<f32>(), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(tensor.to_vec::<half::bf16>()[3].to_f32(), 3.0);
    drop(tensor);
    // Dropped pages come back from the file.
    assert_eq!(
        checkpoint.tensor("model.norm.weight").to_vec::<f32>()[3],
        3.0
    );
}

#[test]
fn shards_are_found_through_their_index() {
    let folder = folder_with(&specs());
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let specs = specs();
    let (first, second) = specs.split_at(5);
    let mut map = serde_json::Map::new();
    for (file, part) in [("a.safetensors", first), ("b.safetensors", second)] {
        write(&folder.path().join(file), part, str::to_owned);
        map.extend(part.iter().map(|spec| (spec.name.clone(), file.into())));
    }
    let index = serde_json::json!({"weight_map": map}).to_string();
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    assert!(Checkpoint::open(folder.path()).is_ok());

    std::fs::remove_file(folder.path().join("b.safetensors")).unwrap();
    assert!(refusal(folder.path()).contains("shard b.safetensors is missing"));
}

#[test]
fn the_text_model_of_a_multimodal_checkpoint_is_found() {
    for prefix in ["language_model.model.", "model.language_model."] {
        let folder = folder_with(&[]);
        let name = |name: &str| name.replacen("model.", prefix, 1);
        write(&folder.path().join("model.safetensors"), &specs(), name);
        assert!(Checkpoint::open(folder.path()).is_ok(), "{prefix}");
    }
}

#[test]
fn a_missing_folder_or_config_is_named() {
    let folder = folder_with(&specs());
    assert!(refusal(&folder.path().join("nowhere")).contains("no such folder"));
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    assert!(refusal(folder.path()).contains("no config.json"));
}

#[test]
fn a_broken_config_is_told_with_its_place() {
    let folder = folder_with(&specs());
    std::fs::write(folder.path().join("config.json"), "{\"model_type\": gemma}").unwrap();
    let message = refusal(folder.path());
    assert!(
        message.contains("config.json") && message.contains("line 1"),
        "{message}"
    );
}

#[test]
fn a_truncated_file_is_told_from_a_whole_one() {
    let folder = folder_with(&specs());
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 4, 40, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let message = refusal(folder.path());
        assert!(
            message.contains("model.safetensors: not a whole safetensors file"),
            "{message}"
        );
    }
}

#[test]
fn a_header_that_lies_is_refused() {
    let folder = folder_with(&specs());
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    assert!(refusal(folder.path()).contains("not a whole safetensors file"));
}

#[test]
fn a_missing_tensor_is_named() {
    let folder = folder_with(&specs()[..specs().len() - 1]);
    assert!(refusal(folder.path()).contains("tensor `model.norm.weight` is missing"));
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let mut specs = specs();
    specs[0].shape = vec![4, 8];
    let message = refusal(folder_with(&specs).path());
    let expected = "`model.embed_tokens.weight` has shape [4, 8], config.json asks for [8, 4]";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn end_tokens_of_the_generation_config_count_too() {
    let folder = folder_with(&specs());
    let file = folder.path().join("generation_config.json");
    std::fs::write(file, r#"{"eos_token_id": [1, 106]}"#).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.config().eos_token_ids, [1, 106]);
}
