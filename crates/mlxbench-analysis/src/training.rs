//! Whether a target trained as the reference did: from the same adapters on the same ids, the losses of the first
//! steps and the gradients' norms are compared. METHODOLOGY.md tells where the limits come from.

use mlxbench_core::protocol::Trained;
use mlxbench_core::results::{TrainingFigures, Verdict};
use mlxbench_core::{Dtype, Precision};

/// Norms below this share of the largest of their step count as so large: what is left of a gradient that
/// cancels is rounding.
const SMALL: f64 = 1e-3;

/// How far a training may be from the f32 reference's to pass as the same in its precision, as shares of the
/// reference's figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Of a step's loss.
    pub loss: f64,
    /// Of a gradient's L2 norm.
    pub norm: f64,
}

impl Limits {
    /// The limits of a precision: what the rounding of the dtype that it computes in explains, with room.
    pub fn of(precision: Precision) -> Self {
        match precision.compute() {
            Dtype::F32 => Self {
                loss: 1e-4,
                norm: 5e-3,
            },
            Dtype::Bf16 | Dtype::F16 => Self {
                loss: 5e-3,
                norm: 0.2,
            },
        }
    }
}

/// A verdict, why it is so where figures don't say it, and the figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Whether the same was computed.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<String>,
    /// How near it came.
    pub figures: Option<TrainingFigures>,
}

impl Judgement {
    /// A verdict without figures.
    pub fn without_figures(verdict: Verdict, reason: impl Into<Option<String>>) -> Self {
        Self {
            verdict,
            reason: reason.into(),
            figures: None,
        }
    }
}

/// Compares what a target made of the first steps with what the reference did. Both have gradients. The limits are
/// the wider ones of the two `precisions`, the reference's and the target's.
pub fn compare(precisions: [Precision; 2], reference: &Trained, target: &Trained) -> Judgement {
    let Some(expected) = finite(reference) else {
        let reason = "the reference's losses or gradients aren't finite".to_owned();
        return Judgement::without_figures(Verdict::Unchecked, reason);
    };
    let Some(found) = finite(target) else {
        let reason = "losses or gradients aren't finite".to_owned();
        return Judgement::without_figures(Verdict::Different, reason);
    };
    let counts = |steps: &[Step]| {
        steps
            .iter()
            .map(|step| step.norms.len())
            .collect::<Vec<_>>()
    };
    if counts(&expected) != counts(&found) {
        let reason = format!(
            "it gave {:?} gradients a step, the reference {:?}",
            counts(&found),
            counts(&expected)
        );
        return Judgement::without_figures(Verdict::Different, reason);
    }
    let mut figures = TrainingFigures {
        steps: expected.len(),
        gradients: expected.first().map_or(0, |step| step.norms.len()),
        largest_loss_difference: 0.0,
        largest_norm_difference: 0.0,
    };
    for (expected, found) in expected.iter().zip(&found) {
        let apart = (expected.loss - found.loss).abs() / expected.loss.abs().max(f64::MIN_POSITIVE);
        figures.largest_loss_difference = figures.largest_loss_difference.max(apart);
        // Those of `A` and of `B`, which come in turn. A `B` begins as zero and is small for long, and with it the
        // gradient of its `A`.
        let largest = [0, 1].map(|first| {
            let own = expected.norms.iter().skip(first).step_by(2);
            own.copied().fold(0.0, f64::max)
        });
        let pairs = expected.norms.iter().zip(&found.norms).enumerate();
        for (at, (&expected, &found)) in pairs {
            // In the first step every `B` is 0, and so is the gradient of every `A`: of both.
            let scale = expected.max(SMALL * largest[at % 2]);
            let apart = match expected == found {
                true => 0.0,
                false => (expected - found).abs() / scale.max(f64::MIN_POSITIVE),
            };
            figures.largest_norm_difference = figures.largest_norm_difference.max(apart);
        }
    }
    let [limits, own] = precisions.map(Limits::of);
    let limits = if own.loss > limits.loss { own } else { limits };
    let within = figures.largest_loss_difference <= limits.loss
        && figures.largest_norm_difference <= limits.norm;
    Judgement {
        verdict: match within {
            true => Verdict::Equivalent,
            false => Verdict::Different,
        },
        reason: None,
        figures: Some(figures),
    }
}

/// A step's numbers.
struct Step {
    loss: f64,
    norms: Vec<f64>,
}

/// The steps of a training whose numbers are all finite and that has any.
fn finite(trained: &Trained) -> Option<Vec<Step>> {
    let steps = trained.losses.iter().zip(&trained.gradient_norms);
    let steps = steps.map(|(loss, norms)| {
        let norms = norms.iter().map(|norm| norm.map(f64::from));
        Some(Step {
            loss: f64::from((*loss)?),
            norms: norms.collect::<Option<_>>()?,
        })
    });
    let steps: Vec<Step> = steps.collect::<Option<_>>()?;
    (!steps.is_empty()).then_some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    const F32: Precision = Precision::plain(Dtype::F32);
    const BF16: Precision = Precision::plain(Dtype::Bf16);

    fn trained(losses: [f32; 2], norms: [[f32; 2]; 2]) -> Trained {
        Trained {
            step_ns: vec![],
            losses: losses.map(Some).to_vec(),
            gradient_norms: norms.map(|step| step.map(Some).to_vec()).to_vec(),
            device_peak_bytes: None,
        }
    }

    fn reference() -> Trained {
        trained([12.0, 11.9], [[0.0, 0.4], [0.2, 0.3]])
    }

    fn verdict(precision: Precision, target: &Trained) -> Verdict {
        compare([F32, precision], &reference(), target).verdict
    }

    #[test]
    fn the_same_steps_are_equivalent() {
        let judged = compare([F32; 2], &reference(), &reference());
        assert_eq!(judged.verdict, Verdict::Equivalent);
        let figures = judged.figures.unwrap();
        assert_eq!((figures.steps, figures.gradients), (2, 2));
        assert_eq!(figures.largest_norm_difference, 0.0);
    }

    #[test]
    fn losses_and_norms_have_limits_by_precision() {
        let loss = trained([12.0, 11.95], [[0.0, 0.4], [0.2, 0.3]]);
        assert_eq!(verdict(F32, &loss), Verdict::Different);
        assert_eq!(verdict(BF16, &loss), Verdict::Equivalent);
        let near = trained([12.0, 11.9], [[0.0, 0.4], [0.2, 0.3012]]);
        assert_eq!(verdict(F32, &near), Verdict::Equivalent);
        let norm = trained([12.0, 11.9], [[0.0, 0.4], [0.2, 0.3018]]);
        assert_eq!(verdict(F32, &norm), Verdict::Different);
        assert_eq!(verdict(BF16, &norm), Verdict::Equivalent);
        // A reference that rounds more isn't followed more nearly.
        let judged = compare([BF16, F32], &reference(), &norm);
        assert_eq!(judged.verdict, Verdict::Equivalent);
    }

    #[test]
    fn a_gradient_that_is_lost_is_different_in_any_precision() {
        let lost = trained([12.0, 11.9], [[0.0, 0.4], [0.0, 0.3]]);
        assert_eq!(verdict(BF16, &lost), Verdict::Different);
        // At a usual rate `B` is small after a step, and the gradient of `A` with it.
        let early = |of_a| trained([12.0, 11.9], [[0.0, 0.4], [of_a, 0.3]]);
        let judged = compare([BF16; 2], &early(1e-5), &early(0.0));
        assert_eq!(judged.verdict, Verdict::Different);
        // And one that comes from nowhere.
        let made = trained([12.0, 11.9], [[0.2, 0.4], [0.2, 0.3]]);
        assert_eq!(verdict(BF16, &made), Verdict::Different);
    }

    #[test]
    fn what_is_not_finite_is_no_yardstick_and_no_match() {
        let broken = Trained {
            losses: vec![None, Some(1.0)],
            ..reference()
        };
        assert_eq!(verdict(F32, &broken), Verdict::Different);
        let judged = compare([F32; 2], &broken, &reference());
        assert_eq!(judged.verdict, Verdict::Unchecked);
        let fewer = Trained {
            gradient_norms: vec![vec![Some(0.0)], vec![Some(0.2)]],
            ..reference()
        };
        let judged = compare([F32; 2], &reference(), &fewer);
        assert!(judged.reason.unwrap().contains("gradients a step"));
    }
}
