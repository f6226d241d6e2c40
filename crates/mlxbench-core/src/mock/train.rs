//! Training by the mock: time passes, and the loss falls by a fixed rule.

use super::{FaultKind, MockModel};
use crate::backend::{ContextShape, Model};
use crate::lora::{Lora, Trainer, adapters, check_batch, no_step};
use crate::{Error, Nanos, Result, TokenBatch};

/// How many times a forward pass's time a step takes: the backward pass is counted as two, as the field does, and
/// gradient checkpointing as one more.
fn passes(lora: &Lora) -> u64 {
    3 + u64::from(lora.gradient_checkpointing)
}

/// Trains adapters that don't exist. The loss is that of chance before the first step, and each step takes a tenth of
/// what is left. The gradient of every `A` is 0 in the first step, and 1 / (2 steps) after; that of every `B` is
/// 1 / steps. A run counts as a generation of the script: `not-finite` makes its losses so.
#[derive(Debug)]
pub struct MockTrainer<'a> {
    model: &'a mut MockModel,
    adapters: usize,
    passes: u64,
    steps: u32,
}

impl<'a> MockTrainer<'a> {
    pub(super) fn start(model: &'a mut MockModel, lora: &Lora) -> Result<Self> {
        lora.check(&model.config)?;
        if model.script.no_training {
            return Err(Error::Unsupported("the mock was told not to train".into()));
        }
        // A generation of the script begins; the shape means nothing to it.
        model.reset(ContextShape {
            batch: 1,
            capacity: 1,
            chunk: 1,
        })?;
        Ok(Self {
            adapters: adapters(lora, &model.config).len(),
            passes: passes(lora),
            model,
            steps: 0,
        })
    }

    /// Waits for all work, and gives the number of steps that were taken.
    fn wait(&mut self) -> Result<u32> {
        if self.steps == 0 {
            return Err(no_step());
        }
        self.model.fail_as_scripted()?;
        self.model.synchronize()?;
        let read = Nanos(self.model.script.read_ns);
        self.model.clock.advance(read);
        Ok(self.steps)
    }
}

impl Trainer for MockTrainer<'_> {
    fn step(&mut self, tokens: &TokenBatch) -> Result<()> {
        check_batch(tokens, &self.model.config)?;
        let tokens = (tokens.batch() * tokens.len()) as u64;
        let forward = self.model.script.prefill_ns_per_token * tokens;
        self.model.work(self.passes * forward);
        self.steps += 1;
        Ok(())
    }

    fn loss(&mut self) -> Result<f32> {
        let steps = self.wait()?;
        let chance = (self.model.config.vocab_size as f32).ln();
        Ok(match self.model.fault() {
            Some(FaultKind::NotFinite) => f32::NAN,
            _ => chance * 0.9_f32.powi(steps as i32 - 1),
        })
    }

    fn gradient_norms(&mut self) -> Result<Vec<f32>> {
        let steps = self.wait()? as f32;
        let of_b = match self.model.script.wrong_gradients {
            true => 0.5 / steps,
            false => 1.0 / steps,
        };
        let of_a = if steps > 1.0 { 0.5 / steps } else { 0.0 };
        Ok([of_a, of_b].repeat(self.adapters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, VirtualClock};
    use crate::lora::LoraModules;
    use crate::mock::Script;

    #[test]
    fn steps_take_their_tokens_time_and_the_loss_falls() {
        let clock = VirtualClock::default();
        let script = Script {
            prefill_ns_per_token: 10,
            ..Script::default()
        };
        let mut model = MockModel::new(script, clock.clone());
        let lora = Lora {
            modules: LoraModules::QueryValue,
            layers: 2,
            ..Lora::default()
        };
        let mut trainer = model.trainer(&lora).unwrap();
        let tokens = TokenBatch::new(&[vec![2, 5, 7], vec![2, 6, 8]]).unwrap();
        assert!(trainer.loss().is_err());
        trainer.step(&tokens).unwrap();
        let first = trainer.loss().unwrap();
        assert_eq!(trainer.gradient_norms().unwrap(), [0.0, 1.0].repeat(4));
        trainer.step(&tokens).unwrap();
        assert!(trainer.loss().unwrap() < first);
        assert_eq!(trainer.gradient_norms().unwrap(), [0.25, 0.5].repeat(4));
        drop(trainer);
        assert_eq!(clock.now(), Nanos(2 * 3 * 6 * 10));
    }
}
