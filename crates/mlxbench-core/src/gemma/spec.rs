//! What a layer needs, in full: adapters build and run layers from this and know no generations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a layer's attention sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// Every earlier position.
    Global,
    /// The last `sliding_window` positions, the query's own counted.
    Local,
}

impl LayerKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Local, Self::Global];

    /// Its name in `layer_types` of `config.json`.
    pub fn hf_name(self) -> &'static str {
        match self {
            Self::Global => "full_attention",
            Self::Local => "sliding_attention",
        }
    }
}

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// Its attention.
    pub attention: AttentionSpec,
    /// Width of its MLP.
    pub mlp_width: usize,
    /// The experts beside its MLP.
    pub experts: Option<ExpertsSpec>,
    /// Width of its own embedding of each token, which is gated and added to what comes out.
    pub per_layer_input: Option<usize>,
    /// The name within the layer of a number that what comes out is multiplied by.
    pub scalar: Option<&'static str>,
    /// Its norms.
    pub norms: LayerNorms,
}

/// A mixture of experts: gated MLPs of which a router chooses some for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExpertsSpec {
    /// How many there are.
    #[serde(rename = "num_experts")]
    pub count: usize,
    /// How many of them a token goes through; at most as many as there are.
    #[serde(rename = "top_k_experts")]
    pub top_k: usize,
    /// Width of each.
    #[serde(rename = "moe_intermediate_size")]
    pub width: usize,
}

/// A table with an embedding of each token for each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerLayerSpec {
    /// Rows of the table.
    pub vocab_size: usize,
    /// Width of a token's embedding for one layer.
    pub width: usize,
}

/// The attention of a layer. Layers with the same one share masks, rotations and the bookkeeping of
/// their KV caches.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionSpec {
    /// What it is called: global or local.
    pub kind: LayerKind,
    /// Positions that a query sees, its own counted (`query - key < window`); all when `None`.
    pub window: Option<usize>,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; independent of `hidden_size / heads`.
    pub head_dim: usize,
    /// The rotation of queries and keys.
    pub rope: RopeSpec,
    /// Scores are scaled by this number to the power of -1/2.
    pub query_pre_attn_scalar: f64,
    /// Soft-cap of scores, applied before the mask.
    pub softcap: Option<f64>,
    /// Whether the projections have a bias.
    pub bias: bool,
    /// Where keys and values come from.
    pub keys_values: KeysValues,
}

/// Where the keys and values of an attention come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysValues {
    /// From two projections of the layer's own, kept in a cache of its own.
    Own,
    /// From one projection for both, kept in a cache of its own. Values are neither normalised as keys are
    /// nor rotated.
    OneProjection,
    /// From the cache of an earlier layer, the one with this index.
    Of(usize),
}

impl KeysValues {
    /// The projections of attention's input, by their names within a layer.
    pub fn projections(self) -> &'static [&'static str] {
        const ALL: [&str; 3] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        &ALL[..=self.own_projections()]
    }

    /// How many of them give keys or values.
    pub fn own_projections(self) -> usize {
        match self {
            Self::Own => 2,
            Self::OneProjection => 1,
            Self::Of(_) => 0,
        }
    }

    /// Whether they are kept in a cache of the layer's own.
    pub fn are_own(self) -> bool {
        self.own_projections() > 0
    }
}

/// A rotation of the halves of a head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeSpec {
    /// The base of the frequencies.
    pub theta: f64,
    /// Positions are divided by this (linear scaling); 1 for none.
    pub linear_factor: f64,
    /// The share of frequencies, from the highest on, that aren't 0 (proportional RoPE); 1 for all.
    pub rotated: f64,
}

/// The RMSNorms of a layer by their place, each by the name of its weight within the layer. The same
/// name means different places in different generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerNorms {
    /// Of what goes into attention.
    pub input: &'static str,
    /// Of queries and of keys, head by head before the rotation, where they are normalised.
    pub queries_keys: Option<[&'static str; 2]>,
    /// Whether values are normalised head by head, without a weight.
    pub values: bool,
    /// Of what comes out of attention, before it joins the residual, where it is normalised.
    pub post_attention: Option<&'static str>,
    /// Of what goes into the MLP.
    pub pre_feedforward: &'static str,
    /// Of what comes out of the MLP, before it joins the residual, where it is normalised.
    pub post_feedforward: Option<&'static str>,
}

/// The norms around a mixture of experts, by their names within a layer: of what comes out of the MLP, of what
/// goes into the experts, of what comes out of them.
pub const EXPERTS_NORMS: [&str; 3] = [
    "post_feedforward_layernorm_1.weight",
    "pre_feedforward_layernorm_2.weight",
    "post_feedforward_layernorm_2.weight",
];

/// The norm of what a layer makes of its own embedding of a token.
pub const PER_LAYER_NORM: &str = "post_per_layer_input_norm.weight";

/// An RMSNorm: `x / sqrt(mean(x^2) + eps) * scale * (offset + weight)`.
#[derive(Debug, Clone, PartialEq)]
pub struct NormSpec {
    /// The name of its weight's tensor; without one, `weight` is 0 and `offset` 1.
    pub weight: Option<String>,
    /// Elements that are normalised together.
    pub width: usize,
    /// Added to the weight: 1 up to Gemma 3.
    pub offset: f64,
    /// What all is multiplied by.
    pub scale: f64,
    /// Added to the mean square.
    pub eps: f64,
}

impl LayerNorms {
    /// How many norms over the residual stream's width there are.
    pub fn of_residual(&self) -> usize {
        2 + usize::from(self.post_attention.is_some())
            + usize::from(self.post_feedforward.is_some())
    }
}

impl AttentionSpec {
    /// Factor on scores: `query_pre_attn_scalar^-1/2`.
    pub fn scale(&self) -> f64 {
        self.query_pre_attn_scalar.powf(-0.5)
    }

    /// Query heads that share one key and value head (grouped-query attention).
    pub fn queries_per_kv(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Width of all queries of a token.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of what a token is projected to: queries, and keys and values of the layer's own.
    pub fn projected_width(&self) -> usize {
        self.query_width() + self.keys_values.own_projections() * self.kv_width()
    }

    /// Width of all keys of a token, and of all values.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Positions that a query sees which is the last of `context`.
    pub fn seen(&self, context: usize) -> usize {
        self.window.map_or(context, |window| context.min(window))
    }
}
