//! What quantised weights cost, once a scheme: the reference scores a text with the weights as they are and
//! with those that the scheme's codes stand for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mlxbench_analysis::quantisation::Tally;
use mlxbench_core::logits_file::LogitsFile;
use mlxbench_core::protocol::Score;
use mlxbench_core::results::{CostFigures, QuantisationCost, Record};
use mlxbench_core::{Precision, Scheme, WeightFormat};
use tempfile::TempDir;

use crate::equivalence::said;
use crate::event::Event;
use crate::plan::{Check, Passages};
use crate::process::{Worker, WorkerError};
use crate::rounds::{Runner, Stop};
use crate::scratch::scratch;

impl Runner<'_> {
    /// Which schemes of `precisions` still need figures of what they cost. Where there can't be any, that is
    /// recorded.
    pub(crate) fn without_cost(
        &mut self,
        check: &Check,
        precisions: impl Iterator<Item = Precision>,
    ) -> Result<BTreeSet<Scheme>, Stop> {
        let known = |weights: &WeightFormat| {
            let mut costs = self.result.quantisation_costs.iter();
            costs.any(|cost| cost.weights == *weights && cost.figures.is_some())
        };
        let quantised = precisions.filter(|precision| precision.is_quantised());
        let weights = quantised.map(Precision::weights);
        let uncosted: BTreeSet<WeightFormat> = weights.filter(|weights| !known(weights)).collect();
        let mut schemes = BTreeSet::new();
        for weights in uncosted {
            match (weights, &check.passages) {
                (WeightFormat::Quantised(scheme), Ok(_)) => {
                    schemes.insert(scheme);
                }
                (WeightFormat::Native, _) => {
                    let reason = "the weights from before quantising aren't here";
                    self.record_cost(weights, Err(reason.into()), None)?;
                }
                (_, Err(reason)) => self.record_cost(weights, Err(reason.clone()), None)?,
                (WeightFormat::Plain(_), Ok(_)) => {}
            }
        }
        Ok(schemes)
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
        let asked = format!("{id}{weights}: scoring {text}");
        (self.observe)(Event::Asking(&asked));
        let chunk = self.plan.settings.chunk;
        let Some(scheme) = scheme else {
            *full = match reference {
                Ok(mut worker) => said(
                    &check.reference.id,
                    Full::measure(&mut worker, check, passages, chunk),
                )?,
                Err(reason) => Err(reason),
            };
            return Ok(());
        };
        let figures = match (reference, &*full) {
            (Ok(mut worker), Ok(full)) => said(
                &check.reference.id,
                full.compare(&mut worker, check, passages, chunk),
            )?,
            (Err(reason), _) => Err(reason),
            (_, Err(reason)) => Err(reason.clone()),
        };
        self.record_cost(
            WeightFormat::Quantised(scheme),
            figures,
            passages.note.clone(),
        )
    }

    fn record_cost(
        &mut self,
        weights: WeightFormat,
        figures: Result<CostFigures, String>,
        note: Option<String>,
    ) -> Result<(), Stop> {
        let (figures, reason) = match figures {
            Ok(figures) => (Some(figures), note),
            Err(reason) => (None, Some(reason)),
        };
        let cost = QuantisationCost {
            weights,
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

#[cfg(test)]
mod tests {
    use mlxbench_core::TokenBatch;
    use mlxbench_core::logits_file::LogitsWriter;

    use super::*;

    /// Writes logits for each position of both rows: of `next(position, row)` e times ten to one.
    fn write(path: &Path, next: impl Fn(usize, usize) -> u32) {
        let mut file = LogitsWriter::create(path, 8).unwrap();
        for position in 0..4 {
            for row in 0..2 {
                let mut logits = [0.0; 8];
                logits[next(position, row) as usize] = 10.0;
                file.push(&logits).unwrap();
            }
        }
        file.finish().unwrap();
    }

    #[test]
    fn each_position_is_held_against_the_token_that_follows_in_its_row() {
        let rows = [vec![2, 1, 3, 5, 7], vec![2, 6, 4, 1, 0]];
        let passages = Passages {
            text: "x".into(),
            batches: vec![TokenBatch::new(&rows).unwrap()],
            context: 2,
            note: None,
        };
        let full = Full {
            folder: scratch().unwrap(),
        };
        // After two tokens comes the third; what follows the last isn't known.
        let following = |position: usize, row: usize| *rows[row].get(2 + position).unwrap_or(&0);
        write(&full.file(0), following);
        let dequantised = full.folder.path().join("dequantised");
        write(&dequantised, |position, row| match (position, row) {
            (1, 1) => 7,
            _ => following(position, row),
        });
        let mut tally = Tally::default();
        full.tally(&passages, 0, &dequantised, &mut tally).unwrap();
        let figures = tally.figures("x").unwrap();
        assert_eq!((figures.positions, figures.same_top_positions), (6, 5));
        // ln(1 + 7 e^-10) is 3e-4: every token was foreseen by one model, all but one by the other.
        assert!(figures.full_perplexity.value < 1.001, "{figures:?}");
        let expected = (10.0_f64 / 6.0).exp();
        let off = figures.perplexity.value / expected - 1.0;
        assert!(off.abs() < 1e-3, "{figures:?}");
    }

    #[test]
    fn logits_of_another_number_are_refused() {
        let full = Full {
            folder: scratch().unwrap(),
        };
        let passages = Passages {
            text: "x".into(),
            batches: vec![TokenBatch::new(&[vec![2, 1, 3], vec![2, 6, 4]]).unwrap()],
            context: 1,
            note: None,
        };
        write(&full.file(0), |_, _| 1);
        let message = full.tally(&passages, 0, &full.file(0), &mut Tally::default());
        assert!(message.unwrap_err().contains("another number of logits"));
    }
}
