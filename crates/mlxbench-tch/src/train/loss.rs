//! From the last layer to the loss.

use tch::{Kind, Reduction, TchError, Tensor};

use crate::network::Network;

impl Network {
    /// The logits of all positions of `hidden`, of shape `[batch, tokens, hidden_size]`, in f32, and so is the
    /// soft-cap.
    pub(super) fn logits_with_gradient(&self, hidden: &Tensor) -> Result<Tensor, TchError> {
        let normed = self.norm.with_gradient(hidden)?;
        let logits = self
            .lm_head
            .with_gradient(&normed)?
            .f_to_kind(Kind::Float)?;
        match self.config.final_logit_softcapping {
            Some(cap) => logits.f_div_scalar(cap)?.f_tanh()?.f_mul_scalar(cap),
            None => Ok(logits),
        }
    }
}

/// Of `logits`, of shape `[batch, tokens, vocab_size]`, and the ids that should follow, of shape `[batch, tokens]`.
pub(super) fn mean_cross_entropy(logits: &Tensor, ids: &Tensor) -> Result<Tensor, TchError> {
    let vocab = logits.size3()?.2;
    let (none, no_label) = (None::<&Tensor>, -100);
    logits.f_reshape([-1, vocab])?.f_cross_entropy_loss(
        &ids.f_reshape([-1])?,
        none,
        Reduction::Mean,
        no_label,
        0.0,
    )
}
