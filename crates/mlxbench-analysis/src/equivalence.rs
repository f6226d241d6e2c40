//! Whether a target did the same work as the reference: both are given the same text, position by
//! position, and their distributions over the next token are compared. METHODOLOGY.md tells where
//! the limits come from.

use mlxbench_core::gemma::Activations;
use mlxbench_core::results::{Fidelity, FirstDivergence, Verdict};
use mlxbench_core::{Dtype, Precision, TokenId};

/// How far a target may be from an f32 reference to pass as the same work in its precision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Mean of KL(reference || target) over the positions, in nats.
    pub mean_kl: f64,
    /// The largest of them.
    pub largest_kl: f64,
}

impl Limits {
    /// What the rounding of a dtype explains, with room.
    fn of_dtype(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self {
                mean_kl: 1e-8,
                largest_kl: 1e-7,
            },
            Dtype::Bf16 => Self {
                mean_kl: 5e-3,
                largest_kl: 5e-2,
            },
            Dtype::F16 => Self {
                mean_kl: 1e-4,
                largest_kl: 1e-3,
            },
        }
    }

    /// What activations rounded to 8 bits explain, in blocks of 32 or more values with a scale each.
    const INT8_ACTIVATIONS: Self = Self {
        mean_kl: 2e-2,
        largest_kl: 1e-1,
    };

    /// The limits of a precision in which products do `activations` to what they multiply. Quantised weights
    /// have none of their own: the reference has the very weights that their codes stand for.
    pub fn of(precision: Precision, activations: Activations) -> Self {
        let dtype = Self::of_dtype(precision.compute());
        match activations {
            Activations::Kept => dtype,
            Activations::Int8 => dtype.wider(Self::INT8_ACTIVATIONS),
        }
    }

    /// The wider ones of both.
    pub fn wider(self, other: Self) -> Self {
        match self.mean_kl > other.mean_kl {
            true => self,
            false => other,
        }
    }
}

/// Compares the logits of a target with those of the reference, position by position and in each
/// `rows` rows. `None` where a logit of either isn't finite, or there is nothing to compare.
pub fn fidelity(
    rows: usize,
    reference: impl Iterator<Item = Vec<f32>>,
    target: impl Iterator<Item = Vec<f32>>,
) -> Option<Fidelity> {
    let mut fidelity = Fidelity::default();
    for (reference, target) in reference.zip(target) {
        let finite = |logits: &[f32]| logits.iter().all(|logit| logit.is_finite());
        if reference.len() != target.len() || !finite(&reference) || !finite(&target) {
            return None;
        }
        // In f64: the difference of two finite f32 need not be one, and a result holds numbers only.
        let apart = |a: f32, b: f32| f64::from(a) - f64::from(b);
        let differences = reference
            .iter()
            .zip(&target)
            .map(|(&a, &b)| apart(a, b).abs());
        let largest = differences.fold(0.0, f64::max);
        fidelity.largest_logit_difference = fidelity.largest_logit_difference.max(largest);
        let kl = kl_divergence(&reference, &target);
        fidelity.mean_kl += kl;
        fidelity.largest_kl = fidelity.largest_kl.max(kl);
        let (expected, chosen) = (top_1(&reference)?, top_1(&target)?);
        if expected == chosen {
            fidelity.agreeing_positions += 1;
        } else if fidelity.first_divergence.is_none() {
            fidelity.first_divergence = Some(FirstDivergence {
                row: fidelity.positions % rows,
                position: fidelity.positions / rows,
                reference_token: expected as TokenId,
                token: chosen as TokenId,
                margin: apart(reference[expected], reference[chosen]),
            });
        }
        fidelity.positions += 1;
    }
    fidelity.mean_kl /= fidelity.positions as f64;
    (fidelity.positions > 0).then_some(fidelity)
}

/// The verdict on a target from the precisions of the reference and its own. Equivalent: within the
/// wider limits of the two. Identical: both in plain f32, too, and the same token at every position.
pub fn verdict(
    reference: Precision,
    target: Precision,
    activations: Activations,
    fidelity: &Fidelity,
) -> Verdict {
    let of_reference = Limits::of(reference, Activations::Kept);
    let limits = of_reference.wider(Limits::of(target, activations));
    let f32 = Precision::plain(Dtype::F32);
    let exact = (reference, target) == (f32, f32);
    let within = fidelity.mean_kl <= limits.mean_kl && fidelity.largest_kl <= limits.largest_kl;
    let same_tokens = fidelity.agreeing_positions == fidelity.positions;
    match within {
        true if exact && same_tokens => Verdict::Identical,
        true => Verdict::Equivalent,
        false => Verdict::Different,
    }
}

/// KL(reference || target) of the distributions of two positions, in nats.
pub(crate) fn kl_divergence(reference: &[f32], target: &[f32]) -> f64 {
    let (reference_offset, target_offset) = (log_sum_exp(reference), log_sum_exp(target));
    let terms = reference.iter().zip(target).map(|(&p, &q)| {
        let (log_p, log_q) = (
            f64::from(p) - reference_offset,
            f64::from(q) - target_offset,
        );
        log_p.exp() * (log_p - log_q)
    });
    // Rounding can leave a tiny negative sum where there is no difference.
    terms.sum::<f64>().max(0.0)
}

pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&l| (f64::from(l) - largest).exp()).sum();
    largest + sum.ln()
}

/// The first of the largest logits.
pub(crate) fn top_1(logits: &[f32]) -> Option<usize> {
    let better = |best: usize, index: usize| match logits[index] > logits[best] {
        true => index,
        false => best,
    };
    (0..logits.len()).reduce(better)
}

#[cfg(test)]
mod tests {
    use super::*;

    const F32: Precision = Precision::plain(Dtype::F32);
    const BF16: Precision = Precision::plain(Dtype::Bf16);

    fn judged(reference: Precision, target: Precision, fidelity: &Fidelity) -> Verdict {
        verdict(reference, target, Activations::Kept, fidelity)
    }

    fn compare(reference: &[[f32; 3]], target: &[[f32; 3]]) -> Option<Fidelity> {
        let rows = |rows: &[[f32; 3]]| rows.iter().map(|r| r.to_vec()).collect::<Vec<_>>();
        fidelity(1, rows(reference).into_iter(), rows(target).into_iter())
    }

    #[test]
    fn rows_of_one_position_stand_behind_one_another() {
        let same = vec![1.0, 2.0, 0.0];
        let reference = vec![same.clone(); 6];
        let mut target = reference.clone();
        target[5] = vec![2.5, 2.0, 0.0];
        let fidelity = fidelity(2, reference.into_iter(), target.into_iter()).unwrap();
        let first = fidelity.first_divergence.unwrap();
        assert_eq!((first.position, first.row, fidelity.positions), (2, 1, 6));
    }

    #[test]
    fn figures_of_any_finite_logits_are_numbers() {
        let most = f32::MAX;
        let apart = compare(&[[most, -most, 0.0]], &[[-most, most, 0.0]]).unwrap();
        let margin = apart.first_divergence.unwrap().margin;
        for figure in [apart.largest_logit_difference, apart.mean_kl, margin] {
            assert!(figure.is_finite(), "{figure}");
        }
    }

    #[test]
    fn the_same_logits_are_identical() {
        let same = [[1.0, 2.0, 0.0], [0.5, -1.0, 3.0]];
        let fidelity = compare(&same, &same).unwrap();
        assert_eq!((fidelity.mean_kl, fidelity.agreeing_positions), (0.0, 2));
        assert_eq!(judged(F32, F32, &fidelity), Verdict::Identical);
        assert_eq!(judged(F32, BF16, &fidelity), Verdict::Equivalent);
    }

    #[test]
    fn kl_is_the_textbooks() {
        // p = (1/2, 1/2, ~0), q = (1/4, 3/4, ~0): 1/2 ln 2 + 1/2 ln 2/3.
        let p = [[0.0, 0.0, -90.0]];
        let q = [[0.0, 3f32.ln(), -90.0]];
        let expected = 0.5 * 2f64.ln() + 0.5 * (2.0 / 3.0f64).ln();
        let fidelity = compare(&p, &q).unwrap();
        assert!((fidelity.mean_kl - expected).abs() < 1e-7, "{fidelity:?}");
        assert_eq!(judged(F32, BF16, &fidelity), Verdict::Different);
    }

    #[test]
    fn a_shift_of_all_logits_changes_nothing_but_the_difference() {
        let fidelity = compare(&[[1.0, 2.0, 0.0]], &[[11.0, 12.0, 10.0]]).unwrap();
        assert_eq!(fidelity.largest_logit_difference, 10.0);
        assert!(fidelity.mean_kl < 1e-12);
    }

    #[test]
    fn the_first_divergence_has_the_references_margin() {
        let reference = [[1.0, 2.0, 0.0], [1.0, 2.0, 0.0]];
        let target = [[1.0, 2.0, 0.0], [2.5, 2.0, 0.0]];
        let first = compare(&reference, &target).unwrap().first_divergence;
        let first = first.unwrap();
        assert_eq!(
            (first.position, first.reference_token, first.token),
            (1, 1, 0)
        );
        assert_eq!(first.margin, 1.0);
    }

    #[test]
    fn logits_that_are_not_finite_have_no_fidelity() {
        assert_eq!(compare(&[[1.0, 2.0, 0.0]], &[[1.0, f32::NAN, 0.0]]), None);
        assert_eq!(compare(&[], &[]), None);
    }

    #[test]
    fn a_coarse_reference_asks_for_no_more_than_its_own_rounding() {
        let fidelity = Fidelity {
            positions: 4,
            largest_logit_difference: 0.5,
            mean_kl: 1e-4,
            largest_kl: 1e-3,
            agreeing_positions: 4,
            first_divergence: None,
        };
        let of = |reference, target| judged(reference, target, &fidelity);
        assert_eq!(of(F32, F32), Verdict::Different);
        assert_eq!(of(BF16, F32), Verdict::Equivalent);
    }

    #[test]
    fn quantised_weights_have_the_limits_of_what_is_computed_with_them() {
        let mut fidelity = compare(&[[1.0, 2.0, 0.0]], &[[1.0, 2.0, 0.0]]).unwrap();
        let q4: Precision = "q4-f32".parse().unwrap();
        let of = |activations, fidelity: &Fidelity| verdict(F32, q4, activations, fidelity);
        // The same weights in f32, but never the word for plain f32.
        assert_eq!(of(Activations::Kept, &fidelity), Verdict::Equivalent);
        (fidelity.mean_kl, fidelity.largest_kl) = (1e-3, 1e-2);
        assert_eq!(of(Activations::Kept, &fidelity), Verdict::Different);
        assert_eq!(of(Activations::Int8, &fidelity), Verdict::Equivalent);
        (fidelity.mean_kl, fidelity.largest_kl) = (0.03, 0.08);
        assert_eq!(of(Activations::Int8, &fidelity), Verdict::Different);
    }

    #[test]
    fn one_position_far_off_is_different_whatever_the_mean() {
        let fidelity = Fidelity {
            positions: 1000,
            largest_logit_difference: 1.0,
            mean_kl: 1e-4,
            largest_kl: 0.06,
            agreeing_positions: 999,
            first_divergence: None,
        };
        assert_eq!(judged(F32, BF16, &fidelity), Verdict::Different);
    }
}
