//! What a generation's reference class assumes for keys that a file leaves out: the defaults of
//! `configuration_gemma.py`, `configuration_gemma2.py`, `configuration_gemma3.py`,
//! `configuration_vaultgemma.py` and `configuration_gemma4.py`.

use crate::gemma::Generation;

/// The defaults of one class.
pub(super) struct Defaults {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) context: usize,
    pub(super) rope_theta: f64,
    /// Every n-th layer is global.
    pub(super) pattern: usize,
    pub(super) sliding_window: Option<usize>,
    pub(super) attn_softcap: Option<f64>,
    pub(super) final_softcap: Option<f64>,
}

/// The keys of the soft-caps of attention and of the output. A GGUF file can ask for both in every
/// generation; where the class of transformers has none, or ignores its own key as Gemma 3's does,
/// they stand under names that no other program reads.
pub(super) fn softcap_keys(generation: Generation) -> [&'static str; 2] {
    match generation {
        Generation::Gemma1 => [
            "mlxbench_attn_logit_softcapping",
            "mlxbench_final_logit_softcapping",
        ],
        Generation::Gemma2 | Generation::VaultGemma => {
            ["attn_logit_softcapping", "final_logit_softcapping"]
        }
        Generation::Gemma3 | Generation::Gemma4 => {
            ["mlxbench_attn_logit_softcapping", "final_logit_softcapping"]
        }
    }
}

/// The same in all classes.
pub(super) const HEAD_DIM: usize = 256;
pub(super) const QUERY_PRE_ATTN_SCALAR: f64 = 256.0;
pub(super) const RMS_NORM_EPS: f64 = 1e-6;
pub(super) const BOS: u32 = 2;
pub(super) const EOS: u32 = 1;
/// RoPE's base on local layers of Gemma 3 and 4.
pub(super) const LOCAL_THETA: f64 = 1e4;

impl Defaults {
    /// Those of Gemma 4's unified class.
    pub(super) fn unified() -> Self {
        Self {
            context: 262_144,
            sliding_window: Some(1024),
            ..Self::of(Generation::Gemma4)
        }
    }

    pub(super) fn of(generation: Generation) -> Self {
        match generation {
            Generation::Gemma1 => Self {
                vocab_size: 256_000,
                hidden_size: 3072,
                intermediate_size: 24_576,
                layers: 28,
                heads: 16,
                kv_heads: 16,
                context: 8192,
                rope_theta: 1e4,
                pattern: 1,
                sliding_window: None,
                attn_softcap: None,
                final_softcap: None,
            },
            Generation::Gemma2 | Generation::VaultGemma => Self {
                vocab_size: 256_000,
                hidden_size: 2304,
                intermediate_size: 9216,
                layers: 26,
                heads: 8,
                kv_heads: 4,
                context: 8192,
                rope_theta: 1e4,
                pattern: 2,
                sliding_window: Some(4096),
                attn_softcap: Some(50.0),
                final_softcap: Some(30.0),
            },
            Generation::Gemma3 => Self {
                vocab_size: 262_208,
                hidden_size: 2304,
                intermediate_size: 9216,
                layers: 26,
                heads: 8,
                kv_heads: 4,
                context: 131_072,
                rope_theta: 1e6,
                pattern: 6,
                sliding_window: Some(4096),
                attn_softcap: None,
                final_softcap: None,
            },
            Generation::Gemma4 => Self {
                vocab_size: 262_144,
                hidden_size: 2304,
                intermediate_size: 9216,
                layers: 30,
                heads: 8,
                kv_heads: 4,
                context: 131_072,
                rope_theta: 1e6,
                pattern: 6,
                sliding_window: Some(512),
                attn_softcap: None,
                final_softcap: None,
            },
        }
    }
}

/// Of Gemma 4: the width of heads on global layers, the share of their frequencies that aren't 0, the width of
/// embeddings for each layer and the rows of their table.
pub(super) const GLOBAL_HEAD_DIM: usize = 512;
pub(super) const PARTIAL_ROTARY_FACTOR: f64 = 0.25;
pub(super) const PER_LAYER_WIDTH: usize = 256;
pub(super) const PER_LAYER_VOCAB: usize = 262_144;
