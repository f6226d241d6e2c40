//! The check before any timing: every target is given the text that the reference generated, and its
//! logits are compared with the reference's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mlxbench_analysis::equivalence::{fidelity, verdict};
use mlxbench_core::generate::Mode;
use mlxbench_core::logits_file::LogitsFile;
use mlxbench_core::protocol::{Generate, Score};
use mlxbench_core::results::{Equivalence, FailureKind, Record, TargetId, Verdict};
use mlxbench_core::{TokenBatch, TokenId};
use tempfile::TempDir;

use crate::event::Event;
use crate::plan::Check;
use crate::process::{Worker, WorkerError};
use crate::rounds::{Runner, Stop};

/// The text and the reference's logits over it.
struct Yardstick {
    /// The prompt and what the reference generated from it, but for the last token.
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
            return Ok(());
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
        if open.is_empty() {
            return Ok(());
        }
        let yardstick = match self.measure_reference(check) {
            Ok(yardstick) => yardstick,
            Err(WorkerError { kind: None, .. }) => return Err(Stop::Interrupted),
            Err(error) => Err(format!(
                "the reference {} can't be had: {error}",
                check.reference.id
            )),
        };
        for target in open {
            let id = &plan.targets[target].id;
            (self.observe)(Event::Checking(&id.to_string()));
            let found = match &yardstick {
                _ if *id == check.reference.id => Some(equivalence(id, Verdict::Reference)),
                Ok(yardstick) => self.judge(target, yardstick, check)?,
                Err(reason) => Some(unchecked(id, reason.clone())),
            };
            if let Some(found) = found {
                self.record(Record::Equivalence(found))?;
            }
        }
        Ok(())
    }

    /// The verdict on a target; `None` when it can't run at all: the failure is recorded then.
    fn judge(
        &mut self,
        target: usize,
        yardstick: &Yardstick,
        check: &Check,
    ) -> Result<Option<Equivalence>, Stop> {
        let id = &self.plan.targets[target].id;
        let chunk = self.plan.settings.chunk;
        while self.make_ready(target)? {
            match compare(id, self.worker(target), yardstick, check, chunk) {
                Ok(found) => return Ok(Some(found)),
                Err(Unmeasured::Unchecked(reason)) => return Ok(Some(unchecked(id, reason))),
                Err(Unmeasured::Worker(error)) => {
                    self.lose(target, None, error)?;
                }
            }
        }
        Ok(None)
    }

    /// Has the reference generate, in a process that ends with this. The inner error is one of
    /// files.
    fn measure_reference(
        &mut self,
        check: &Check,
    ) -> Result<Result<Yardstick, String>, WorkerError> {
        let id = &check.reference.id;
        (self.observe)(Event::Checking(&id.to_string()));
        let introduced = check.reference.worker.as_ref();
        let introduced = introduced.map_err(|(kind, message)| WorkerError {
            kind: Some(*kind),
            message: message.clone(),
        })?;
        let folder = match TempDir::with_prefix("mlxbench-equivalence-") {
            Ok(folder) => folder,
            Err(error) => return Ok(Err(format!("no temporary folder: {error}"))),
        };
        let logits = folder.path().join("reference.safetensors");
        let request = Generate {
            context: None,
            prompt: check.prompt.clone(),
            new_tokens: check.positions,
            chunk: self.plan.settings.chunk,
            mode: Mode::Synchronous,
            stop: Vec::new(),
            logits: Some(logits.clone()),
        };
        let (mut worker, _) = self.start(introduced, id)?;
        let generated = worker.generate(request)?;
        let generated = generated.tokens.concat();
        let prompt = check.prompt.ids().iter();
        let tokens: Vec<TokenId> = prompt
            .chain(&generated[..generated.len() - 1])
            .copied()
            .collect();
        Ok(Ok(Yardstick {
            tokens: TokenBatch::row(tokens),
            logits,
            folder,
        }))
    }
}

/// Has the worker of `id` score the reference's text, and compares.
fn compare(
    id: &TargetId,
    worker: &mut Worker,
    yardstick: &Yardstick,
    check: &Check,
    chunk: usize,
) -> Result<Equivalence, Unmeasured> {
    let path = yardstick.folder.path().join("target.safetensors");
    let scored = worker.score(Score {
        tokens: yardstick.tokens.clone(),
        prompt: check.prompt.len(),
        chunk,
        logits: path.clone(),
    });
    scored.map_err(|error| match error.kind {
        Some(FailureKind::Failed | FailureKind::Unsupported) => {
            Unmeasured::Unchecked(error.message)
        }
        _ => Unmeasured::Worker(error),
    })?;
    let open = |path: &Path| LogitsFile::open(path);
    let files = open(&yardstick.logits).and_then(|reference| Ok((reference, open(&path)?)));
    let (reference, target) = files.map_err(|error| Unmeasured::Unchecked(error.to_string()))?;
    let shape = |file: &LogitsFile| (file.positions(), file.vocab_size());
    if shape(&reference) != shape(&target) {
        return Err(Unmeasured::Unchecked(format!(
            "the worker gave logits of shape {:?}, the reference {:?}",
            shape(&target),
            shape(&reference)
        )));
    }
    let positions = yardstick.tokens.len() + 1 - check.prompt.len();
    if reference.positions() != positions {
        return Err(Unmeasured::Unchecked(format!(
            "the reference gave logits of {} positions, not of {positions}",
            reference.positions()
        )));
    }
    // What it computes is no yardstick for others; what is finite may be the mend of it.
    let finite = |row: Vec<f32>| row.iter().all(|logit| logit.is_finite());
    if !reference.rows().all(finite) {
        return Err(Unmeasured::Unchecked(
            "the reference's logits aren't finite".into(),
        ));
    }
    let of_reference = check.reference.id.placement.dtype;
    Ok(match fidelity(reference.rows(), target.rows()) {
        Some(fidelity) => Equivalence {
            fidelity: Some(fidelity.clone()),
            ..equivalence(id, verdict(of_reference, id.placement.dtype, &fidelity))
        },
        None => Equivalence {
            reason: Some("logits aren't finite".into()),
            ..equivalence(id, Verdict::Different)
        },
    })
}

fn equivalence(id: &TargetId, verdict: Verdict) -> Equivalence {
    Equivalence {
        target: id.clone(),
        verdict,
        reason: None,
        fidelity: None,
    }
}

fn unchecked(id: &TargetId, reason: String) -> Equivalence {
    Equivalence {
        reason: Some(reason),
        ..equivalence(id, Verdict::Unchecked)
    }
}
