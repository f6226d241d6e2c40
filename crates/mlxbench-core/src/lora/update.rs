//! The update of AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019, Algorithm 2; Kingma & Ba,
//! "Adam", 2015, Algorithm 1). Frameworks' own differ: MLX's leaves the correction of the bias off by default, mlx-rs's
//! has none, and a first step is then 3.2 times as large.

use super::Lora;

/// Decay of the running means of the gradient and of its square: Kingma & Ba's.
pub const BETAS: [f64; 2] = [0.9, 0.999];

/// Added to the root of the corrected mean square: Kingma & Ba's.
pub const EPS: f64 = 1e-8;

/// The factors of one update, from the host. With the gradient `g` of a value `w` and its running means `m` and `v`,
/// which begin at 0:
///
/// ```text
/// m <- BETAS[0] m + (1 - BETAS[0]) g
/// v <- BETAS[1] v + (1 - BETAS[1]) g^2
/// w <- keep w - rate m / (root sqrt(v) + EPS)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// `1 - learning_rate weight_decay`.
    pub keep: f64,
    /// `learning_rate / (1 - BETAS[0]^step)`.
    pub rate: f64,
    /// `1 / sqrt(1 - BETAS[1]^step)`.
    pub root: f64,
}

impl Lora {
    /// The update of step `step`, counted from 1.
    pub fn update(&self, step: u32) -> Update {
        let [mean, square] = BETAS.map(|beta| 1.0 - beta.powf(step.into()));
        let learning_rate = f64::from(self.learning_rate);
        Update {
            keep: 1.0 - learning_rate * f64::from(self.weight_decay),
            rate: learning_rate / mean,
            root: square.powf(-0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever its gradient's size: that is what the corrections are for.
    #[test]
    fn the_first_step_moves_a_value_by_the_learning_rate() {
        let lora = Lora::default();
        let Update { keep, rate, root } = lora.update(1);
        for gradient in [1e-3_f64, 1.0, 1e3] {
            let (m, v) = (
                (1.0 - BETAS[0]) * gradient,
                (1.0 - BETAS[1]) * gradient.powi(2),
            );
            let moved = rate * m / (root * v.sqrt() + EPS);
            assert!(
                (moved / f64::from(lora.learning_rate) - 1.0).abs() < 1e-4,
                "{moved}"
            );
        }
        assert_eq!(keep, 1.0);
    }

    #[test]
    fn weight_decay_is_a_share_of_the_value_at_the_learning_rate() {
        let lora = Lora {
            learning_rate: 0.5,
            weight_decay: 0.25,
            ..Lora::default()
        };
        assert_eq!(lora.update(7).keep, 0.875);
    }
}
