//! What quantising a model's weights costs: the dequantised model beside the model as it is, position by
//! position of a text. The figures are those of llama.cpp's `llama-perplexity --kl-divergence`
//! (`tools/perplexity/perplexity.cpp`).

use mlxbench_core::TokenId;
use mlxbench_core::results::{CostFigures, Perplexity, QuantisationCost, RunResult, TargetId};

use crate::equivalence::{kl_divergence, log_sum_exp, top_1};
use crate::stats::{quantile, sorted};

/// What a target's quantised weights cost, or why that isn't known; `None` where they aren't quantised.
pub fn cost_of(result: &RunResult, target: &TargetId) -> Option<QuantisationCost> {
    let precision = target.placement.precision;
    if !precision.is_quantised() {
        return None;
    }
    let known = result.quantisation_cost_of(target).cloned();
    let reason = match result.run.settings.reference {
        Some(_) => "it wasn't measured",
        None => "the run has no reference",
    };
    Some(known.unwrap_or_else(|| QuantisationCost {
        weights: precision.weights(),
        figures: None,
        reason: Some(reason.into()),
    }))
}

/// The positions compared so far.
#[derive(Debug, Default)]
pub struct Tally {
    kl: Vec<f64>,
    /// -ln p(next token) under the model as it is, and under the dequantised one.
    surprise: [Vec<f64>; 2],
    same_top: usize,
}

impl Tally {
    /// Adds a position: the logits that both models give there, and the token that follows in the text.
    ///
    /// # Errors
    /// What is wrong with the logits.
    pub fn add(&mut self, full: &[f32], quantised: &[f32], next: TokenId) -> Result<(), String> {
        let next = next as usize;
        if full.len() != quantised.len() || next >= full.len() {
            return Err("logits of another vocabulary".into());
        }
        let finite = |logits: &[f32]| logits.iter().all(|logit| logit.is_finite());
        if !finite(full) || !finite(quantised) {
            return Err("logits aren't finite".into());
        }
        let surprise = |logits: &[f32]| log_sum_exp(logits) - f64::from(logits[next]);
        self.kl.push(kl_divergence(full, quantised));
        self.surprise[0].push(surprise(full));
        self.surprise[1].push(surprise(quantised));
        self.same_top += usize::from(top_1(full) == top_1(quantised));
        Ok(())
    }

    /// The figures over the text called `text`. `None` where nothing was added.
    pub fn figures(&self, text: &str) -> Option<CostFigures> {
        let positions = self.kl.len();
        let [full, quantised] = &self.surprise;
        Some(CostFigures {
            text: text.to_owned(),
            positions,
            mean_kl: self.kl.iter().sum::<f64>() / positions as f64,
            p99_kl: quantile(&sorted(&self.kl), 0.99)?,
            same_top_positions: self.same_top,
            full_perplexity: perplexity(full),
            perplexity: perplexity(quantised),
        })
    }
}

/// exp of the mean, and its standard error by the delta method: exp(m) s / sqrt(n). Infinite beyond what an
/// f64 holds, which no sound model comes near.
fn perplexity(surprise: &[f64]) -> Perplexity {
    let n = surprise.len() as f64;
    let mean = surprise.iter().sum::<f64>() / n;
    let squares = surprise.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    let deviation = match surprise.len() {
        0 | 1 => 0.0,
        _ => (squares / (n - 1.0)).sqrt(),
    };
    let value = mean.exp().min(f64::MAX);
    Perplexity {
        value,
        standard_error: (value * deviation / n.sqrt()).min(f64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_the_textbooks() {
        let mut tally = Tally::default();
        assert_eq!(tally.figures("x"), None);
        // p = (1/2, 1/2), then (3/4, 1/4); q = (1/4, 3/4), then p itself.
        let ln3 = 3f32.ln();
        tally.add(&[0.0, 0.0], &[0.0, ln3], 0).unwrap();
        tally.add(&[ln3, 0.0], &[ln3, 0.0], 1).unwrap();
        let figures = tally.figures("x").unwrap();
        let kl = 0.5 * 2f64.ln() + 0.5 * (2.0 / 3.0f64).ln();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(near(figures.mean_kl, kl / 2.0), "{figures:?}");
        assert!(
            figures.p99_kl > 0.9 * kl && figures.p99_kl <= kl,
            "{figures:?}"
        );
        assert_eq!((figures.positions, figures.same_top_positions), (2, 1));
        // -ln p: ln 2 and ln 4; ln 4 twice.
        let Perplexity {
            value,
            standard_error,
        } = figures.full_perplexity;
        assert!(near(value, 8f64.sqrt()), "{value}");
        // The deviation of ln 2 and ln 4 is ln 2 / sqrt 2.
        let expected = 8f64.sqrt() * 2f64.ln() / 2.0;
        assert!(near(standard_error, expected), "{standard_error}");
        assert!(near(figures.perplexity.value, 4.0));
        assert!(near(figures.perplexity.standard_error, 0.0));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let mut tally = Tally::default();
        assert!(tally.add(&[0.0, 1.0], &[0.0], 0).is_err());
        assert!(tally.add(&[0.0, 1.0], &[0.0, 1.0], 2).is_err());
        assert!(tally.add(&[0.0, 1.0], &[0.0, f32::NAN], 0).is_err());
        assert_eq!(tally.figures("x"), None);
    }
}
