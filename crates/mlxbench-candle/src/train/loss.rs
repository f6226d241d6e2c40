//! From the last layer to the loss.

use candle_core::{D, DType, Result, Tensor};

use crate::model::GemmaModel;

impl GemmaModel {
    /// The logits of all positions of `hidden`, of shape `[batch, tokens, hidden_size]`, in f32, and so is the
    /// soft-cap.
    pub(super) fn logits_with_gradient(&self, hidden: &Tensor) -> Result<Tensor> {
        let normed = self.norm.with_gradient(hidden)?;
        let logits = self.lm_head.with_gradient(&normed)?.to_dtype(DType::F32)?;
        match self.config.final_logit_softcapping {
            Some(cap) => (logits / cap)?.tanh()? * cap,
            None => Ok(logits),
        }
    }
}

/// Of `logits`, of shape `[batch, tokens, vocab_size]`, and the ids that should follow, of shape `[batch, tokens]`.
pub(super) fn mean_cross_entropy(logits: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let ids = ids.contiguous()?.unsqueeze(2)?;
    // Its gradient is 0 whatever it is, and goes no further. Candle computes it all the same: of each sum, difference
    // and product it makes the gradients of both sides, those of constants, too.
    let largest = logits.max_keepdim(D::Minus1)?.detach();
    let logits = logits.broadcast_sub(&largest)?;
    let sums = logits.exp()?.sum_keepdim(D::Minus1)?.log()?;
    (sums - logits.gather(&ids, D::Minus1)?)?.mean_all()
}
