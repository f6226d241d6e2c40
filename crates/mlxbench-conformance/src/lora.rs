//! LoRA steps against those of PyTorch's autograd through Hugging Face transformers, which `scripts/oracles/lora.py`
//! wrote: the losses of some steps, and the norm of every gradient in each.

use serde::Deserialize;

use mlxbench_core::backend::{Backend, Model};
use mlxbench_core::lora::{Lora, Trainer, adapters};
use mlxbench_core::{Device, Dtype, Error, Placement, Precision, Result, Scheme, TokenBatch};

use crate::Golden;
use crate::golden::{apart, rotated};

/// The reference's steps in one case.
#[derive(Debug, Deserialize)]
struct Case {
    lora: Lora,
    rows: TokenBatch,
    /// One a step.
    losses: Vec<f32>,
    /// For each step those of [`Trainer::gradient_norms`].
    norms: Vec<Vec<f32>>,
}

/// How far a backend's steps are from the reference's, as shares of the reference's numbers.
#[derive(Debug, Default)]
pub struct Steps {
    /// Of a loss, the largest, and where.
    pub loss: (f32, String),
    /// Of a gradient's norm, the largest, and where.
    pub norm: (f32, String),
    /// How many steps were compared.
    pub count: usize,
}

impl Steps {
    /// Fails the test that runs it when a loss or a norm differs by more than its tolerance.
    ///
    /// # Panics
    /// In this case, saying where.
    pub fn assert_within(&self, loss: f32, norm: f32) {
        for ((difference, place), tolerance) in [(&self.loss, loss), (&self.norm, norm)] {
            assert!(*difference <= tolerance, "{place}: off by {difference}");
        }
    }

    fn note(worst: &mut (f32, String), got: f32, expected: f32, place: impl FnOnce() -> String) {
        // A norm that is 0 must be 0.
        let difference = apart(got, expected) / expected.abs().max(1e-6);
        if difference > worst.0 {
            *worst = (difference, place());
        }
    }
}

impl Golden {
    /// Takes the reference's steps on `backend` at `placement`, without and with gradient checkpointing, which changes
    /// neither losses nor gradients. No step is compared where there is no reference.
    ///
    /// # Errors
    /// When the backend fails, or the file can't be read.
    pub fn compare_steps<B: Backend>(
        &self,
        backend: &mut B,
        placement: &Placement,
    ) -> Result<Steps> {
        let mut steps = Steps::default();
        let cases = self.lora_cases(placement)?;
        if cases.is_empty() {
            return Ok(steps);
        }
        let mut model = self.load(backend, placement)?;
        for mut case in cases {
            for gradient_checkpointing in [false, true] {
                case.lora.gradient_checkpointing = gradient_checkpointing;
                self.compare_case(&mut model, &case, &mut steps)?;
            }
        }
        Ok(steps)
    }

    /// The same beside q8 and q4 weights in f32 on `device`, of all goldens that have them: held to what the codes stand
    /// for, losses to 1e-4 and norms to 1e-3 of themselves.
    ///
    /// # Errors
    /// As of [`compare_steps`](Self::compare_steps).
    ///
    /// # Panics
    /// Where one is off, or a golden is missing.
    pub fn assert_quantised_steps<B: Backend>(
        mut backend: impl FnMut() -> B,
        device: &Device,
    ) -> Result<()> {
        for scheme in [Scheme::Q8, Scheme::Q4] {
            let placement = Placement {
                device: device.clone(),
                precision: Precision::quantised(scheme, Dtype::F32),
            };
            let mut count = 0;
            for golden in Self::quantised(scheme)? {
                let steps = golden.compare_steps(&mut backend(), &placement)?;
                steps.assert_within(1e-4, 1e-3);
                count += steps.count;
            }
            assert_eq!(count, 4 * 3 * 2 * 5, "a golden of {placement} is missing");
        }
        Ok(())
    }

    fn compare_case(&self, model: &mut impl Model, case: &Case, worst: &mut Steps) -> Result<()> {
        let adapters = adapters(&case.lora, &self.config);
        let mut trainer = model.trainer(&case.lora)?;
        for (step, (loss, norms)) in case.losses.iter().zip(&case.norms).enumerate() {
            trainer.step(&case.rows)?;
            let place = || {
                let (lora, rows) = (&case.lora, case.rows.batch());
                format!("{}, {lora}, {rows} rows, step {}", self.name, step + 1)
            };
            Steps::note(&mut worst.loss, trainer.loss()?, *loss, place);
            let got = trainer.gradient_norms()?;
            if (got.len(), norms.len()) != (2 * adapters.len(), 2 * adapters.len()) {
                return Err(Error::Framework(format!(
                    "{}: {} norms, not {}",
                    place(),
                    got.len(),
                    norms.len()
                )));
            }
            for (index, (&got, &expected)) in got.iter().zip(norms).enumerate() {
                Steps::note(&mut worst.norm, got, expected, || {
                    let matrix = ["A", "B"][index % 2];
                    format!("{}: {matrix} of {}", place(), adapters[index / 2].name())
                });
            }
            worst.count += 1;
        }
        Ok(())
    }

    /// Trains adapters on a model for some steps: the largest |logit difference| of the model before and after, which
    /// has to be 0. Fails where the loss doesn't fall.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn train_beside<B: Backend>(&self, backend: &mut B, placement: &Placement) -> Result<f32> {
        let mut model = self.load(backend, placement)?;
        let before = self.teacher_forced(&mut model)?.concat();
        let lora = Lora {
            rank: 2,
            learning_rate: 0.01,
            ..Lora::default()
        };
        let rows = TokenBatch::new(&[self.tokens.clone(), rotated(&self.tokens, 5)])?;
        let losses = losses(&mut *model.trainer(&lora)?, &rows, 6)?;
        let fell = losses[5] < losses[0];
        if !fell {
            return Err(Error::Framework(format!("{}: {losses:?}", self.name)));
        }
        // Fresh adapters begin anew.
        let again = self::losses(&mut *model.trainer(&lora)?, &rows, 1)?;
        let after = self.teacher_forced(&mut model)?.concat();
        let pairs = before.iter().zip(&after).chain([(&again[0], &losses[0])]);
        Ok(pairs.map(|(a, b)| apart(*a, *b)).fold(0.0, f32::max))
    }

    /// The reference's cases for weights in this precision; none where it wrote none.
    fn lora_cases(&self, placement: &Placement) -> Result<Vec<Case>> {
        let scheme = placement.precision.scheme();
        let name = scheme.map_or("lora.json".into(), |scheme| {
            format!("lora-{}.json", scheme.name())
        });
        let path = self.folder.join(name);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, error))?;
        serde_json::from_str(&text).map_err(|error| Error::model(&path, error.to_string()))
    }
}

/// The losses of `count` steps on `rows`.
fn losses(trainer: &mut dyn Trainer, rows: &TokenBatch, count: usize) -> Result<Vec<f32>> {
    let losses = (0..count).map(|_| {
        trainer.step(rows)?;
        trainer.loss()
    });
    losses.collect()
}
