//! The tokens of timed generations beside the reference's: what was timed is then what was checked.
//!
//! Up to the first token at which a target's generation parts from the reference's, both had the same
//! text before them. There the target's most probable token is another than the reference's, which
//! is a matter of rounding where the reference nearly chose the same, and other work where it didn't.

use mlxbench_core::TokenId;
use mlxbench_core::gemma::Activations;
use mlxbench_core::results::{FirstDivergence, Parting, RunResult, TargetId, Test};
use serde::Serialize;

use crate::equivalence::{Limits, log_sum_exp};

/// A target's tokens of a test beside the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Tokens a row that both generated.
    pub compared: usize,
    /// Where they part first; `None` where they are the same in every repetition.
    pub parted: Option<Parted>,
}

/// Where tokens part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Parted {
    /// Counted from 0, the first token after the prompt.
    pub position: usize,
    /// The row of the prompt, counted from 0.
    pub row: usize,
    /// The reference's token.
    pub reference_token: TokenId,
    /// The target's.
    pub token: TokenId,
}

/// Compares the tokens of all repetitions of a target's test with those of the reference's first.
/// `None` where either has none, the test is no generation, the target is the reference, or its weights were quantised when it was
/// loaded: other weights prefer other tokens.
pub fn tokens(
    result: &RunResult,
    reference: &TargetId,
    target: &TargetId,
    test: &Test,
) -> Option<Tokens> {
    let quantised = target.placement.precision.scheme().is_some();
    if reference == target || quantised || test.as_generate().is_none() {
        return None;
    }
    let expected = &result.samples_of(reference, test).next()?.tokens;
    let mut samples = result.samples_of(target, test).peekable();
    let first = &samples.peek()?.tokens;
    let least = |tokens: &[Vec<TokenId>]| tokens.iter().map(Vec::len).min().unwrap_or(0);
    let compared = least(expected).min(least(first));
    let parted = samples.flat_map(|sample| {
        let rows = expected.iter().zip(&sample.tokens).enumerate();
        rows.filter_map(|(row, (expected, tokens))| {
            let mut pairs = expected.iter().zip(tokens);
            let position = pairs.position(|(expected, token)| expected != token)?;
            Some(Parted {
                position,
                row,
                reference_token: expected[position],
                token: tokens[position],
            })
        })
    });
    Some(Tokens {
        compared,
        parted: parted.min(),
    })
}

/// What the reference's `logits` where tokens part say of it; `None` where they aren't finite, or
/// have no such tokens.
///
/// Of all distributions that prefer the target's token *b* to the reference's *a*, the nearest to the
/// reference's p has both at (p_a + p_b) / 2 and leaves the rest as it is. So KL(reference || target)
/// is at least (p_a + p_b) (ln 2 - H), where H is the entropy of a choice between the two by p.
pub fn parting(target: &TargetId, test: &Test, parted: &Parted, logits: &[f32]) -> Option<Parting> {
    if !logits.iter().all(|logit| logit.is_finite()) {
        return None;
    }
    let logit = |token: TokenId| logits.get(token as usize).map(|&logit| f64::from(logit));
    let (expected, chosen) = (logit(parted.reference_token)?, logit(parted.token)?);
    let margin = expected - chosen;
    let share = 1.0 / (1.0 + (-margin).exp());
    let part = |share: f64| match share > 0.0 {
        true => share * share.ln(),
        false => 0.0,
    };
    let entropy = -(part(share) + part(1.0 - share));
    let all = log_sum_exp(logits);
    let both = (expected - all).exp() + (chosen - all).exp();
    // Where the reference itself prefers the target's token, nothing follows.
    let least_kl = match margin > 0.0 {
        true => (both * (std::f64::consts::LN_2 - entropy)).max(0.0),
        false => 0.0,
    };
    Some(Parting {
        target: target.clone(),
        test: *test,
        divergence: FirstDivergence {
            row: parted.row,
            position: parted.position,
            reference_token: parted.reference_token,
            token: parted.token,
            margin,
        },
        least_kl,
    })
}

/// Whether a parting is more than the rounding of the two dtypes explains at one position.
pub fn is_other_work(reference: &TargetId, parting: &Parting) -> bool {
    let (reference, target) = (&reference.placement, &parting.target.placement);
    let of = |precision| Limits::of(precision, Activations::Kept);
    let limits = of(reference.precision).wider(of(target.precision));
    parting.least_kl > limits.largest_kl
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::equivalence::fidelity;
    use crate::fixture;
    use mlxbench_core::results::Sample;

    fn target(name: &str) -> TargetId {
        name.parse().unwrap()
    }

    fn sample(name: &str, tokens: &[&[TokenId]]) -> Sample {
        Sample {
            target: target(name),
            tokens: tokens.iter().map(|row| row.to_vec()).collect(),
            ..fixture::sample(fixture::test(8, 3), &[1, 2, 3])
        }
    }

    fn compared(samples: Vec<Sample>) -> Option<Tokens> {
        let result = fixture::result(samples);
        let (reference, target) = (target("candle/cpu/f32"), target("tch/cpu/f32"));
        tokens(&result, &reference, &target, &fixture::test(8, 3))
    }

    #[test]
    fn the_first_parting_of_all_rows_and_repetitions_counts() {
        let reference = sample("candle/cpu/f32", &[&[1, 2, 3], &[4, 5, 6]]);
        let same = sample("tch/cpu/f32", &[&[1, 2, 3], &[4, 5, 6]]);
        let found = compared(vec![reference.clone(), same.clone()]).unwrap();
        assert_eq!((found.compared, found.parted), (3, None));
        let late = sample("tch/cpu/f32", &[&[1, 2, 9], &[4, 5, 6]]);
        let early = sample("tch/cpu/f32", &[&[1, 2, 9], &[4, 8, 7]]);
        let found = compared(vec![same, late, reference, early]).unwrap();
        let parted = Parted {
            position: 1,
            row: 1,
            reference_token: 5,
            token: 8,
        };
        assert_eq!(found.parted, Some(parted));
    }

    #[test]
    fn without_tokens_of_both_there_is_nothing_to_compare() {
        assert_eq!(compared(vec![sample("tch/cpu/f32", &[&[1]])]), None);
        assert_eq!(compared(vec![sample("candle/cpu/f32", &[&[1]])]), None);
    }

    fn parting_at(logits: &[f32]) -> Parting {
        let parted = Parted {
            position: 3,
            row: 0,
            reference_token: 1,
            token: 0,
        };
        parting(
            &target("tch/cpu/bf16"),
            &fixture::test(8, 3),
            &parted,
            logits,
        )
        .unwrap()
    }

    #[test]
    fn no_target_that_prefers_the_other_token_is_nearer_than_the_least() {
        let reference = [1.0, 2.5, 0.3, -1.0];
        let parting = parting_at(&reference);
        assert_eq!(parting.divergence.margin, 1.5);
        // The nearest: the two share what they had, the rest stays.
        let both = (1f32.exp() + 2.5f32.exp()) / 2.0;
        let kl = |target: [f32; 4]| {
            let of = |logits: [f32; 4]| std::iter::once(logits.to_vec());
            fidelity(1, of(reference), of(target)).unwrap().mean_kl
        };
        let nearest = kl([both.ln(), both.ln(), 0.3, -1.0]);
        assert!(
            (parting.least_kl - nearest).abs() < 1e-6,
            "{nearest} {parting:?}"
        );
        for other in [
            [2.5, 2.4, 0.3, -1.0],
            [2.0, 2.0, 0.0, 0.0],
            [3.0, 2.5, 0.3, -1.0],
        ] {
            assert!(kl(other) > parting.least_kl, "{other:?}");
        }
    }

    #[test]
    fn a_narrow_margin_is_rounding_and_a_wide_one_other_work() {
        let reference = target("candle/cpu/f32");
        assert!(!is_other_work(&reference, &parting_at(&[1.9, 2.0, 0.0])));
        assert!(is_other_work(&reference, &parting_at(&[1.0, 4.0, 0.0])));
        assert_eq!(parting_at(&[2.0, 1.0, 0.0]).least_kl, 0.0);
    }

    #[test]
    fn figures_of_any_finite_logits_are_numbers() {
        let most = f32::MAX;
        let parting = parting_at(&[-most, most, 0.0]);
        let numbers = parting.least_kl.is_finite() && parting.divergence.margin.is_finite();
        assert!(numbers, "{parting:?}");
    }
}
