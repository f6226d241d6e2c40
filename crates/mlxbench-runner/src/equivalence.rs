//! The check before any timing: every target is given the text that the reference generated, and its
//! logits are compared with the reference's. A target with quantised weights is held against the reference
//! with the weights that its codes stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mlxbench_analysis::equivalence::{fidelity, verdict};
use mlxbench_core::gemma::Activations;
use mlxbench_core::logits_file::LogitsFile;
use mlxbench_core::protocol::{Generate, Score};
use mlxbench_core::results::{Equivalence, Fidelity, Record, TargetId, Verdict};
use mlxbench_core::{Scheme, TokenBatch, TokenId};
use tempfile::TempDir;

use crate::event::Event;
use crate::plan::{Check, Target};
use crate::process::{Worker, WorkerError};
use crate::rounds::{Runner, Stop};
use crate::scratch::scratch;

/// The text and the reference's logits over it.
struct Yardstick {
    /// The prompt and what the reference generated from it, but for the last token; row by row.
    tokens: TokenBatch,
    logits: PathBuf,
    folder: TempDir,
}

/// Why a target has no verdict from figures.
enum Unmeasured {
    /// The target can't be compared; it is timed all the same.
    Unchecked(String),
    /// Its worker is of no use any more.
    Worker(WorkerError),
}

impl Runner<'_> {
    /// Compares `targets` with the reference, but for those that a resumed run has compared.
    pub(crate) fn check_equivalence(&mut self, targets: &BTreeSet<usize>) -> Result<(), Stop> {
        let plan = self.plan;
        let Some(check) = &plan.check else {
            return self.check_servers(targets);
        };
        let open: Vec<usize> = targets
            .iter()
            .copied()
            .filter(|&target| {
                let id = &plan.targets[target].id;
                let known = self.result.equivalence_of(id);
                plan.targets[target].worker.is_ok()
                    && known.is_none_or(|known| known.verdict == Verdict::Unchecked)
            })
            .collect();
        let precision = |target: &usize| plan.targets[*target].id.placement.precision;
        let scheme_of = |target: &usize| precision(target).scheme();
        let usable = targets
            .iter()
            .filter(|target| plan.targets[**target].worker.is_ok());
        let uncosted = self.without_cost(check, usable.map(precision))?;
        let mut full = Err("no target's weights are quantised".to_owned());
        let mut yardsticks = BTreeMap::new();
        // The reference has the machine to itself: no target is loaded yet.
        for scheme in [None, Some(Scheme::Q8), Some(Scheme::Q4)] {
            let wanted = open.iter().any(|target| scheme_of(target) == scheme);
            let costs = match scheme {
                None => !uncosted.is_empty(),
                Some(scheme) => uncosted.contains(&scheme),
            };
            if !wanted && !costs {
                continue;
            }
            if wanted {
                let id = &check.reference.id;
                (self.observe)(Event::Asking(&format!("{id}: generating what is compared")));
            }
            let mut reference = said(
                &check.reference.id,
                self.start_reference(&check.reference, scheme).map(Ok),
            )?;
            if wanted {
                let yardstick = match &mut reference {
                    Ok(worker) => said(&check.reference.id, self.measure_reference(worker, check))?,
                    Err(reason) => Err(reason.clone()),
                };
                yardsticks.insert(scheme, yardstick);
            }
            if costs {
                self.measure_cost(check, scheme, reference, &mut full)?;
            }
        }
        // Its logits over the text are gigabytes.
        drop(full);
        let is_reference = |target: &usize| plan.targets[*target].id == check.reference.id;
        let of = open.iter().filter(|target| !is_reference(target)).count();
        let mut at = 0;
        for target in open {
            let id = &plan.targets[target].id;
            if !is_reference(&target) {
                at += 1;
                let target = &id.to_string();
                (self.observe)(Event::Checking { target, at, of });
            }
            let found = match &yardsticks[&scheme_of(&target)] {
                _ if is_reference(&target) => Some(equivalence(id, Verdict::Reference)),
                Ok(yardstick) => self.judge_generation(target, yardstick, check)?,
                Err(reason) => Some(unchecked(id, reason.clone())),
            };
            if let Some(found) = found {
                self.record(Record::Equivalence(found))?;
            }
        }
        Ok(())
    }

    /// What a target's products do to activations, as its worker said when it loaded.
    pub(crate) fn activations(&self, id: &TargetId) -> Activations {
        let mut known = self.result.targets.iter();
        let storage = known.find(|facts| facts.id == *id);
        let storage = storage.and_then(|facts| facts.storage.as_ref());
        storage.map_or(Activations::Kept, |storage| storage.activations)
    }

    /// The verdict on a target; `None` when it can't run at all: the failure is recorded then.
    fn judge_generation(
        &mut self,
        target: usize,
        yardstick: &Yardstick,
        check: &Check,
    ) -> Result<Option<Equivalence>, Stop> {
        let id = &self.plan.targets[target].id;
        let chunk = self.plan.settings.chunk;
        while self.make_ready(target)? {
            let activations = self.activations(id);
            match compare(
                id,
                activations,
                self.worker(target),
                yardstick,
                check,
                chunk,
            ) {
                Ok(found) => return Ok(Some(found)),
                Err(Unmeasured::Unchecked(reason)) => return Ok(Some(unchecked(id, reason))),
                Err(Unmeasured::Worker(error)) => {
                    self.lose(target, None, error)?;
                }
            }
        }
        Ok(None)
    }

    /// The reference in a process of its own, given the weights that a scheme's codes stand for where targets
    /// are quantised by it.
    pub(crate) fn start_reference(
        &self,
        reference: &Target,
        scheme: Option<Scheme>,
    ) -> Result<Worker, WorkerError> {
        let introduced = reference.worker.as_ref();
        let introduced =
            introduced.map_err(|(kind, message)| WorkerError::new(*kind, message.clone()))?;
        let (worker, _) = self.start(introduced, &reference.id, scheme)?;
        Ok(worker)
    }

    /// Has the reference generate. The inner error is one of files.
    fn measure_reference(
        &self,
        worker: &mut Worker,
        check: &Check,
    ) -> Result<Result<Yardstick, String>, WorkerError> {
        let folder = match scratch() {
            Ok(folder) => folder,
            Err(error) => return Ok(Err(format!("no temporary folder: {error}"))),
        };
        let logits = folder.path().join("reference.safetensors");
        let request = Generate {
            context: check.prompt.context.clone(),
            prompt: check.prompt.prompt.clone(),
            new_tokens: check.positions,
            chunk: self.plan.settings.chunk,
            mode: check.mode,
            stop: Vec::new(),
            logits: Some(logits.clone()),
        };
        let generated = worker.generate(request, self.plan.vocab_size())?;
        let rows = check.prompt.prompt.rows().zip(&generated.tokens);
        let rows: Vec<Vec<TokenId>> = rows
            .map(|(prompt, generated)| [prompt, &generated[..generated.len() - 1]].concat())
            .collect();
        let tokens = TokenBatch::new(&rows).expect("as many tokens a row as were asked for");
        Ok(Ok(Yardstick {
            tokens,
            logits,
            folder,
        }))
    }
}

/// What the reference was asked for, or why it isn't there. An interrupted run ends.
pub(crate) fn said<T>(
    reference: &TargetId,
    asked: Result<Result<T, String>, WorkerError>,
) -> Result<Result<T, String>, Stop> {
    match asked {
        Ok(found) => Ok(found),
        Err(WorkerError { kind: None, .. }) => Err(Stop::Interrupted),
        Err(error) => Ok(Err(format!(
            "the reference {reference} can't be had: {error}"
        ))),
    }
}

/// Has the worker of `id` score the reference's text, and compares.
fn compare(
    id: &TargetId,
    activations: Activations,
    worker: &mut Worker,
    yardstick: &Yardstick,
    check: &Check,
    chunk: usize,
) -> Result<Equivalence, Unmeasured> {
    let path = yardstick.folder.path().join("target.safetensors");
    let mut score = |rows: usize| {
        let first_rows = |tokens: &TokenBatch| tokens.first_rows(rows);
        worker.score(Score {
            context: check.prompt.context.as_ref().map(first_rows),
            tokens: first_rows(&yardstick.tokens),
            prompt: check.prompt.prompt.len(),
            chunk,
            mode: check.mode,
            logits: path.clone(),
        })
    };
    let all = yardstick.tokens.batch();
    let scored = match score(all) {
        // A worker that takes a single row is compared in one.
        Err(error) if !error.loses_worker() => score(1).map(|()| (1, Some(error.message))),
        scored => scored.map(|()| (all, None)),
    };
    let (rows, why_fewer) = scored.map_err(|error| match !error.loses_worker() {
        true => Unmeasured::Unchecked(error.message),
        false => Unmeasured::Worker(error),
    })?;
    let positions = yardstick.tokens.len() + 1 - check.prompt.prompt.len();
    let fidelity = fidelity_of(&yardstick.logits, &path, (all, rows), positions);
    let fidelity = fidelity.map_err(Unmeasured::Unchecked)?;
    let of_reference = check.reference.id.placement.precision;
    let fewer = why_fewer.map(|why| format!("compared in one row: {why}"));
    Ok(match fidelity {
        Some(fidelity) => {
            let precision = id.placement.precision;
            let verdict = verdict(of_reference, precision, activations, &fidelity);
            Equivalence {
                reason: fewer,
                fidelity: Some(fidelity),
                ..equivalence(id, verdict)
            }
        }
        None => Equivalence {
            reason: Some("logits aren't finite".into()),
            ..equivalence(id, Verdict::Different)
        },
    })
}

/// How near the logits in a target's file are to those in the reference's, at so many `positions` of each row. The
/// reference has `all` rows, and the target the first `rows` of them. `None` where the target's aren't finite.
///
/// # Errors
/// Why they can't be compared, in words.
pub(crate) fn fidelity_of(
    reference: &Path,
    target: &Path,
    (all, rows): (usize, usize),
    positions: usize,
) -> Result<Option<Fidelity>, String> {
    let open = |path| LogitsFile::open(path).map_err(|error| error.to_string());
    let (reference, target) = (open(reference)?, open(target)?);
    let shape = |file: &LogitsFile| (file.positions(), file.vocab_size());
    let (of_reference, vocab_size) = shape(&reference);
    if of_reference != all * positions {
        return Err(format!(
            "the reference gave {of_reference} rows of logits, not {}",
            all * positions
        ));
    }
    let expected = (rows * positions, vocab_size);
    if shape(&target) != expected {
        return Err(format!(
            "the worker gave logits of shape {:?}, not {expected:?}",
            shape(&target)
        ));
    }
    // What it computes is no yardstick for others; what is finite may be the mend of it.
    let finite = |row: Vec<f32>| row.iter().all(|logit| logit.is_finite());
    if !reference.rows().all(finite) {
        return Err("the reference's logits aren't finite".into());
    }
    let compared = reference.rows().enumerate();
    let compared = compared.filter(|(index, _)| index % all < rows);
    let fidelity = fidelity(rows, compared.map(|(_, logits)| logits), target.rows());
    let whole = reference.whole().and_then(|()| target.whole());
    whole.map_err(|error| error.to_string())?;
    Ok(fidelity)
}

pub(crate) fn equivalence(id: &TargetId, verdict: Verdict) -> Equivalence {
    Equivalence {
        target: id.clone(),
        verdict,
        reason: None,
        fidelity: None,
    }
}

pub(crate) fn unchecked(id: &TargetId, reason: String) -> Equivalence {
    Equivalence {
        reason: Some(reason),
        ..equivalence(id, Verdict::Unchecked)
    }
}
