//! Model folders, good and bad, as users have them.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::collections::BTreeMap;
use std::path::Path;

use mlxbench_core::gemma::TensorSpec;
use mlxbench_core::quantise::Codes;
use mlxbench_core::{Checkpoint, Dtype, GemmaConfig, Scheme};
use safetensors::tensor::TensorView;
use tempfile::TempDir;

const CONFIG: &str = r#"{"model_type": "gemma3_text", "vocab_size": 8, "hidden_size": 4,
    "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 1,
    "num_key_value_heads": 1, "head_dim": 2, "max_position_embeddings": 32}"#;

pub(crate) fn specs() -> Vec<TensorSpec> {
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

fn counting(n: usize) -> f32 {
    n as f32
}

/// An element of a tensor by its place.
type Element = fn(usize) -> f32;

/// Writes each tensor as f32, its elements by their place.
fn write_elements(path: &Path, tensors: &[(TensorSpec, Element)]) {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(spec, element)| {
            (0..spec.elements() as usize)
                .flat_map(|n| element(n).to_le_bytes())
                .collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((spec, _), bytes)| {
        let view = TensorView::new(safetensors::Dtype::F32, spec.shape.clone(), bytes).unwrap();
        (&spec.name, view)
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

fn spec(name: &str) -> TensorSpec {
    specs().into_iter().find(|spec| spec.name == name).unwrap()
}

pub(crate) fn folder_with(specs: &[TensorSpec]) -> TempDir {
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
fn dequantised_weights_are_those_of_the_codes_and_norms_stay() {
    let folder = folder_with(&specs());
    let stored = Checkpoint::open(folder.path()).unwrap();
    let view = Checkpoint::open(folder.path()).unwrap();
    let view = view.dequantised(Scheme::Q4).unwrap();
    for spec in specs() {
        let found = view.tensor(&spec.name).to_vec::<f32>();
        let plain = stored.tensor(&spec.name).to_vec::<f32>();
        let Some(columns) = spec.columns() else {
            assert_eq!(found, plain, "{}", spec.name);
            continue;
        };
        let scheme = match spec.name.as_str() {
            "model.embed_tokens.weight" => Scheme::Q8,
            _ => Scheme::Q4,
        };
        let codes = Codes::of(scheme, &plain, columns).unwrap();
        let expected: Vec<f32> = codes.dequantised().collect();
        assert_eq!(found, expected, "{}", spec.name);
        assert_eq!(view.tensor(&spec.name).dtype(), Dtype::F32);
        let blocks = stored.codes(&spec.name, Scheme::Q4);
        let blocks: Vec<Codes> = blocks.collect::<Result<_, _>>().unwrap();
        assert_eq!(blocks, [codes], "{}", spec.name);
    }
}

#[test]
fn a_weight_that_is_not_finite_has_no_code() {
    let folder = folder_with(&specs());
    let path = folder.path().join("model.safetensors");
    let up = spec("model.layers.0.mlp.up_proj.weight");
    let mut all: Vec<(TensorSpec, Element)> = specs()
        .into_iter()
        .map(|spec| (spec, counting as Element))
        .collect();
    all.retain(|(spec, _)| *spec != up);
    all.push((up, |n| match n {
        3 => f32::NAN,
        n => n as f32,
    }));
    write_elements(&path, &all);
    let stored = Checkpoint::open(folder.path()).unwrap();
    let name = "model.layers.0.mlp.up_proj.weight";
    let of_codes = stored.codes(name, Scheme::Q8).next().unwrap().unwrap_err();
    let of_view = stored.dequantised(Scheme::Q8).unwrap_err();
    for error in [of_codes, of_view] {
        let message = error.to_string();
        assert!(
            message.contains(name) && message.contains("a weight is NaN"),
            "{message}"
        );
    }
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
fn of_a_tensor_in_two_shards_the_one_counts_that_the_index_names() {
    let folder = folder_with(&[]);
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let norm = spec("model.norm.weight");
    write(
        &folder.path().join("a.safetensors"),
        &specs(),
        str::to_owned,
    );
    let ten_more = |n: usize| n as f32 + 10.0;
    write_elements(&folder.path().join("b.safetensors"), &[(norm, ten_more)]);
    for (shard, first) in [("a.safetensors", 0.0), ("b.safetensors", 10.0)] {
        let mut map: BTreeMap<String, &str> = specs()
            .into_iter()
            .map(|spec| (spec.name, "a.safetensors"))
            .collect();
        map.insert("model.norm.weight".into(), shard);
        // The other shard is named by something that the model doesn't need.
        map.insert("x".into(), "b.safetensors");
        let index = serde_json::json!({"weight_map": map}).to_string();
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let norm = checkpoint.tensor("model.norm.weight").to_vec::<f32>();
        assert_eq!(norm[0], first, "{shard}");
    }
}

#[test]
fn a_whole_file_beside_a_stale_index_is_used_with_a_warning() {
    let folder = folder_with(&specs());
    let index = r#"{"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}"#;
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let [warning] = checkpoint.warnings() else {
        panic!("{:?}", checkpoint.warnings());
    };
    assert!(
        warning.contains("model-00001-of-00002.safetensors"),
        "{warning}"
    );
}

#[test]
fn of_two_whole_sets_the_single_file_is_used_and_that_is_said() {
    let folder = folder_with(&specs());
    write(
        &folder.path().join("a.safetensors"),
        &specs(),
        str::to_owned,
    );
    let index = r#"{"weight_map": {"model.norm.weight": "a.safetensors"}}"#;
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(
        checkpoint.warnings()[0]
            .starts_with("two sets of weights are here: model.safetensors is used")
    );

    // A part of the model isn't a set that could be meant.
    write(
        &folder.path().join("model.safetensors"),
        &specs()[1..],
        str::to_owned,
    );
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(
        checkpoint.warnings()[0].contains("so the shards"),
        "{:?}",
        checkpoint.warnings()
    );

    // A broken file is an error all the same.
    std::fs::write(folder.path().join("model.safetensors"), [0; 4096]).unwrap();
    assert!(refusal(folder.path()).contains("not a whole safetensors file"));
}

#[test]
fn a_head_that_differs_from_the_embeddings_counts_whatever_the_flag_says() {
    let embeddings = spec("model.embed_tokens.weight");
    let head = TensorSpec {
        name: "lm_head.weight".into(),
        shape: embeddings.shape.clone(),
    };
    let open = |head_element: fn(usize) -> f32, flag: Option<bool>| {
        let folder = folder_with(&[]);
        let mut tensors: Vec<(TensorSpec, Element)> = specs()
            .into_iter()
            .map(|spec| (spec, counting as _))
            .collect();
        tensors.push((head.clone(), head_element));
        write_elements(&folder.path().join("model.safetensors"), &tensors);
        let mut config: serde_json::Value = serde_json::from_str(CONFIG).unwrap();
        config["tie_word_embeddings"] = flag.into();
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        (Checkpoint::open(folder.path()).unwrap(), folder)
    };
    for flag in [None, Some(true)] {
        let (checkpoint, _folder) = open(|n| n as f32 + 1.0, flag);
        assert!(!checkpoint.config().tie_word_embeddings);
        assert_eq!(checkpoint.tensor("lm_head.weight").to_vec::<f32>()[0], 1.0);
        let [warning] = checkpoint.warnings() else {
            panic!("{:?}", checkpoint.warnings());
        };
        assert!(
            warning.contains("`lm_head.weight` differs from the embeddings"),
            "{warning}"
        );
        let stored = checkpoint.config().parameters() * 4;
        assert_eq!(checkpoint.stored_bytes(), stored);
    }

    let (same, _folder) = open(counting, Some(true));
    assert!(same.config().tie_word_embeddings && same.warnings().is_empty());
    assert_eq!(same.stored_bytes(), same.config().parameters() * 4);

    let (untied, _folder) = open(counting, Some(false));
    assert!(!untied.config().tie_word_embeddings && untied.warnings().is_empty());
}

#[test]
fn an_untied_model_without_a_head_is_refused() {
    let folder = folder_with(&specs());
    let untied = CONFIG.replacen('{', r#"{"tie_word_embeddings": false, "#, 1);
    std::fs::write(folder.path().join("config.json"), untied).unwrap();
    let message = refusal(folder.path());
    assert!(message.contains("`lm_head.weight` is missing"), "{message}");

    // Of a multimodal file transformers reads the outer key only.
    let text: serde_json::Value = serde_json::from_str(CONFIG).unwrap();
    let mut config = serde_json::json!({"model_type": "gemma3", "text_config": text});
    config["text_config"]["tie_word_embeddings"] = false.into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(checkpoint.config().tie_word_embeddings);
    assert_eq!(checkpoint.warnings().len(), 1);
}

#[test]
fn a_head_stands_for_the_embeddings_that_it_is_tied_to() {
    let folder = folder_with(&[]);
    let name = |name: &str| name.replace("model.embed_tokens", "lm_head");
    write(&folder.path().join("model.safetensors"), &specs(), name);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(checkpoint.config().tie_word_embeddings);
    let table = checkpoint
        .tensor("model.embed_tokens.weight")
        .to_vec::<f32>();
    assert_eq!(table[1], 1.0);
}

#[test]
fn tensors_that_the_configuration_does_not_ask_for_are_told() {
    let mut more = specs();
    let mut bias = spec("model.norm.weight");
    bias.name = "model.layers.0.self_attn.q_proj.bias".into();
    more.push(bias);
    let folder = folder_with(&more);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let warning = &checkpoint.warnings()[0];
    assert!(
        warning.contains("`model.layers.0.self_attn.q_proj.bias`"),
        "{warning}"
    );
}

#[test]
fn packed_weights_are_named_where_config_json_is_silent() {
    let mut packed = specs();
    let mut scales = spec("model.norm.weight");
    scales.name = "model.layers.0.mlp.up_proj.scales".into();
    packed.push(scales);
    assert!(refusal(folder_with(&packed).path()).contains("quantised: MLX"));
}

#[test]
fn an_adapter_that_is_not_merged_is_an_error_and_its_description_a_warning() {
    let mut unmerged = specs();
    let mut lora = spec("model.norm.weight");
    lora.name = "model.layers.0.self_attn.q_proj.lora_A.weight".into();
    unmerged.push(lora);
    let message = refusal(folder_with(&unmerged).path());
    assert!(
        message.contains("LoRA") && message.contains("merge it first"),
        "{message}"
    );

    let folder = folder_with(&specs());
    std::fs::write(folder.path().join("adapter_config.json"), "{}").unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let [warning] = checkpoint.warnings() else {
        panic!("{:?}", checkpoint.warnings());
    };
    assert!(
        warning.contains("LoRA adapter") && warning.contains("merge them"),
        "{warning}"
    );
}

#[test]
fn a_file_that_ends_in_zeros_is_told_from_a_whole_one() {
    let folder = folder_with(&specs());
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    // What a norm has on its own may be zeros.
    let mut zeroed = whole.clone();
    let norm = zeroed.len() - 16;
    zeroed[norm..].fill(0);
    std::fs::write(&path, &zeroed).unwrap();
    Checkpoint::open(folder.path()).unwrap();
    let header = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let data = whole.len() - 8 - header;
    for length in [data / 3, data / 2, 16 + 2 * 4 * 4] {
        let mut zeroed = whole.clone();
        let start = zeroed.len() - length;
        zeroed[start..].fill(0);
        std::fs::write(&path, &zeroed).unwrap();
        let message = refusal(folder.path());
        assert!(
            message.contains("model.safetensors: tensor") && message.contains("cut short"),
            "{message}"
        );
    }
}

#[test]
fn a_matrix_of_zeros_is_refused_and_a_norm_of_zeros_is_not() {
    let open = |name: &str| {
        let folder = folder_with(&[]);
        let tensors: Vec<(TensorSpec, Element)> = specs()
            .into_iter()
            .map(|spec| {
                let element: Element = match spec.name.contains(name) {
                    true => |_| 0.0,
                    false => |n| n as f32 + 1.0,
                };
                (spec, element)
            })
            .collect();
        write_elements(&folder.path().join("model.safetensors"), &tensors);
        Checkpoint::open(folder.path()).map_err(|error| error.to_string())
    };
    for name in ["embed_tokens.weight", "layers.0.mlp.up_proj.weight"] {
        let message = open(name).unwrap_err();
        assert!(
            message.contains(name) && message.contains("is all zeros"),
            "{message}"
        );
    }
    open("norm.weight").unwrap();
    // Layers that were added and not trained yet.
    open("layers.0.mlp.down_proj.weight").unwrap();
    open("self_attn.o_proj.weight").unwrap();

    // Nor is a part that isn't run, wherever in the file it is.
    let folder = folder_with(&[]);
    let mut tensors: Vec<(TensorSpec, Element)> = specs()
        .into_iter()
        .map(|spec| (spec, (|n| n as f32 + 1.0) as Element))
        .collect();
    let mut vision = spec("model.embed_tokens.weight");
    vision.name = "vision_tower.patch.weight".into();
    tensors.push((vision, |_| 0.0));
    write_elements(&folder.path().join("model.safetensors"), &tensors);
    Checkpoint::open(folder.path()).unwrap();
}

#[test]
fn a_file_beside_config_json_may_say_that_the_weights_are_quantised() {
    let folder = folder_with(&specs());
    let aside = r#"{"quantization": {"quant_algo": "FP8"}}"#;
    std::fs::write(folder.path().join("hf_quant_config.json"), aside).unwrap();
    let message = refusal(folder.path());
    assert!(
        message.contains("ModelOpt FP8 (`hf_quant_config.json`)"),
        "{message}"
    );
}

#[test]
fn files_are_not_folders() {
    let folder = folder_with(&specs());
    let gguf = folder.path().join("x.gguf");
    std::fs::write(&gguf, "GGUF").unwrap();
    let message = refusal(&gguf);
    let expected = format!("write gguf:{}", gguf.display());
    assert!(message.contains(&expected), "{message}");
    let message = refusal(&folder.path().join("model.safetensors"));
    assert!(message.contains("name the folder"), "{message}");
}

#[test]
fn small_files_are_read_in_utf_16_too() {
    let folder = folder_with(&specs());
    let utf16 = |text: &str| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    };
    std::fs::write(folder.path().join("config.json"), utf16(CONFIG)).unwrap();
    let generation = utf16(r#"{"eos_token_id": [1, 5]}"#);
    std::fs::write(folder.path().join("generation_config.json"), generation).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.config().eos_token_ids, [1, 5]);
}

#[test]
fn a_generation_config_that_cannot_be_read_is_told() {
    let folder = folder_with(&specs());
    let path = folder.path().join("generation_config.json");
    for (text, expected) in [
        ("{{", "generation_config.json: not JSON"),
        (r#"{"eos_token_id": "x"}"#, "`eos_token_id` is neither"),
    ] {
        std::fs::write(&path, text).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(checkpoint.config().eos_token_ids, [1]);
        assert!(
            checkpoint.warnings()[0].contains(expected),
            "{:?}",
            checkpoint.warnings()
        );
    }
}

#[test]
fn shards_without_their_index_are_told() {
    let folder = folder_with(&specs());
    let shard = folder.path().join("model-00001-of-00002.safetensors");
    std::fs::rename(folder.path().join("model.safetensors"), shard).unwrap();
    assert!(refusal(folder.path()).contains("these are shards, so fetch their index"));
}

#[test]
fn what_a_folder_has_in_place_of_weights_is_told() {
    let folder = folder_with(&specs());
    let single = folder.path().join("model.safetensors");
    std::fs::rename(&single, folder.path().join("pytorch_model.bin")).unwrap();
    assert!(refusal(folder.path()).contains("only pytorch_model.bin"));
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    std::fs::write(folder.path().join("adapter_config.json"), "{}").unwrap();
    assert!(refusal(folder.path()).contains("a LoRA adapter"));
}

#[test]
fn the_text_model_is_found_under_any_wrapper() {
    let prefixes = [
        "language_model.model.",
        "model.language_model.",
        "base_model.model.model.",
        "",
    ];
    for prefix in prefixes {
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
