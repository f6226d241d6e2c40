//! From the last layer to the loss.

use mlx_rs::error::Result;
use mlx_rs::{Array, Dtype};

use crate::fused::soft_cap;
use crate::model::GemmaModel;
use mlxbench_core::gemma::parts::Norm;

impl GemmaModel {
    /// The logits of all positions of `hidden`, of shape `[batch, tokens, hidden_size]`, in f32, and so is the
    /// soft-cap.
    pub(super) fn logits_with_gradient(&self, hidden: &Array) -> Result<Array> {
        let logits = self.lm_head.forward(&self.norm.forward(hidden)?)?;
        let logits = logits.as_dtype(Dtype::Float32)?;
        match self.config.final_logit_softcapping {
            Some(cap) => soft_cap(&logits, &Array::from_f32(cap as f32)),
            None => Ok(logits),
        }
    }
}

/// Of `logits`, of shape `[batch, tokens, vocab_size]`, and the ids that should follow, of shape `[batch, tokens]`.
pub(super) fn mean_cross_entropy(logits: &Array, ids: &Array) -> Result<Array> {
    let chosen = logits.take_along_axis(ids.expand_dims(2)?, -1)?;
    let sums = logits.logsumexp_axis(-1, true)?;
    sums.subtract(chosen)?.mean(None)
}
