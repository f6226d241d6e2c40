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
    log_sums(logits)?.subtract(chosen)?.mean(None)
}

/// Logits whose powers are summed at once. On the CPU MLX adds one after another, and in a sum over a whole
/// vocabulary the small ones are lost: 2e-4 nats were.
const BLOCK: i32 = 512;

/// The logarithm of the sum of powers over the last axis, of shape `[batch, tokens, 1]`: block by block, then over the
/// blocks.
fn log_sums(logits: &Array) -> Result<Array> {
    let &[batch, tokens, vocab] = logits.shape() else {
        unreachable!("logits have three axes");
    };
    let divides = |block: &i32| vocab % block == 0;
    let block = (1..=BLOCK).rev().find(divides).unwrap_or(1);
    let blocks = logits.reshape(&[batch, tokens, vocab / block, block])?;
    blocks.logsumexp_axis(-1, false)?.logsumexp_axis(-1, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_over_a_vocabulary_loses_nothing() {
        // Gemma 3's vocabularies, and one that no block divides.
        for vocab in [262_144, 262_208, 1009] {
            let logits: Vec<f32> = (0..vocab).map(|id| 6.0 * (id as f32).sin()).collect();
            let powers = logits.iter().map(|&logit| f64::from(logit).exp());
            let expected = powers.sum::<f64>().ln();
            let found = log_sums(&Array::from_slice(&logits, &[1, 1, vocab])).unwrap();
            let off = (f64::from(found.item_exact::<f32>()) - expected).abs();
            assert!(off < 5e-6, "{vocab}: off by {off}");
        }
    }
}
