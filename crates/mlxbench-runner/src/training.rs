//! The check of a training before it is timed: every target takes the first steps of each test from the same
//! adapters on the same ids as the reference, whose losses and gradients are compared with its own.

use std::collections::BTreeMap;

use mlxbench_analysis::training::{Judgement, compare};
use mlxbench_core::Scheme;
use mlxbench_core::protocol::Trained;
use mlxbench_core::results::{FailureKind, LoraTest, Record, TrainingCheck, Verdict};

use crate::equivalence::said;
use crate::event::Event;
use crate::plan::Check;
use crate::process::{Worker, WorkerError};
use crate::rounds::{Case, Runner, Stop};
use crate::work::training;

/// Steps that are compared: in the first the gradient of every `A` is zero, in the second it isn't, and the third
/// follows from an update that both were part of.
const STEPS: usize = 3;

/// What the reference makes of a test, by its index, and by the codes that stand for its weights.
type Yardsticks = BTreeMap<(Option<Scheme>, usize), Result<Trained, String>>;

impl Runner<'_> {
    /// Compares the trainings among `cases` with the reference's, but for those that a resumed run has compared.
    pub(crate) fn check_trainings(&mut self, cases: &[Case]) -> Result<(), Stop> {
        let plan = self.plan;
        let Some(check) = &plan.check else {
            return Ok(());
        };
        let open: Vec<(Case, LoraTest)> = cases
            .iter()
            .filter_map(|&case| {
                let (target, test) = (&plan.targets[case.target], &plan.tests[case.test].0);
                let known = self.result.training_of(&target.id, test);
                let open = known.is_none_or(|known| known.verdict == Verdict::Unchecked);
                Some((
                    case,
                    *test.as_lora().filter(|_| open && target.worker.is_ok())?,
                ))
            })
            .collect();
        let yardsticks = self.train_reference(check, &open)?;
        for (case, test) in open {
            if self.interrupt.is_set() {
                return Err(Stop::Interrupted);
            }
            let id = &plan.targets[case.target].id;
            let key = (id.placement.precision.scheme(), case.test);
            let found = match &yardsticks[&key] {
                _ if *id == check.reference.id => {
                    Some(Judgement::without_figures(Verdict::Reference, None))
                }
                Err(reason) => Some(unchecked(reason.clone())),
                Ok(reference) => {
                    let what = format!("{}: comparing the first steps", case.name(plan));
                    (self.observe)(Event::Asking(&what));
                    self.judge_training(case, &test, reference)?
                }
            };
            if let Some(found) = found {
                self.record(Record::Training(TrainingCheck {
                    target: id.clone(),
                    test: test.into(),
                    verdict: found.verdict,
                    reason: found.reason,
                    figures: found.figures,
                }))?;
            }
        }
        Ok(())
    }

    /// What the reference makes of each test, or why it can't be had.
    fn train_reference(
        &mut self,
        check: &Check,
        open: &[(Case, LoraTest)],
    ) -> Result<Yardsticks, Stop> {
        let id = &check.reference.id;
        let mut yardsticks = BTreeMap::new();
        for scheme in [None, Some(Scheme::Q8), Some(Scheme::Q4)] {
            let of_target = |case: &Case| {
                self.plan.targets[case.target]
                    .id
                    .placement
                    .precision
                    .scheme()
            };
            let wanted: Vec<&(Case, LoraTest)> = open
                .iter()
                .filter(|(case, _)| of_target(case) == scheme)
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let mut started = said(check, self.start_reference(check, scheme).map(Ok))?;
            for (case, test) in wanted {
                let key = (scheme, case.test);
                if yardsticks.contains_key(&key) {
                    continue;
                }
                let name = self.plan.tests[case.test].0;
                let what = format!("{id} {name}: the steps that are compared");
                (self.observe)(Event::Asking(&what));
                let trained = match &mut started {
                    Ok(worker) => said(check, self.first_steps(worker, *case, test).map(Ok))?,
                    Err(reason) => Err(reason.clone()),
                };
                yardsticks.insert(key, trained);
            }
        }
        Ok(yardsticks)
    }

    fn first_steps(
        &self,
        worker: &mut Worker,
        case: Case,
        test: &LoraTest,
    ) -> Result<Trained, WorkerError> {
        let prompt = &self.plan.tests[case.test].1;
        worker.train(training(self.plan, test, prompt, STEPS, true))
    }

    /// The verdict on a target; `None` when it can't run at all: the failure is recorded then.
    fn judge_training(
        &mut self,
        case: Case,
        test: &LoraTest,
        reference: &Trained,
    ) -> Result<Option<Judgement>, Stop> {
        let plan = self.plan;
        let precision = plan.targets[case.target].id.placement.precision;
        while self.make_ready(case.target)? {
            let request = training(plan, test, &plan.tests[case.test].1, STEPS, true);
            match self.worker(case.target).train(request) {
                Ok(trained) => return Ok(Some(compare(precision, reference, &trained))),
                Err(error) => match error.kind {
                    Some(FailureKind::Failed | FailureKind::Unsupported) => {
                        return Ok(Some(unchecked(error.message)));
                    }
                    _ => {
                        self.lose(case.target, None, error)?;
                    }
                },
            }
        }
        Ok(None)
    }
}

fn unchecked(reason: String) -> Judgement {
    Judgement::without_figures(Verdict::Unchecked, reason)
}
