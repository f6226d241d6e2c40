//! The check after the timing: where the tokens of a timed test part from the reference's, the
//! reference is asked how near it was to choosing the same.

use mlxbench_analysis::partings::{self, Parted};
use mlxbench_core::logits_file::LogitsFile;
use mlxbench_core::protocol::Score;
use mlxbench_core::results::{Equivalence, Parting, Record, Verdict};
use mlxbench_core::{TokenBatch, TokenId};

use crate::event::Event;
use crate::process::WorkerError;
use crate::rounds::{Case, Runner, Stop};
use crate::scratch::scratch;

impl Runner<'_> {
    /// Compares the tokens of `cases` with those that the reference generated in the same tests,
    /// where it is one of the targets.
    pub(crate) fn check_tokens(&mut self, cases: &[Case]) -> Result<(), Stop> {
        let plan = self.plan;
        let Some(check) = &plan.check else {
            return Ok(());
        };
        let reference = &check.reference.id;
        let Some(at) = plan.targets.iter().position(|known| known.id == *reference) else {
            return Ok(());
        };
        for &case in cases {
            let (id, test) = (&plan.targets[case.target].id, &plan.tests[case.test].0);
            let found = partings::tokens(&self.result, reference, id, test);
            let Some(parted) = found.and_then(|tokens| tokens.parted) else {
                continue;
            };
            if self.interrupt.is_set() {
                return Err(Stop::Interrupted);
            }
            if self.result.parting_of(id, test).is_some() || !self.make_ready(at)? {
                continue;
            }
            let case_name = case.name(plan);
            (self.observe)(Event::Asking(&format!(
                "{case_name}: comparing where tokens part"
            )));
            match self.ask(at, case, &parted) {
                // Without the reference's logits the tokens part by a margin that isn't known.
                Ok(None) => {}
                Ok(Some(parting)) => self.judge_parting(parting)?,
                Err(error) => {
                    if error.kind.is_none() {
                        return Err(Stop::Interrupted);
                    }
                    if error.loses_worker() {
                        self.workers.remove(&at);
                    }
                }
            }
        }
        Ok(())
    }

    /// What the reference's logits say where tokens part: those after the prompt and what both
    /// generated before.
    fn ask(
        &mut self,
        reference: usize,
        case: Case,
        parted: &Parted,
    ) -> Result<Option<Parting>, WorkerError> {
        let plan = self.plan;
        let (test, prompt) = &plan.tests[case.test];
        let of_reference = &plan.targets[reference].id;
        let Some(sample) = self.result.samples_of(of_reference, test).next() else {
            return Ok(None);
        };
        let rows = prompt.prompt.rows().zip(&sample.tokens);
        let rows: Vec<Vec<TokenId>> = rows
            .map(|(prompt, generated)| [prompt, &generated[..parted.position]].concat())
            .collect();
        let (Ok(tokens), Ok(folder)) = (TokenBatch::new(&rows), scratch()) else {
            return Ok(None);
        };
        let logits = folder.path().join("logits.safetensors");
        self.worker(reference).score(Score {
            context: prompt.context.clone(),
            prompt: tokens.len(),
            tokens,
            chunk: plan.settings.chunk,
            mode: test.mode(),
            logits: logits.clone(),
        })?;
        let file = LogitsFile::open(&logits).ok();
        let row = file.and_then(|file| file.rows().nth(parted.row));
        let id = &plan.targets[case.target].id;
        Ok(row.and_then(|logits| partings::parting(id, test, parted, &logits)))
    }

    /// Keeps `parting`, and takes back the verdict on its target where rounding doesn't explain it.
    fn judge_parting(&mut self, parting: Parting) -> Result<(), Stop> {
        let Some(check) = &self.plan.check else {
            return Ok(());
        };
        let other = partings::is_other_work(&check.reference.id, &parting);
        let known = self.result.equivalence_of(&parting.target).cloned();
        let at = &parting.divergence;
        let reason = format!(
            "the timed tokens of {} part at position {} with a margin of {:.2}: KL is {:.1e} at least",
            parting.test, at.position, at.margin, parting.least_kl
        );
        let different = Equivalence {
            target: parting.target.clone(),
            verdict: Verdict::Different,
            reason: Some(reason),
            fidelity: known.as_ref().and_then(|known| known.fidelity.clone()),
        };
        self.record(Record::Parting(parting))?;
        if other && known.is_none_or(|known| known.verdict != Verdict::Different) {
            self.record(Record::Equivalence(different))?;
        }
        Ok(())
    }
}
