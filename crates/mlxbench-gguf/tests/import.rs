//! Tiny GGUF files, made here from random weights, imported and compared with those weights.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use mlxbench_core::{Checkpoint, Dtype, GemmaConfig};
use mlxbench_models::progress::UNWATCHED;
use mlxbench_models::synth;
use tempfile::TempDir;
use tokenizers::Tokenizer;

/// Names of the two formats, where a part of a tensor's name differs.
const NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("model.layers", "blk"),
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// A tiny model of a generation, six layers deep so that Gemma 3 has a global one.
fn config(model_type: &str) -> GemmaConfig {
    let json = serde_json::json!({
        "model_type": model_type, "vocab_size": 64, "hidden_size": 32, "intermediate_size": 96,
        "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8,
        "max_position_embeddings": 128, "bos_token_id": 2, "eos_token_id": [1, 6],
    });
    GemmaConfig::from_json(&json.to_string()).unwrap()
}

/// A tiny SentencePiece vocabulary: control pieces, a run of two spaces, letters and merges, of
/// which `bc` is the best; the rest are unused.
fn vocabulary() -> Vec<(String, f32, i32)> {
    let mut pieces: Vec<(String, f32, i32)> = [
        ("<pad>", -1000.0, 3),
        ("<eos>", -1000.0, 3),
        ("<bos>", -1000.0, 3),
        ("<unk>", -1000.0, 3),
        ("  ", -1000.0, 4),
        ("bc", -0.0, 1),
        ("ab", -1.0, 1),
        ("\u{2581}", -2.0, 1),
        ("a", -3.0, 1),
        ("b", -4.0, 1),
        ("c", -5.0, 1),
        ("\u{2581}a", -0.5, 1),
    ]
    .map(|(piece, score, kind)| (piece.to_owned(), score, kind))
    .into();
    pieces.extend((pieces.len()..64).map(|id| (format!("<unused{id}>"), -1000.0, 3)));
    pieces
}

fn metadata(config: &GemmaConfig, architecture: &str) -> Vec<(String, Value)> {
    let count = |n: usize| Value::U32(n as u32);
    let window = config.sliding_window.unwrap_or_default();
    let model = [
        ("block_count", count(config.num_layers())),
        ("embedding_length", count(config.hidden_size)),
        ("feed_forward_length", count(config.intermediate_size)),
        ("attention.head_count", count(config.num_attention_heads)),
        ("attention.head_count_kv", count(config.num_key_value_heads)),
        ("attention.key_length", count(config.head_dim)),
        ("attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("attention.sliding_window", count(window)),
        ("context_length", count(config.max_position_embeddings)),
    ];
    let pieces = vocabulary();
    let list =
        |value: fn(&(String, f32, i32)) -> Value| Value::Array(pieces.iter().map(value).collect());
    let tokenizer = [
        ("model", Value::String("llama".into())),
        ("tokens", list(|piece| Value::String(piece.0.clone()))),
        ("scores", list(|piece| Value::F32(piece.1))),
        ("token_type", list(|piece| Value::I32(piece.2))),
        ("bos_token_id", Value::U32(2)),
        ("eos_token_id", Value::U32(1)),
        ("eot_token_id", Value::U32(6)),
        ("unknown_token_id", Value::U32(3)),
    ];
    let architecture_key = (
        "general.architecture".into(),
        Value::String(architecture.into()),
    );
    let model = model.map(|(key, value)| (format!("{architecture}.{key}"), value));
    let tokenizer = tokenizer.map(|(key, value)| (format!("tokenizer.ggml.{key}"), value));
    [architecture_key]
        .into_iter()
        .chain(model)
        .chain(tokenizer)
        .collect()
}

/// A folder with random weights in `model`, and the same in `model.gguf`.
struct Fixture {
    folder: TempDir,
    config: GemmaConfig,
}

impl Fixture {
    fn new(model_type: &str, matrices: GgmlDType) -> Self {
        Self::with_metadata(model_type, matrices, |_| {})
    }

    fn with_metadata(
        model_type: &str,
        matrices: GgmlDType,
        change: impl Fn(&mut Vec<(String, Value)>),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(model_type);
        let original = folder.path().join("model");
        synth::write(&config, Dtype::F32, 1, &original, UNWATCHED).unwrap();

        let checkpoint = Checkpoint::open(&original).unwrap();
        let tensors: Vec<(String, QTensor)> = config
            .tensors()
            .iter()
            .map(|spec| {
                let mut values: Vec<f32> = checkpoint.tensor(&spec.name).to_vec();
                let mut kind = matrices;
                if spec.is_norm() {
                    values.iter_mut().for_each(|value| *value += 1.0);
                    kind = GgmlDType::F32;
                }
                let tensor = Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu).unwrap();
                (
                    gguf_name(&spec.name, model_type),
                    QTensor::quantize(&tensor, kind).unwrap(),
                )
            })
            .collect();
        let mut metadata = metadata(&config, model_type);
        change(&mut metadata);
        let metadata: Vec<_> = metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .collect();
        let tensors: Vec<_> = tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .collect();
        let mut file = std::fs::File::create(folder.path().join("model.gguf")).unwrap();
        gguf_file::write(&mut file, &metadata, &tensors).unwrap();
        Self { folder, config }
    }

    fn gguf(&self) -> PathBuf {
        self.folder.path().join("model.gguf")
    }

    fn import(&self, dtype: Dtype) -> Result<PathBuf, String> {
        let target = self.folder.path().join("imported");
        match mlxbench_gguf::import(&self.gguf(), &target, dtype, None) {
            Ok(()) => Ok(target),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// The largest difference of any weight between the original and `imported`.
    fn largest_difference(&self, imported: &Path) -> f32 {
        let original = Checkpoint::open(&self.folder.path().join("model")).unwrap();
        let imported = Checkpoint::open(imported).unwrap();
        let specs = self.config.tensors();
        let differences = specs.iter().flat_map(|spec| {
            let expected: Vec<f32> = original.tensor(&spec.name).to_vec();
            let found: Vec<f32> = imported.tensor(&spec.name).to_vec();
            expected.into_iter().zip(found).map(|(a, b)| (a - b).abs())
        });
        differences.fold(0.0, f32::max)
    }

    /// Names in the fixture's folder, those of unfinished imports too.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn gguf_name(name: &str, model_type: &str) -> String {
    let norm = if model_type == "gemma" {
        "ffn_norm"
    } else {
        "post_attention_norm"
    };
    let name = name.replace("post_attention_layernorm", norm);
    // `pre_feedforward_layernorm` holds no other name as a part, nor does any other.
    NAMES
        .iter()
        .fold(name, |name, (ours, theirs)| name.replace(ours, theirs))
}

#[test]
fn every_generation_comes_back_with_its_weights_and_configuration() {
    for model_type in ["gemma", "gemma2", "gemma3"] {
        let fixture = Fixture::new(model_type, GgmlDType::F32);
        let imported = fixture.import(Dtype::F32).unwrap();
        // Norms went through 1 + w, which rounds.
        assert!(fixture.largest_difference(&imported) < 1e-7, "{model_type}");
        let checkpoint = Checkpoint::open(&imported).unwrap();
        assert_eq!(checkpoint.config(), &fixture.config, "{model_type}");
    }
}

#[test]
fn quantised_weights_come_back_nearly() {
    let fixture = Fixture::new("gemma3", GgmlDType::Q8_0);
    let difference = fixture.largest_difference(&fixture.import(Dtype::F32).unwrap());
    // Q8_0 keeps a block's values to 1/254 of its largest, here below 4.5 / sqrt(32).
    assert!(difference > 0.0 && difference < 0.8 / 254.0, "{difference}");
}

#[test]
fn weights_are_bf16_when_asked() {
    let fixture = Fixture::new("gemma2", GgmlDType::F32);
    let checkpoint = Checkpoint::open(&fixture.import(Dtype::Bf16).unwrap()).unwrap();
    assert_eq!(
        checkpoint.dtypes().into_iter().collect::<Vec<_>>(),
        [Dtype::Bf16]
    );
}

#[test]
fn a_tokenizer_is_made_from_the_vocabulary() {
    let fixture = Fixture::new("gemma3", GgmlDType::F32);
    let file = fixture.import(Dtype::F32).unwrap().join("tokenizer.json");
    let tokenizer = Tokenizer::from_file(file).unwrap();
    let ids = |text| tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    assert_eq!(ids("abc"), [2, 8, 5], "the better merge goes first");
    assert_eq!(ids("a  a"), [2, 8, 4, 8], "a run goes before all merges");
    assert_eq!(
        ids("a  b c"),
        [2, 8, 4, 9, 7, 10],
        "two spaces are one piece"
    );
    assert_eq!(tokenizer.decode(&[2, 8, 4, 9], true).unwrap(), "a  b");
}

#[test]
fn a_tokenizer_beside_the_file_is_taken() {
    let fixture = Fixture::new("gemma", GgmlDType::F32);
    std::fs::write(fixture.folder.path().join("tokenizer.json"), "theirs").unwrap();
    let imported = fixture.import(Dtype::F32).unwrap();
    assert_eq!(
        std::fs::read_to_string(imported.join("tokenizer.json")).unwrap(),
        "theirs"
    );
}

#[test]
fn a_truncated_file_leaves_nothing_behind() {
    let fixture = Fixture::new("gemma3", GgmlDType::F32);
    let whole = std::fs::read(fixture.gguf()).unwrap();
    // In the last tensor, in the middle of the tensors, in the header, in the first number.
    for length in [whole.len() - 1000, whole.len() / 2, 500, 2] {
        std::fs::write(fixture.gguf(), &whole[..length]).unwrap();
        let message = fixture.import(Dtype::F32).unwrap_err();
        assert!(
            message.contains("whole") && message.contains("model.gguf"),
            "{message}"
        );
        assert_eq!(fixture.names(), ["model", "model.gguf"]);
    }
}

#[test]
fn what_is_no_gguf_is_told() {
    let fixture = Fixture::new("gemma", GgmlDType::F32);
    std::fs::write(
        fixture.gguf(),
        "PK\u{3}\u{4} and some more bytes of another format",
    )
    .unwrap();
    let message = fixture.import(Dtype::F32).unwrap_err();
    assert!(message.contains("not a whole GGUF file"), "{message}");
}

#[test]
fn other_architectures_and_missing_facts_are_told() {
    let set = |key: &'static str, value: Value| {
        let fixture = Fixture::with_metadata("gemma3", GgmlDType::F32, |metadata| {
            metadata.retain(|(known, _)| known != key);
            metadata.push((key.into(), value.clone()));
        });
        fixture.import(Dtype::F32).unwrap_err()
    };
    let other = set("general.architecture", Value::String("llama".into()));
    assert!(
        other.contains("`llama`") && other.contains("gemma3"),
        "{other}"
    );
    let typed = set("gemma3.block_count", Value::String("six".into()));
    assert!(typed.contains("`gemma3.block_count`"), "{typed}");
    let yarn = set("gemma3.rope.scaling.type", Value::String("yarn".into()));
    assert!(yarn.contains("`yarn`"), "{yarn}");
    let shape = set("gemma3.embedding_length", Value::U32(64));
    assert!(shape.contains("token_embd.weight"), "{shape}");

    let missing = Fixture::with_metadata("gemma3", GgmlDType::F32, |metadata| {
        metadata.retain(|(key, _)| key != "gemma3.context_length");
    });
    let missing = missing.import(Dtype::F32).unwrap_err();
    assert!(
        missing.contains("no metadata `gemma3.context_length`"),
        "{missing}"
    );
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let fixture = Fixture::new("gemma", GgmlDType::F32);
    let target = fixture.folder.path().join("imported");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("mine"), "").unwrap();
    let message = fixture.import(Dtype::F32).unwrap_err();
    assert!(message.contains("is not empty"), "{message}");
}
