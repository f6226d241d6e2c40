//! What is known of a case before any figure is looked at: whether its figures stand, and whether they
//! may be compared.

use mlxbench_core::results::{RunResult, TargetId, Test, Verdict};

use super::{Change, Comparing};
use crate::fingerprint::Difference;
use crate::summary::{RowStatus, case_status};

/// Why figures of a build that computes something else than the reference's own old build stand apart.
pub(super) const OTHER_THAN_BASE: &str = "it computes something different from side a, the reference \
    here: which of them is right, another reference in [equivalence] would tell";

/// A target's test.
pub(super) type Case = (TargetId, Test);

pub(super) fn cases(result: &RunResult) -> Vec<Case> {
    let tests = &result.run.tests;
    let of_target = |target: &TargetId| {
        let target = target.clone();
        tests.iter().map(move |&test| (target.clone(), test))
    };
    result.run.targets.iter().flat_map(of_target).collect()
}

pub(super) fn case_measured(result: &RunResult, (target, test): &Case) -> bool {
    result.samples_of(target, test).next().is_some()
}

/// Whether nothing is known of a case, not even a failure.
pub(super) fn is_missing(result: &RunResult, (target, test): &Case) -> bool {
    case_status(result, target, test) == RowStatus::Missing
}

/// Why a case's figures say nothing, whatever they are.
fn worthless(result: &RunResult, (target, test): &Case) -> Option<String> {
    let verdict = result.verdict_of(target, test);
    match case_status(result, target, test) {
        RowStatus::Failed { kind, message } => Some(format!("{}: {message}", kind.name())),
        RowStatus::NotFinite => Some("the logits aren't finite".into()),
        _ if verdict == Some(Verdict::Different) => {
            Some("it computes something different from the reference".into())
        }
        RowStatus::Ok | RowStatus::Missing => None,
    }
}

impl Comparing<'_> {
    /// What is known of a case's rows before any figure is looked at.
    pub(super) fn settled(&self, case: &Case, differences: &[Difference]) -> Option<Change> {
        let (target, test) = case;
        if let Some(reason) = self.fails_in_both(case) {
            return Some(Change::NotComparable { reason });
        }
        if let Some(reason) = worthless(self.base, case) {
            let reason = format!("in the base {reason}");
            return Some(Change::NotComparable { reason });
        }
        if let Some(reason) = worthless(self.new, case) {
            return Some(match self.differs_from_base_alone(case) {
                true => Change::NotComparable {
                    reason: OTHER_THAN_BASE.into(),
                },
                false => Change::Broken { reason },
            });
        }
        let is_unchecked =
            |result: &RunResult| result.verdict_of(target, test) == Some(Verdict::Unchecked);
        if is_unchecked(self.new) && !is_unchecked(self.base) {
            let reason = "whether it still does the same work couldn't be checked".into();
            return Some(Change::NotComparable { reason });
        }
        let stands_against = |known: &&Difference| {
            let own = known.target.as_ref().is_none_or(|other| other == target);
            own && !self.paired && !self.options.across.contains(&known.kind)
        };
        let found = differences.iter().filter(stands_against);
        let found: Vec<String> = found.map(Difference::change).collect();
        let reason = found.join("; ");
        (!found.is_empty()).then_some(Change::NotComparable { reason })
    }

    /// Why a case's figures say nothing in either result.
    pub(super) fn fails_in_both(&self, case: &Case) -> Option<String> {
        let (base, new) = (worthless(self.base, case)?, worthless(self.new, case)?);
        Some(match base == new {
            true => format!("in both {base}"),
            false => format!("in the base {base}; in the new result {new}"),
        })
    }

    /// Whether all that speaks against the new figures is that the new build computes something else than
    /// the old one: where the sides are of the reference's backend, side a is the reference. Which of them
    /// is right, nobody has looked at: the new one may have mended the old one's numerics.
    fn differs_from_base_alone(&self, case: &Case) -> bool {
        let (target, test) = case;
        let reference = self.new.run.settings.reference.as_ref();
        let of_base = reference.is_some_and(|reference| reference.backend == target.backend);
        let measured = match test {
            Test::Generate(_) | Test::Serve(_) => {
                let known = self.new.equivalence_of(target);
                known.is_some_and(|known| known.fidelity.is_some())
            }
            Test::Chat(_) | Test::Lora(_) => {
                let known = self.new.check_of(target, test);
                known.is_some_and(|known| known.fidelity.is_some() || known.training.is_some())
            }
        };
        self.paired && of_base && case_status(self.new, target, test) == RowStatus::Ok && measured
    }
}
