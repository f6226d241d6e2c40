//! Training of low-rank adapters.

use mlxbench_conformance::Golden;
use mlxbench_core::backend::Backend;
use mlxbench_core::lora::{Lora, LoraModules};
use mlxbench_core::{Device, Dtype, Error, Model, Placement, Precision, Result, TokenBatch};

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
use mlxbench_mlx::MlxBackend;

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
        let steps = golden.compare_steps(&mut MlxBackend::default(), &on_the_cpu(Dtype::F32));
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
            let moved = golden.train_beside(&mut MlxBackend::default(), &placement);
            assert_eq!(moved.unwrap(), 0.0, "{name} in {dtype}");
        }
    }
}

#[test]
fn steps_beside_quantised_weights_equal_those_beside_what_their_codes_stand_for() {
    Golden::assert_quantised_steps(MlxBackend::default, &Device::cpu()).unwrap();
}

/// Without gradient checkpointing a step is compiled, with it it isn't.
#[test]
fn a_step_is_compiled_anew_for_rows_of_another_shape() {
    let mut model = model("gemma3").unwrap();
    let mut losses = |gradient_checkpointing| {
        let lora = Lora {
            gradient_checkpointing,
            ..LORA
        };
        let mut trainer = model.trainer(&lora).unwrap();
        [12, 7, 12].map(|tokens| {
            let row = |first: u32| (0..tokens).map(|at| (first + 7 * at) % 64).collect();
            let rows = TokenBatch::new(&[row(1), row(2)]).unwrap();
            trainer.step(&rows).unwrap();
            trainer.loss().unwrap()
        })
    };
    let (compiled, plain) = (losses(false), losses(true));
    for (compiled, plain) in compiled.into_iter().zip(plain) {
        let off = (compiled - plain).abs() / plain;
        assert!(off < 1e-4, "{compiled}, not {plain}");
    }
}

fn model(name: &str) -> Result<<MlxBackend as Backend>::Model> {
    Golden::named(name)?.load(&mut MlxBackend::default(), &on_the_cpu(Dtype::F32))
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
    let loaded = golden.load(&mut MlxBackend::default(), &on_the_cpu(Dtype::F16));
    let error = loaded.unwrap().trainer(&LORA).map(drop).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("loss scaling"), "{error}");
}
