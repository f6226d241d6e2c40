//! Training with its clock: step after step, the loss of each read before the next one is handed over.

use crate::backend::Model;
use crate::clock::Clock;
use crate::protocol::{Train, Trained};
use crate::{Error, Result};

/// Takes the steps of `request` on fresh adapters.
///
/// # Errors
/// When nothing is to be learnt, the model can't train, or the framework fails.
pub fn train<M: Model>(model: &mut M, clock: &impl Clock, request: &Train) -> Result<Trained> {
    if request.batches.is_empty() {
        return Err(Error::Invalid(
            "a training without a step: give at least one batch".into(),
        ));
    }
    let finite = |number: f32| number.is_finite().then_some(number);
    let mut trained = Trained {
        step_ns: Vec::new(),
        losses: Vec::new(),
        gradient_norms: Vec::new(),
        device_peak_bytes: None,
    };
    let mut trainer = model.trainer(&request.lora)?;
    let start = clock.now();
    for batch in &request.batches {
        trainer.step(batch)?;
        trained.losses.push(finite(trainer.loss()?));
        trained.step_ns.push(clock.now().since(start));
        if request.gradients {
            let norms = trainer.gradient_norms()?.into_iter();
            trained.gradient_norms.push(norms.map(finite).collect());
        }
    }
    trained.device_peak_bytes = trainer.device_peak_bytes();
    Ok(trained)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use crate::lora::{Lora, adapters};
    use crate::mock::{MockModel, Script};
    use crate::{Nanos, TokenBatch};

    fn trained(gradients: bool, steps: usize) -> Result<Trained> {
        let clock = VirtualClock::default();
        let script = Script {
            prefill_ns_per_token: 10,
            ..Script::default()
        };
        let mut model = MockModel::new(script, clock.clone());
        let request = Train {
            lora: Lora::default(),
            batches: vec![TokenBatch::new(&[vec![2, 5, 6], vec![2, 7, 8]]).unwrap(); steps],
            gradients,
        };
        train(&mut model, &clock, &request)
    }

    #[test]
    fn each_step_has_its_time_and_its_loss() {
        let trained = trained(false, 3).unwrap();
        let [first, second, third] = trained.step_ns[..] else {
            panic!("{trained:?}")
        };
        assert!(first > Nanos(0));
        // Equal work takes equal time, all of it in the step's own.
        assert_eq!(second.0 - first.0, third.0 - second.0);
        assert!(trained.losses.is_sorted_by(|a, b| a > b));
        assert!(trained.gradient_norms.is_empty());
    }

    #[test]
    fn gradients_come_where_they_are_asked_for() {
        let trained = trained(true, 2).unwrap();
        let config = crate::gemma::preset("gemma-3-270m").unwrap().config();
        let each = 2 * adapters(&Lora::default(), &config).len();
        let counts: Vec<usize> = trained.gradient_norms.iter().map(Vec::len).collect();
        assert_eq!(counts, [each, each]);
    }

    #[test]
    fn nothing_to_learn_from_is_refused() {
        assert!(
            trained(false, 0)
                .unwrap_err()
                .to_string()
                .contains("at least one batch")
        );
    }
}
