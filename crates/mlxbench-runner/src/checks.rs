//! The check of conversations and trainings before they are timed: of what they compute, the generation that
//! [`crate::equivalence`] compares shows nothing. Each target does the first of a test's work, and so does the
//! reference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlxbench_analysis::equivalence::verdict;
use mlxbench_analysis::training::compare;
use mlxbench_core::Scheme;
use mlxbench_core::protocol::{Converse, Trained};
use mlxbench_core::results::{Record, TargetId, Test, TestCheck, Verdict};

use crate::equivalence::{fidelity_of, said};
use crate::event::Event;
use crate::plan::{Check, Plan};
use crate::process::{Worker, WorkerError};
use crate::rounds::{Case, Runner, Stop};
use crate::scratch::scratch;
use crate::work::{conversation, training};

/// Steps of a training that are compared: in the first the gradient of every `A` is zero, in the second it isn't, and
/// the third follows from an update that both were part of.
pub(crate) const STEPS: usize = 3;

/// What came of a test's first work.
enum Answer {
    /// A conversation's logits at each turn's start, in a file.
    Logits(PathBuf),
    /// A training's losses and gradients.
    Steps(Trained),
}

/// What the reference answers, by the test's index and by the codes that stand for its weights, or why it doesn't.
type Yardsticks = BTreeMap<(Option<Scheme>, usize), Result<Answer, String>>;

impl Runner<'_> {
    /// Compares the conversations and trainings among `cases` with the reference's, but for those that a resumed run
    /// has compared.
    pub(crate) fn check_tests(&mut self, cases: &[Case]) -> Result<(), Stop> {
        let plan = self.plan;
        let Some(check) = &plan.check else {
            return Ok(());
        };
        let open = |case: &&Case| {
            let (target, test) = (&plan.targets[case.target], &plan.tests[case.test].0);
            let known = self.result.check_of(&target.id, test);
            matches!(test, Test::Chat(_) | Test::Lora(_))
                && known.is_none_or(|known| known.verdict == Verdict::Unchecked)
                && target.worker.is_ok()
        };
        let open: Vec<Case> = cases.iter().filter(open).copied().collect();
        if open.is_empty() {
            return Ok(());
        }
        let folder = scratch().map_err(|error| format!("no temporary folder: {error}"));
        let yardsticks = self.ask_reference(check, &open, &folder)?;
        for case in open {
            if self.interrupt.is_set() {
                return Err(Stop::Interrupted);
            }
            let (id, test) = (&plan.targets[case.target].id, &plan.tests[case.test].0);
            let found = match (&yardsticks[&key(plan, case)], &folder) {
                _ if *id == check.reference.id => {
                    Some(without_figures(id, test, Verdict::Reference))
                }
                (Ok(expected), Ok(folder)) => {
                    let what = format!("{}: comparing", case.name(plan));
                    (self.observe)(Event::Asking(&what));
                    self.judge(check, case, expected, folder.path())?
                }
                (Err(reason), _) | (_, Err(reason)) => Some(unchecked(id, test, reason.clone())),
            };
            if let Some(found) = found {
                self.record(Record::Check(found))?;
            }
        }
        Ok(())
    }

    fn ask_reference(
        &mut self,
        check: &Check,
        open: &[Case],
        folder: &Result<tempfile::TempDir, String>,
    ) -> Result<Yardsticks, Stop> {
        let plan = self.plan;
        let mut yardsticks = Yardsticks::new();
        for scheme in [None, Some(Scheme::Q8), Some(Scheme::Q4)] {
            let wanted = open.iter().map(|&case| key(plan, case));
            let wanted: Vec<_> = wanted.filter(|(known, _)| *known == scheme).collect();
            if wanted.is_empty() {
                continue;
            }
            let mut started = said(
                &check.reference.id,
                self.start_reference(&check.reference, scheme).map(Ok),
            )?;
            for key in wanted {
                if yardsticks.contains_key(&key) {
                    continue;
                }
                let id = &check.reference.id;
                let what = format!("{id} {}: what is compared", plan.tests[key.1].0);
                (self.observe)(Event::Asking(&what));
                let answer = match (&mut started, folder) {
                    (Ok(worker), Ok(folder)) => {
                        let name = format!("reference-{}-{}.safetensors", yardsticks.len(), key.1);
                        let answer = ask(plan, key.1, worker, &folder.path().join(name));
                        said(&check.reference.id, answer.map(Ok))?
                    }
                    (Err(reason), _) => Err(reason.clone()),
                    (_, Err(reason)) => Err(reason.clone()),
                };
                yardsticks.insert(key, answer);
            }
        }
        Ok(yardsticks)
    }

    /// The verdict on a case; `None` when its target can't run at all: the failure is recorded then.
    fn judge(
        &mut self,
        check: &Check,
        case: Case,
        expected: &Answer,
        folder: &Path,
    ) -> Result<Option<TestCheck>, Stop> {
        let plan = self.plan;
        let (id, test) = (&plan.targets[case.target].id, &plan.tests[case.test].0);
        while self.make_ready(case.target)? {
            let path = folder.join("target.safetensors");
            match ask(plan, case.test, self.worker(case.target), &path) {
                Ok(found) => return Ok(Some(self.compared(check, id, test, expected, &found))),
                Err(error) if !error.loses_worker() => {
                    return Ok(Some(unchecked(id, test, error.message)));
                }
                Err(error) => {
                    self.lose(case.target, None, error)?;
                }
            }
        }
        Ok(None)
    }

    fn compared(
        &self,
        check: &Check,
        id: &TargetId,
        test: &Test,
        expected: &Answer,
        found: &Answer,
    ) -> TestCheck {
        let precision = id.placement.precision;
        match (expected, found) {
            (Answer::Steps(expected), Answer::Steps(found)) => {
                let reference = check.reference.id.placement.precision;
                let judged = compare([reference, precision], expected, found);
                TestCheck {
                    reason: judged.reason,
                    training: judged.figures,
                    ..without_figures(id, test, judged.verdict)
                }
            }
            (Answer::Logits(expected), Answer::Logits(found)) => {
                let turns = test.as_chat().map_or(0, |chat| chat.turns);
                match fidelity_of(expected, found, (1, 1), turns) {
                    Err(reason) => unchecked(id, test, reason),
                    Ok(None) => TestCheck {
                        reason: Some("logits aren't finite".into()),
                        ..without_figures(id, test, Verdict::Different)
                    },
                    Ok(Some(fidelity)) => {
                        let reference = check.reference.id.placement.precision;
                        let activations = self.activations(id);
                        let verdict = verdict(reference, precision, activations, &fidelity);
                        TestCheck {
                            fidelity: Some(fidelity),
                            ..without_figures(id, test, verdict)
                        }
                    }
                }
            }
            _ => unchecked(id, test, "the reference did other work".into()),
        }
    }
}

/// Which reference a case is held against.
fn key(plan: &Plan, case: Case) -> (Option<Scheme>, usize) {
    let precision = plan.targets[case.target].id.placement.precision;
    (precision.scheme(), case.test)
}

/// Has `worker` do the first of a test's work; logits go to `path`.
fn ask(plan: &Plan, at: usize, worker: &mut Worker, path: &Path) -> Result<Answer, WorkerError> {
    let (test, prompt) = &plan.tests[at];
    match test {
        Test::Lora(test) => {
            let request = training(plan, test, prompt, STEPS, true);
            worker.train(request).map(Answer::Steps)
        }
        Test::Chat(chat) => {
            let request = Converse {
                logits: Some(path.to_owned()),
                ..conversation(plan, test, chat)
            };
            worker.converse(request, plan.vocab_size())?;
            Ok(Answer::Logits(path.to_owned()))
        }
        Test::Generate(_) | Test::Serve(_) => {
            unreachable!("only conversations and trainings are open")
        }
    }
}

fn without_figures(id: &TargetId, test: &Test, verdict: Verdict) -> TestCheck {
    TestCheck {
        target: id.clone(),
        test: *test,
        verdict,
        reason: None,
        fidelity: None,
        training: None,
    }
}

fn unchecked(id: &TargetId, test: &Test, reason: String) -> TestCheck {
    TestCheck {
        reason: Some(reason),
        ..without_figures(id, test, Verdict::Unchecked)
    }
}
