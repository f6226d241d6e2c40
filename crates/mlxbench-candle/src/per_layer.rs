//! Embeddings of tokens for each layer.

use candle_core::{Device, Result, Tensor};
use mlxbench_core::gemma::parts::{self, Norm};
use mlxbench_core::gemma::{LayerNames, PER_LAYER_PROJECTION, PER_LAYER_TABLE};

use crate::framework::Candle;
use crate::linear::{Linear, Multiply, Weight};
use crate::mlp::geglu;
use crate::norm::RmsNorm;
use crate::weights::Weights;

/// What a layer makes of its own.
#[derive(Debug)]
pub struct PerLayerInput {
    pub(crate) gate: Linear,
    pub(crate) projection: Linear,
}

impl parts::PerLayerInput<Candle> for PerLayerInput {
    fn load(weights: &Weights<'_>, names: LayerNames, width: usize, hidden: usize) -> Result<Self> {
        let linear = |module, columns| weights.linear(names, &[module], columns, false);
        Ok(Self {
            gate: linear("per_layer_input_gate", hidden)?,
            projection: linear("per_layer_projection", width)?,
        })
    }

    fn forward(&self, x: &Tensor, input: &Tensor) -> Result<Tensor> {
        self.projection
            .forward(&geglu(&self.gate.forward(x)?, input)?)
    }
}

/// The table of them, and what all layers add to their own.
#[derive(Debug)]
pub(crate) struct PerLayerEmbeddings {
    width: usize,
    layers: usize,
    /// Shape `[vocab_size, layers * width]`.
    table: Weight,
    /// The table's, which may not be the model's.
    device: Device,
    /// On a row of it.
    scale: f64,
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
        Ok(Some(Self {
            width: spec.width,
            layers,
            table: weights.per_layer_table(PER_LAYER_TABLE, layers * spec.width)?,
            device: weights.per_layer_device().clone(),
            scale,
            projection: weights.product(PER_LAYER_PROJECTION, config.hidden_size)?,
            norm: RmsNorm::load(weights, &norm)?,
        }))
    }

    /// Bytes of the table.
    pub(crate) fn table_bytes(&self) -> u64 {
        self.table.bytes()
    }

    /// The embeddings of `ids`, of shape `[tokens]`, whose embeddings are `x`, of shape `[batch, tokens, hidden]`:
    /// for each layer, of shape `[batch, tokens, width]`. `multiply` is how they are projected.
    pub(crate) fn forward(
        &self,
        ids: &Tensor,
        x: &Tensor,
        multiply: Multiply,
    ) -> Result<Vec<Tensor>> {
        let (batch, tokens, _) = x.dims3()?;
        let by_layer = (batch, tokens, self.layers, self.width);
        let shared = multiply(&self.projection, x)?.reshape(by_layer)?;
        let rows = self
            .table
            .lookup(&ids.to_device(&self.device)?, x.dtype())?;
        let own = (rows.to_device(x.device())? * self.scale)?;
        let all = (self.norm.forward(&shared)? + own.reshape(by_layer)?)?;
        let of_layer = |layer| all.narrow(2, layer, 1)?.squeeze(2)?.contiguous();
        (0..self.layers).map(of_layer).collect()
    }
}
