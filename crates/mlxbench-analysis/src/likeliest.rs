//! How near a model is to the reference whose probabilities are known of a few tokens alone: those that it found the
//! likeliest, as servers tell them.

use mlxbench_core::TokenId;
use mlxbench_core::results::{Fidelity, FirstDivergence};

use crate::equivalence::{log_sum_exp, top_1};

/// Probability that all tokens but one have at least: what is told is rounded.
const LEAST: f64 = 1e-9;

/// What is known of a position.
#[derive(Debug, Clone, PartialEq)]
pub struct Likeliest {
    /// The token that was generated.
    pub chosen: TokenId,
    /// Natural logarithms of probabilities, each token once.
    pub logprobs: Vec<(TokenId, f64)>,
}

/// Compares what a target told with the reference's logits, position by position.
///
/// A KL divergence is that of the two distributions over the told tokens alone, times the reference's probability of
/// these; of a single told token that of it and of all others as one. Either is a part of the divergence over all
/// tokens, whose other parts aren't negative (the chain rule: Cover and Thomas, "Elements of Information Theory", 2nd
/// ed., 2.5), so what it finds different is. What all told logarithms have in common doesn't enter: mlx_lm.server's
/// are differences of bf16 numbers near 20, and their probabilities can add up to 1.06.
/// `largest_logit_difference` is that of log-probabilities.
///
/// `None` where the reference's logits aren't finite, a token lies beyond them, or there is nothing to compare.
pub fn fidelity(
    reference: impl Iterator<Item = Vec<f32>>,
    target: &[Likeliest],
) -> Option<Fidelity> {
    let mut fidelity = Fidelity {
        positions: 0,
        largest_logit_difference: 0.0,
        mean_kl: 0.0,
        largest_kl: 0.0,
        agreeing_positions: 0,
        first_divergence: None,
    };
    for (logits, told) in reference.zip(target) {
        if !logits.iter().all(|logit| logit.is_finite()) {
            return None;
        }
        let offset = log_sum_exp(&logits);
        let logit = |token: TokenId| logits.get(token as usize).copied().map(f64::from);
        let (mut kl, mut of_reference, mut of_target) = (0.0, 0.0, 0.0);
        for &(token, log_q) in &told.logprobs {
            let log_p = logit(token)? - offset;
            let apart = (log_p - log_q).abs();
            fidelity.largest_logit_difference = fidelity.largest_logit_difference.max(apart);
            kl += log_p.exp() * (log_p - log_q);
            of_reference += log_p.exp();
            of_target += log_q.exp();
        }
        let rest = match told.logprobs.len() {
            1 => {
                let others = |told: f64| (1.0 - told).max(LEAST);
                let (p, q) = (others(of_reference), others(of_target));
                p * (p / q).ln()
            }
            _ => of_reference * (of_target / of_reference).ln(),
        };
        let kl = (kl + rest).max(0.0);
        fidelity.mean_kl += kl;
        fidelity.largest_kl = fidelity.largest_kl.max(kl);
        let expected = top_1(&logits)?;
        if expected as TokenId == told.chosen {
            fidelity.agreeing_positions += 1;
        } else if fidelity.first_divergence.is_none() {
            fidelity.first_divergence = Some(FirstDivergence {
                row: 0,
                position: fidelity.positions,
                reference_token: expected as TokenId,
                token: told.chosen,
                margin: f64::from(logits[expected]) - logit(told.chosen)?,
            });
        }
        fidelity.positions += 1;
    }
    fidelity.mean_kl /= fidelity.positions as f64;
    (fidelity.positions > 0).then_some(fidelity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::equivalence::kl_divergence;

    fn told(logits: &[f32], tokens: &[TokenId]) -> Likeliest {
        let offset = log_sum_exp(logits);
        let logprob = |&token: &TokenId| (token, f64::from(logits[token as usize]) - offset);
        Likeliest {
            chosen: top_1(logits).unwrap() as TokenId,
            logprobs: tokens.iter().map(logprob).collect(),
        }
    }

    #[test]
    fn the_same_model_is_no_distance_away_however_little_it_tells() {
        let logits = vec![1.0, 3.0, -2.0, 0.5];
        for tokens in [&[1][..], &[1, 0], &[1, 0, 3, 2]] {
            let of = fidelity([logits.clone()].into_iter(), &[told(&logits, tokens)]).unwrap();
            assert!(of.mean_kl < 1e-9, "{tokens:?}: {of:?}");
            assert_eq!((of.positions, of.agreeing_positions), (1, 1));
        }
    }

    #[test]
    fn what_is_told_bounds_the_divergence_from_below() {
        let (reference, target) = (vec![1.0, 3.0, -2.0, 0.5], vec![2.5, 2.0, -2.0, 1.5]);
        let whole = kl_divergence(&reference, &target);
        let of = |tokens: &[TokenId]| {
            let told = [told(&target, tokens)];
            fidelity([reference.clone()].into_iter(), &told).unwrap()
        };
        assert!((of(&[0, 1, 2, 3]).mean_kl - whole).abs() < 1e-9);
        let two = of(&[0, 1]);
        assert!(two.mean_kl > 0.1 * whole && two.mean_kl < whole, "{two:?}");
        // By hand: of one token and the rest there are two outcomes.
        let (p, q) = (
            (3.0 - log_sum_exp(&reference)).exp(),
            (2.0 - log_sum_exp(&target)).exp(),
        );
        let by_hand = p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
        assert!((of(&[1]).mean_kl - by_hand).abs() < 1e-9);
        let first = two.first_divergence.unwrap();
        assert_eq!((first.reference_token, first.token), (1, 0));
        assert_eq!((first.margin, two.agreeing_positions), (2.0, 0));
    }

    #[test]
    fn what_all_logarithms_have_in_common_does_not_enter() {
        let logits = vec![1.0, 3.0, -2.0, 0.5];
        let mut told = told(&logits, &[1, 0, 3]);
        for (_, logprob) in &mut told.logprobs {
            *logprob += 0.06;
        }
        let of = fidelity([logits].into_iter(), &[told]).unwrap();
        assert!(of.mean_kl < 1e-9, "{of:?}");
        assert!((of.largest_logit_difference - 0.06).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_compared_has_no_fidelity() {
        let one = Likeliest {
            chosen: 1,
            logprobs: vec![(9, -0.5)],
        };
        assert_eq!(
            fidelity([vec![0.0, 1.0]].into_iter(), std::slice::from_ref(&one)),
            None,
            "beyond the vocabulary"
        );
        assert_eq!(fidelity([vec![f32::NAN, 1.0]].into_iter(), &[one]), None);
        assert_eq!(fidelity(std::iter::empty(), &[]), None);
    }
}
