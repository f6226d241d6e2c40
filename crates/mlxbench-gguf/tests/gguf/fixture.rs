//! Tiny models with random weights, as a folder and as a GGUF file.

use std::path::{Path, PathBuf};

use mlxbench_core::gemma::FlatConfig;
use mlxbench_core::{Checkpoint, Dtype, GemmaConfig};
use mlxbench_models::progress::UNWATCHED;
use mlxbench_models::synth;
use tempfile::TempDir;

use crate::writer::{Field, Gguf, Stored};

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

/// Six layers deep, so that a Gemma 3 has a global one.
const LAYERS: usize = 6;

fn json(model_type: &str) -> serde_json::Value {
    serde_json::json!({
        "model_type": model_type, "vocab_size": 64, "hidden_size": 32, "intermediate_size": 96,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8,
        "max_position_embeddings": 128, "bos_token_id": 2, "eos_token_id": [1, 6],
    })
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

fn metadata(config: &FlatConfig, architecture: &str) -> Vec<(String, Field)> {
    let count = |n: usize| Field::U32(n as u32);
    let mut model = vec![
        ("block_count", count(config.layers.len())),
        ("embedding_length", count(config.hidden_size)),
        ("feed_forward_length", count(config.intermediate_size)),
        ("attention.head_count", count(config.num_attention_heads)),
        ("attention.head_count_kv", count(config.num_key_value_heads)),
        ("attention.key_length", count(config.head_dim)),
        ("attention.value_length", count(config.head_dim)),
        ("attention.layer_norm_rms_epsilon", Field::F32(1e-6)),
        ("context_length", count(config.max_position_embeddings)),
    ];
    if let Some(window) = config.sliding_window {
        model.push(("attention.sliding_window", count(window)));
    }
    let pieces = vocabulary();
    let list =
        |value: fn(&(String, f32, i32)) -> Field| Field::List(pieces.iter().map(value).collect());
    let tokenizer = [
        ("model", Field::text("llama")),
        ("tokens", list(|piece| Field::text(&piece.0))),
        ("scores", list(|piece| Field::F32(piece.1))),
        ("token_type", list(|piece| Field::I32(piece.2))),
        ("bos_token_id", Field::U32(2)),
        ("eos_token_id", Field::U32(1)),
        ("eot_token_id", Field::U32(6)),
        ("unknown_token_id", Field::U32(3)),
    ];
    let general = [
        ("architecture", Field::text(architecture)),
        ("type", Field::text("model")),
        ("name", Field::text("tiny")),
    ];
    let with = |prefix: &str, keys: Vec<(&str, Field)>| {
        let keys = keys.into_iter();
        keys.map(|(key, value)| (format!("{prefix}.{key}"), value))
            .collect::<Vec<_>>()
    };
    [
        with("general", general.into()),
        with(architecture, model),
        with("tokenizer.ggml", tokenizer.into()),
    ]
    .concat()
}

/// A folder with random weights in `model`, and the same as the contents of a GGUF file.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) config: GemmaConfig,
    pub(crate) gguf: Gguf,
}

impl Fixture {
    pub(crate) fn new(model_type: &str) -> Self {
        Self::with(model_type, |_| {})
    }

    /// A fixture whose `config.json` was changed. The file's metadata don't tell of it.
    pub(crate) fn with(model_type: &str, change: impl FnOnce(&mut serde_json::Value)) -> Self {
        let mut json = json(model_type);
        change(&mut json);
        let config = GemmaConfig::from_json(&json.to_string()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let original = folder.path().join("model");
        synth::write(&config, Dtype::F32, 1, &original, UNWATCHED).unwrap();
        let checkpoint = Checkpoint::open(&original).unwrap();
        let stored = |spec: &mlxbench_core::gemma::TensorSpec| {
            let mut values: Vec<f32> = checkpoint.tensor(&spec.name).to_vec();
            if spec.is_norm() {
                values.iter_mut().for_each(|value| *value += 1.0);
            }
            Stored {
                name: gguf_name(&spec.name, model_type),
                shape: spec.shape.iter().map(|&size| size as u64).collect(),
                kind: 0,
                data: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            }
        };
        let gguf = Gguf {
            metadata: metadata(&config.flat().unwrap(), model_type),
            tensors: config.tensors().iter().map(stored).collect(),
        };
        Self {
            folder,
            config,
            gguf,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Imports a file of the folder: the new folder, or the message.
    pub(crate) fn import_file(&self, name: &str, dtype: Dtype) -> Result<PathBuf, String> {
        let target = self.path("imported");
        match mlxbench_gguf::import(&self.path(name), &target, dtype, None) {
            Ok(_) => Ok(target),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// Writes `model.gguf` and imports it.
    pub(crate) fn import(&self, dtype: Dtype) -> Result<PathBuf, String> {
        std::fs::write(self.path("model.gguf"), self.gguf.bytes()).unwrap();
        self.import_file("model.gguf", dtype)
    }

    /// Imports, and reads the configuration as every program does.
    pub(crate) fn imported_config(&self) -> GemmaConfig {
        let folder = self.import(Dtype::F32).unwrap();
        Checkpoint::open(&folder).unwrap().config().clone()
    }

    /// The message of an import that must fail and leave nothing behind.
    pub(crate) fn refusal(&self) -> String {
        let message = self.import(Dtype::F32).unwrap_err();
        assert_eq!(self.names(), ["model", "model.gguf"], "{message}");
        message
    }

    /// The largest difference of any weight between the original and `imported`.
    pub(crate) fn largest_difference(&self, imported: &Path) -> f32 {
        let original = Checkpoint::open(&self.path("model")).unwrap();
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
    pub(crate) fn names(&self) -> Vec<String> {
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
