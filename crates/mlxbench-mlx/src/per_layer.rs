//! Embeddings of tokens for each layer.

use mlx_rs::error::Result;
use mlx_rs::{Array, Stream, with_stream};
use mlxbench_core::gemma::parts::{self, Norm};
use mlxbench_core::gemma::{LayerNames, PER_LAYER_PROJECTION, PER_LAYER_TABLE};

use crate::framework::Mlx;
use crate::fused::Fused;
use crate::linear::{Linear, Weight};
use crate::norm::RmsNorm;
use crate::weights::{self, Weights};

/// What a layer makes of its own.
#[derive(Debug)]
pub struct PerLayerInput {
    pub(crate) gate: Linear,
    pub(crate) projection: Linear,
    geglu: Fused,
}

impl parts::PerLayerInput<Mlx> for PerLayerInput {
    fn load(weights: &Weights<'_>, names: LayerNames, width: usize, hidden: usize) -> Result<Self> {
        let linear = |module, columns| weights.linear(names, &[module], columns, false);
        Ok(Self {
            gate: linear("per_layer_input_gate", hidden)?,
            projection: linear("per_layer_projection", width)?,
            geglu: Fused::geglu(),
        })
    }

    fn forward(&self, x: &Array, input: &Array) -> Result<Array> {
        let gated = self.geglu.forward(&self.gate.forward(x)?, input)?;
        self.projection.forward(&gated)
    }
}

/// What `work` gives on `stream`; on the current one where that is `None`. MLX has arrays wait for those of other
/// streams.
fn on<T>(stream: Option<&Stream>, work: impl FnOnce() -> T) -> T {
    match stream {
        Some(stream) => with_stream(stream, work),
        None => work(),
    }
}

/// The table of them, and what all layers add to their own.
#[derive(Debug)]
pub(crate) struct PerLayerEmbeddings {
    width: i32,
    layers: i32,
    /// Shape `[vocab_size, layers * width]`.
    table: Weight,
    /// Where the table isn't the device's.
    stream: Option<Stream>,
    /// On a row of it: a scalar in the model's dtype.
    scale: Array,
    projection: Linear,
    norm: RmsNorm,
}

impl PerLayerEmbeddings {
    /// Those of the model, where it has any.
    pub(crate) fn load(weights: &Weights<'_>) -> Result<Option<Self>> {
        let config = weights.checkpoint.config();
        let Some((spec, norm, scale)) = config.per_layer_parts() else {
            return Ok(None);
        };
        let layers = config.num_layers();
        let scale = Array::from_f32(scale as f32);
        let stream = weights.per_layer_on_cpu.then(Stream::cpu);
        let table = || weights.matrix(&[PER_LAYER_TABLE], layers * spec.width);
        Ok(Some(Self {
            width: spec.width as i32,
            layers: layers as i32,
            table: on(stream.as_ref(), table)?,
            stream,
            scale: scale.as_dtype(weights::dtype(weights.dtype))?,
            projection: weights.product(PER_LAYER_PROJECTION, config.hidden_size)?,
            norm: RmsNorm::load(weights, &norm)?,
        }))
    }

    /// Bytes of the table.
    pub(crate) fn table_bytes(&self) -> u64 {
        self.table.bytes()
    }

    /// The embeddings of `ids`, of shape `[batch, tokens]`, whose embeddings are `x`, of shape
    /// `[batch, tokens, hidden]`: for each layer, of shape `[batch, tokens, width]`.
    pub(crate) fn forward(&self, ids: &Array, x: &Array) -> Result<Vec<Array>> {
        let (batch, tokens) = (ids.dim(0), ids.dim(1));
        let by_layer = [batch, tokens, self.layers, self.width];
        let shared = self.projection.forward(x)?.reshape(&by_layer)?;
        let rows = on(self.stream.as_ref(), || self.table.lookup(ids, x.dtype()))?;
        let own = rows.multiply(&self.scale)?;
        let shared = self.norm.forward(&shared)?.reshape(own.shape())?;
        shared.add(own)?.split_equal(self.layers, -1)
    }
}
