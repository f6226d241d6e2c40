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
    /// Its norms.
    pub norms: LayerNorms,
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
    /// From projections of the layer's own, kept in a cache of its own.
    Own,
}

/// A rotation of the halves of a head, over its whole width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeSpec {
    /// The base of the frequencies.
    pub theta: f64,
    /// Positions are divided by this (linear scaling); 1 for none.
    pub linear_factor: f64,
}

/// The RMSNorms of a layer by their place, each by the name of its weight within the layer. The same
/// name means different places in different generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerNorms {
    /// Of what goes into attention.
    pub input: &'static str,
    /// Of queries and of keys, head by head before the rotation, where they are normalised.
    pub queries_keys: Option<[&'static str; 2]>,
    /// Of what comes out of attention, before it joins the residual, where it is normalised.
    pub post_attention: Option<&'static str>,
    /// Of what goes into the MLP.
    pub pre_feedforward: &'static str,
    /// Of what comes out of the MLP, before it joins the residual, where it is normalised.
    pub post_feedforward: Option<&'static str>,
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

    /// Width of all keys of a token, and of all values.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Positions that a query sees which is the last of `context`.
    pub fn seen(&self, context: usize) -> usize {
        self.window.map_or(context, |window| context.min(window))
    }
}
