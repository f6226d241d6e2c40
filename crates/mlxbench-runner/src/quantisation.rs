//! What quantised weights cost, once a scheme: the reference scores a text with the weights as they are and
//! with those that the scheme's codes stand for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mlxbench_analysis::quantisation::Tally;
use mlxbench_core::Scheme;
use mlxbench_core::logits_file::LogitsFile;
use mlxbench_core::protocol::Score;
use mlxbench_core::results::{CostFigures, QuantisationCost, Record};
use tempfile::TempDir;

use crate::equivalence::said;
use crate::event::Event;
use crate::plan::{Check, Passages};
use crate::process::{Worker, WorkerError};
use crate::rounds::{Runner, Stop};
use crate::scratch::scratch;

impl Runner<'_> {
    /// Which of `schemes` still need figures of what they cost. Where there can't be any, that is recorded.
    pub(crate) fn without_cost(
        &mut self,
        check: &Check,
        schemes: impl Iterator<Item = Scheme>,
    ) -> Result<BTreeSet<Scheme>, Stop> {
        let known = |scheme: &Scheme| {
            let mut costs = self.result.quantisation_costs.iter();
            costs.any(|cost| cost.scheme == *scheme && cost.figures.is_some())
        };
        let uncosted: BTreeSet<Scheme> = schemes.filter(|scheme| !known(scheme)).collect();
        let Err(reason) = &check.passages else {
            return Ok(uncosted);
        };
        for scheme in uncosted {
            self.record_cost(scheme, Err(reason.clone()), None)?;
        }
        Ok(BTreeSet::new())
    }

    /// Has the reference, which was given the weights of `scheme`'s codes or its own, score the passages, and
    /// ends it. What it gives with its own goes to `full`.
    pub(crate) fn measure_cost(
        &mut self,
        check: &Check,
        scheme: Option<Scheme>,
        reference: Result<Worker, String>,
        full: &mut Result<Full, String>,
    ) -> Result<(), Stop> {
        let Ok(passages) = &check.passages else {
            return Ok(());
        };
        let weights = scheme.map_or(String::new(), |scheme| format!(" in {}", scheme.name()));
        let (id, text) = (&check.reference.id, &passages.text);
        (self.observe)(Event::Checking(&format!("{id}{weights}, over {text}")));
        let chunk = self.plan.settings.chunk;
        let Some(scheme) = scheme else {
            *full = match reference {
                Ok(mut worker) => said(check, Full::measure(&mut worker, check, passages, chunk))?,
                Err(reason) => Err(reason),
            };
            return Ok(());
        };
        let figures = match (reference, &*full) {
            (Ok(mut worker), Ok(full)) => {
                said(check, full.compare(&mut worker, check, passages, chunk))?
            }
            (Err(reason), _) => Err(reason),
            (_, Err(reason)) => Err(reason.clone()),
        };
        self.record_cost(scheme, figures, passages.note.clone())
    }

    fn record_cost(
        &mut self,
        scheme: Scheme,
        figures: Result<CostFigures, String>,
        note: Option<String>,
    ) -> Result<(), Stop> {
        let (figures, reason) = match figures {
            Ok(figures) => (Some(figures), note),
            Err(reason) => (None, Some(reason)),
        };
        let cost = QuantisationCost {
            scheme,
            figures,
            reason,
        };
        Ok(self.record(Record::QuantisationCost(cost))?)
    }
}

/// The reference's logits over the passages, with the weights as they are.
pub(crate) struct Full {
    folder: TempDir,
}

impl Full {
    fn file(&self, batch: usize) -> PathBuf {
        self.folder.path().join(format!("{batch}.safetensors"))
    }

    /// Has the reference score the passages. The inner error is one of files.
    pub(crate) fn measure(
        worker: &mut Worker,
        check: &Check,
        passages: &Passages,
        chunk: usize,
    ) -> Result<Result<Self, String>, WorkerError> {
        let full = match scratch() {
            Ok(folder) => Self { folder },
            Err(error) => return Ok(Err(format!("no temporary folder: {error}"))),
        };
        for batch in 0..passages.batches.len() {
            worker.score(request(check, passages, batch, chunk, full.file(batch)))?;
        }
        Ok(Ok(full))
    }

    /// Has the reference, which was given dequantised weights, score the same, and compares. The inner error
    /// is one of files or logits.
    pub(crate) fn compare(
        &self,
        worker: &mut Worker,
        check: &Check,
        passages: &Passages,
        chunk: usize,
    ) -> Result<Result<CostFigures, String>, WorkerError> {
        let path = self.folder.path().join("dequantised.safetensors");
        let mut tally = Tally::default();
        for batch in 0..passages.batches.len() {
            worker.score(request(check, passages, batch, chunk, path.clone()))?;
            if let Err(message) = self.tally(passages, batch, &path, &mut tally) {
                return Ok(Err(message));
            }
        }
        let figures = tally.figures(&passages.text);
        Ok(figures.ok_or_else(|| "no position was compared".to_owned()))
    }

    /// Adds the positions of a batch but for each passage's last, after which no token is known.
    fn tally(
        &self,
        passages: &Passages,
        batch: usize,
        dequantised: &Path,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let open = |path| LogitsFile::open(path).map_err(|error| error.to_string());
        let (full, quantised) = (open(&self.file(batch))?, open(dequantised)?);
        let tokens = &passages.batches[batch];
        let rows: Vec<_> = tokens.rows().collect();
        let positions = tokens.len() - passages.context;
        let all = positions * rows.len();
        if [&full, &quantised].map(LogitsFile::positions) != [all + rows.len(); 2] {
            return Err("the reference gave another number of logits".into());
        }
        let pairs = full.rows().zip(quantised.rows()).take(all).enumerate();
        for (index, (full, quantised)) in pairs {
            let (position, row) = (index / rows.len(), index % rows.len());
            tally.add(&full, &quantised, rows[row][passages.context + position])?;
        }
        let whole = full.whole().and_then(|()| quantised.whole());
        whole.map_err(|error| error.to_string())
    }
}

fn request(
    check: &Check,
    passages: &Passages,
    batch: usize,
    chunk: usize,
    logits: PathBuf,
) -> Score {
    Score {
        context: None,
        tokens: passages.batches[batch].clone(),
        prompt: passages.context,
        chunk,
        mode: check.mode,
        logits,
    }
}
