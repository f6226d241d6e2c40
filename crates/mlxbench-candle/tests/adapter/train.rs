//! Training of low-rank adapters.

use mlxbench_candle::CandleBackend;
use mlxbench_conformance::Golden;
use mlxbench_core::backend::Backend;
use mlxbench_core::lora::{Lora, LoraModules};
use mlxbench_core::{
    Device, Dtype, Error, Model, Placement, Precision, Result, Scheme, TokenBatch,
};

use crate::on_one_thread;

const LORA: Lora = Lora {
    rank: 2,
    layers: 2,
    modules: LoraModules::QueryValue,
    scale: 20.0,
    learning_rate: 0.01,
    weight_decay: 0.0,
    seed: 0,
    gradient_checkpointing: false,
};

fn on_the_cpu(precision: impl Into<Precision>) -> Placement {
    Placement {
        device: Device::cpu(),
        precision: precision.into(),
    }
}

#[test]
fn f32_steps_equal_those_of_pytorchs_autograd() {
    let mut count = 0;
    for golden in Golden::all().unwrap() {
        let steps = golden.compare_steps(&mut CandleBackend::default(), &on_the_cpu(Dtype::F32));
        let steps = steps.unwrap();
        steps.assert_within(1e-4, 1e-3);
        count += steps.count;
    }
    assert_eq!(count, 11 * 3 * 2 * 5, "a golden is missing");
}

#[test]
fn the_models_own_weights_stay_as_they_are() {
    for name in ["gemma1", "gemma2", "gemma3", "gemma4-e"] {
        let golden = Golden::named(name).unwrap();
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let placement = on_the_cpu(dtype);
            let moved = golden.train_beside(&mut CandleBackend::default(), &placement);
            assert_eq!(moved.unwrap(), 0.0, "{name} in {dtype}");
        }
    }
}

#[test]
fn steps_beside_quantised_weights_equal_those_beside_what_their_codes_stand_for() {
    Golden::assert_quantised_steps(on_one_thread, &Device::cpu()).unwrap();
}

#[test]
fn codes_stay_as_they_are() {
    for scheme in [Scheme::Q8, Scheme::Q4] {
        let goldens = Golden::quantised(scheme).unwrap().into_iter();
        for golden in goldens.filter(|golden| golden.name != "gemma4-experts") {
            for dtype in [Dtype::F32, Dtype::Bf16] {
                let placement = on_the_cpu(Precision::quantised(scheme, dtype));
                let moved = golden.train_beside(&mut on_one_thread(), &placement);
                assert_eq!(moved.unwrap(), 0.0, "{} in {placement}", golden.name);
            }
        }
    }
}

fn model(name: &str) -> Result<<CandleBackend as Backend>::Model> {
    Golden::named(name)?.load(&mut CandleBackend::default(), &on_the_cpu(Dtype::F32))
}

#[test]
fn a_mixture_of_experts_is_refused_with_the_reason() {
    let error = model("gemma4-experts")
        .unwrap()
        .trainer(&LORA)
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("choice of experts"), "{error}");
}

#[test]
fn a_step_needs_tokens_to_learn_from_and_a_loss_needs_a_step() {
    let mut model = model("gemma3").unwrap();
    let mut trainer = model.trainer(&LORA).unwrap();
    let error = trainer.step(&TokenBatch::row(vec![1])).unwrap_err();
    assert!(error.to_string().contains("at least 2 a row"), "{error}");
    let error = trainer.loss().unwrap_err();
    assert!(error.to_string().contains("no step was taken"), "{error}");
}

#[test]
fn f16_is_refused_with_the_reason() {
    let golden = Golden::named("gemma3").unwrap();
    let loaded = golden.load(&mut CandleBackend::default(), &on_the_cpu(Dtype::F16));
    let error = loaded.unwrap().trainer(&LORA).map(drop).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("loss scaling"), "{error}");
}
