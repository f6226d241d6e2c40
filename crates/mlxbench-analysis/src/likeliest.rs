//! How near a model is to the reference whose probabilities are known of a few tokens alone: those that it found the
//! likeliest, as servers tell them.

use mlxbench_core::TokenId;
use mlxbench_core::results::{Fidelity, FirstDivergence};

use crate::equivalence::{log_sum_exp, top_1};

/// By how much the logarithms that are told may all be off together, in nats: mlx_lm.server's are differences of bf16
/// numbers near 20, and their probabilities can add up to 1.06.
pub const SHIFT: f64 = 0.1;

/// A probability at least, and its distance from 1: what is told is rounded.
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
/// A KL divergence has two parts: that of the distributions over the told tokens alone, times the reference's
/// probability of these, and that of being one of them. In the second the target's probability of the told tokens is
/// the nearest to the reference's that it can be where all told logarithms are off by [`SHIFT`] together. Both are no
/// more than their parts of the divergence over all tokens, whose rest isn't negative (the chain rule: Cover and Thomas,
/// "Elements of Information Theory", 2nd ed., 2.5), so what they find different is.
/// `largest_logit_difference` is that of log-probabilities.
///
/// `None` where the reference's logits aren't finite, a token lies beyond them, or there is nothing to compare.
pub fn fidelity(
    reference: impl Iterator<Item = Vec<f32>>,
    target: &[Likeliest],
) -> Option<Fidelity> {
    let mut fidelity = Fidelity::default();
    for (logits, told) in reference.zip(target) {
        if !logits.iter().all(|logit| logit.is_finite()) {
            return None;
        }
        let offset = log_sum_exp(&logits);
        let logit = |token: TokenId| logits.get(token as usize).copied().map(f64::from);
        let mut pairs = Vec::with_capacity(told.logprobs.len());
        for &(token, log_q) in &told.logprobs {
            let log_p = logit(token)? - offset;
            let apart = (log_p - log_q).abs();
            fidelity.largest_logit_difference = fidelity.largest_logit_difference.max(apart);
            pairs.push((log_p, log_q));
        }
        let kl = divergence(&pairs);
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

/// The KL divergence that logarithms of probabilities of the same tokens tell of, in nats: the reference's and the
/// target's of each.
fn divergence(pairs: &[(f64, f64)]) -> f64 {
    let log_sum = |logs: &dyn Fn(&(f64, f64)) -> f64| {
        let largest = pairs.iter().map(logs).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = pairs.iter().map(|pair| (logs(pair) - largest).exp()).sum();
        largest + sum.ln()
    };
    let (log_p, log_q) = (log_sum(&|pair| pair.0), log_sum(&|pair| pair.1));
    let terms = pairs.iter().map(|(p, q)| p.exp() * (p - q));
    let among = terms.sum::<f64>() - log_p.exp() * (log_p - log_q);
    let apart = log_q - log_p;
    let nearest = log_q - apart.clamp(-SHIFT, SHIFT);
    let probability = |log: f64| log.exp().clamp(LEAST, 1.0 - LEAST);
    let (p, q) = (probability(log_p), probability(nearest));
    let whether = p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
    among.max(0.0) + whether.max(0.0)
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
            (2.0 - log_sum_exp(&target) + SHIFT).exp(),
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
        for tokens in [&[1][..], &[1, 0, 3]] {
            let mut told = told(&logits, tokens);
            for (_, logprob) in &mut told.logprobs {
                *logprob += 0.06;
            }
            let of = fidelity([logits.clone()].into_iter(), &[told]).unwrap();
            assert!(of.mean_kl < 1e-9, "{of:?}");
            assert!((of.largest_logit_difference - 0.06).abs() < 1e-9);
        }
    }

    /// What the reference finds unlikely as a whole, however alike it finds the told tokens among themselves.
    #[test]
    fn tokens_that_the_reference_would_not_name_are_told_apart() {
        let logits = vec![9.0, 8.0, 0.0, 0.0, 0.0];
        let of = |logprobs: Vec<(TokenId, f64)>| {
            let told = [Likeliest {
                chosen: 2,
                logprobs,
            }];
            fidelity([logits.clone()].into_iter(), &told)
                .unwrap()
                .mean_kl
        };
        assert!(of(vec![(2, 0.4f64.ln()), (3, 0.4f64.ln())]) > 0.5);
        // Servers write that for what they don't know.
        assert!(of(vec![(0, -9999.0), (1, -9999.0)]) > 1.0);
        let far = [vec![0.0, -2000.0, -2000.0]].into_iter();
        let told = [Likeliest {
            chosen: 1,
            logprobs: vec![(1, -0.7), (2, -0.7)],
        }];
        assert!(fidelity(far, &told).unwrap().mean_kl > 1.0);
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
