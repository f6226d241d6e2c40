//! Embeddings of tokens for each layer.

use mlxbench_core::gemma::parts::{self, Norm};
use mlxbench_core::gemma::{LayerNames, PER_LAYER_PROJECTION, PER_LAYER_TABLE};
use tch::{TchError, Tensor};

use crate::framework::Torch;
use crate::linear::{Linear, Weight};
use crate::norm::RmsNorm;
use crate::weights::Weights;

/// What a layer makes of its own.
#[derive(Debug)]
pub struct PerLayerInput {
    gate: Linear,
    projection: Linear,
}

impl parts::PerLayerInput<Torch> for PerLayerInput {
    fn load(
        weights: &Weights<'_>,
        names: LayerNames,
        width: usize,
        hidden: usize,
    ) -> Result<Self, TchError> {
        let linear = |module, columns| weights.linear(names, &[module], columns, false);
        Ok(Self {
            gate: linear("per_layer_input_gate", hidden)?,
            projection: linear("per_layer_projection", width)?,
        })
    }

    fn forward(&self, x: &Tensor, input: &Tensor) -> Result<Tensor, TchError> {
        let gated = self.gate.forward(x)?.f_gelu("tanh")?.f_mul_(input)?;
        self.projection.forward(&gated)
    }
}

/// The table of them, and what all layers add to their own.
#[derive(Debug)]
pub(crate) struct PerLayerEmbeddings {
    layers: i64,
    /// Shape `[vocab_size, layers * width]`.
    table: Weight,
    /// On a row of it.
    scale: f64,
    projection: Linear,
    norm: RmsNorm,
}

impl PerLayerEmbeddings {
    /// Those of the model, where it has any.
    pub(crate) fn load(weights: &Weights<'_>) -> Result<Option<Self>, TchError> {
        let config = weights.checkpoint.config();
        let Some((spec, norm, scale)) = config.per_layer_parts() else {
            return Ok(None);
        };
        let layers = config.num_layers();
        Ok(Some(Self {
            layers: layers as i64,
            table: weights.per_layer_table(PER_LAYER_TABLE, layers * spec.width)?,
            scale,
            projection: weights.product(PER_LAYER_PROJECTION, config.hidden_size)?,
            norm: RmsNorm::load(weights, &norm)?,
        }))
    }

    /// The embeddings of `ids`, of shape `[batch, tokens]`, whose embeddings are `x`, of shape
    /// `[batch, tokens, hidden]`: for each layer, of shape `[batch, tokens, width]`.
    pub(crate) fn forward(&self, ids: &Tensor, x: &Tensor) -> Result<Vec<Tensor>, TchError> {
        let (batch, tokens) = ids.size2()?;
        let by_layer = [batch, tokens, self.layers, -1];
        let shared = self
            .norm
            .forward(&self.projection.forward(x)?.f_view(by_layer)?)?;
        let own = self.table.lookup(ids)?.f_mul_scalar_(self.scale)?;
        let all = own.f_view(by_layer)?.f_add_(&shared)?;
        all.f_unbind(2)
    }
}
