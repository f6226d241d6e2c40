//! Files that nobody meant: whatever is in them, reading them ends in a model or a message, never in a
//! panic or an allocation by a number that they made up.
//!
//! `MLXBENCH_FUZZ_CASES` sets the cases of each property; minutes' worth is some 100,000.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::path::Path;

use mlxbench_core::Dtype;
use mlxbench_core::checkpoint::{Checkpoint, weight_sets};
use mlxbench_core::gemma::{ConfigFile, GemmaConfig, TensorSpec};
use proptest::prelude::*;
use proptest::sample::Index;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

const DEFAULT_CASES: u32 = 256;

fn cases() -> ProptestConfig {
    let asked = std::env::var("MLXBENCH_FUZZ_CASES").ok();
    let cases = asked.and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(DEFAULT_CASES),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Any JSON, with numbers that have broken readers before.
fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        Just(json!(0)),
        Just(json!(-1)),
        Just(json!(4_000_000_000_u64)),
        Just(json!(u64::MAX)),
        Just(json!(1e18)),
        Just(json!(1e300)),
        Just(json!(1e-300)),
        any::<u8>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ];
    let text = prop_oneof![
        Just("linear".to_owned()),
        Just("default".to_owned()),
        Just("full_attention".to_owned()),
        Just("sliding_attention".to_owned()),
        "\\PC{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        text.prop_map(Value::from),
    ];
    let key = prop_oneof![
        proptest::sample::select(KEYS).prop_map(str::to_owned),
        "\\PC{0,8}",
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Keys that are read somewhere.
const KEYS: &[&str] = &[
    "model_type",
    "text_config",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "rms_norm_eps",
    "max_position_embeddings",
    "query_pre_attn_scalar",
    "sliding_window",
    "sliding_window_size",
    "sliding_window_pattern",
    "_sliding_window_pattern",
    "layer_types",
    "rope_theta",
    "rope_global_base_freq",
    "rope_local_base_freq",
    "rope_scaling",
    "rope_parameters",
    "rope_type",
    "type",
    "factor",
    "full_attention",
    "sliding_attention",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "attention_bias",
    "tie_word_embeddings",
    "use_bidirectional_attention",
    "bos_token_id",
    "eos_token_id",
    "quantization",
    "quantization_config",
    "dtype",
    "torch_dtype",
];

/// A small model's config.json with some keys set to anything.
fn mutated_config() -> impl Strategy<Value = Value> {
    let model_type = proptest::sample::select(&["gemma", "gemma2", "gemma3_text"][..]);
    let key = proptest::sample::select(KEYS);
    let changes = prop::collection::vec((key, any_json()), 0..4);
    (model_type, any::<bool>(), changes).prop_map(|(model_type, nested, changes)| {
        let mut config = Map::from_iter([("model_type".to_owned(), json!(model_type))]);
        config.extend(
            changes
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value)),
        );
        let config = Value::Object(config);
        match nested {
            true => json!({"model_type": "gemma3", "text_config": config}),
            false => config,
        }
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_text_as_config_json(text in "\\PC*") {
        let _ = ConfigFile::parse(&text);
    }

    #[test]
    fn any_json_as_config_json(value in any_json()) {
        let _ = ConfigFile::parse(&value.to_string());
    }

    /// What loads has bounded sizes, and is the same again when it is written and read.
    #[test]
    fn a_config_json_with_anything_in_it(value in mutated_config()) {
        let Ok(read) = ConfigFile::parse(&value.to_string()) else {
            return Ok(());
        };
        let config = read.config;
        prop_assert!(config.parameters() > 0);
        let context = config.max_position_embeddings;
        prop_assert!(config.kv_cache_bytes(Dtype::F32, 1, context) > 0);
        prop_assert!(read.facts.iter().all(|fact| !fact.from.is_empty()));
        let written = config.to_json(Dtype::F32).unwrap().to_string();
        prop_assert_eq!(GemmaConfig::from_json(&written).unwrap(), config);
    }

    #[test]
    fn any_text_as_index(text in "\\PC*", all_here in any::<bool>()) {
        let _ = weight_sets(Some(&text), |_| all_here);
    }

    /// Bytes of the header or of the length before it changed, or the file cut.
    #[test]
    fn a_safetensors_file_with_anything_in_its_header(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..8),
        cut in any::<Option<Index>>(),
    ) {
        let mut file = small_file();
        let header = 8 + usize::from(u16::from_le_bytes([file[0], file[1]]));
        for (place, byte) in changes {
            file[place.index(header)] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        open(&[("model.safetensors", &file)]);
    }

    /// Tensors of any dtype, shape and offsets under the names that the model asks for.
    #[test]
    fn a_header_that_says_anything(
        tensors in prop::collection::vec((any::<Index>(), header_entry()), 0..6),
        length in 0_usize..4096,
    ) {
        let mut header: Map<String, Value> = Map::new();
        let specs = specs();
        for (place, entry) in tensors {
            header.insert(place.get(&specs).name.clone(), entry);
        }
        let header = Value::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.resize(file.len() + length, 0);
        open(&[("model.safetensors", &file)]);
    }

    #[test]
    fn an_index_with_anything_in_it(value in any_json(), shard in any_json()) {
        let shards = json!({"weight_map": {"model.norm.weight": shard}});
        for index in [value, shards] {
            let index = index.to_string();
            open(&[("model.safetensors.index.json", index.as_bytes())]);
        }
    }
}

/// What a header says of one tensor.
fn header_entry() -> impl Strategy<Value = Value> {
    let dtype = proptest::sample::select(&["F32", "BF16", "F16", "U8", "F8_E4M3", "Q4"][..]);
    let number = prop_oneof![any::<u64>(), 0_u64..64];
    let shape = prop::collection::vec(number.clone(), 0..4);
    (dtype, shape, number.clone(), number).prop_map(|(dtype, shape, start, end)| {
        json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]})
    })
}

const CONFIG: &str = r#"{"model_type": "gemma", "vocab_size": 8, "hidden_size": 4,
    "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 1,
    "num_key_value_heads": 1, "head_dim": 2, "max_position_embeddings": 32}"#;

fn specs() -> Vec<TensorSpec> {
    GemmaConfig::from_json(CONFIG).unwrap().tensors()
}

/// The bytes of a whole model.
fn small_file() -> Vec<u8> {
    let specs = specs();
    let ones = [1; 4 * 8 * 6];
    let views = specs.iter().map(|spec| {
        let bytes = &ones[..4 * spec.elements() as usize];
        let view = TensorView::new(safetensors::Dtype::F32, spec.shape.clone(), bytes);
        (&spec.name, view.unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// Opens a folder of these files; where that works, every tensor can be read.
fn open(files: &[(&str, &[u8])]) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(Path::new(folder.path()).join(name), bytes).unwrap();
    };
    write("config.json", CONFIG.as_bytes());
    for (name, bytes) in files {
        write(name, bytes);
    }
    if let Ok(checkpoint) = Checkpoint::open(folder.path()) {
        for spec in checkpoint.config().tensors() {
            let elements = checkpoint.tensor(&spec.name).to_vec::<f32>();
            assert_eq!(elements.len() as u64, spec.elements());
        }
    }
}
