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
    pub(crate) gate: Linear,
    pub(crate) projection: Linear,
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

/// Looks the last of `rows` rows up in the whole table and in that row alone. On MPS PyTorch 2.12 and 2.13 are reported
/// to find zeros beyond 2^31 elements (pytorch/pytorch#188756), which E2B's table has.
fn check_lookup(table: &Weight, rows: i64) -> Result<(), TchError> {
    let device = table.device();
    let at = |index: i64| Tensor::from_slice(&[index]).f_to_device(device);
    let whole = table.lookup(&at(rows - 1)?)?;
    let alone = table.rows(rows - 1, 1)?.lookup(&at(0)?)?;
    match whole.f_equal(&alone)? {
        true => Ok(()),
        false => Err(TchError::Torch(format!(
            "{device:?} looks up wrong rows in the table of per-layer embeddings, which has {} elements",
            rows * whole.numel() as i64
        ))),
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
        let table = weights.per_layer_table(PER_LAYER_TABLE, layers * spec.width)?;
        check_lookup(&table, spec.vocab_size as i64)?;
        Ok(Some(Self {
            layers: layers as i64,
            table,
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
        let rows = self.table.lookup(&ids.f_to_device(self.table.device())?)?;
        let own = rows.f_to_device(x.device())?.f_mul_scalar_(self.scale)?;
        let all = own.f_view(by_layer)?.f_add_(&shared)?;
        all.f_unbind(2)
    }
}
