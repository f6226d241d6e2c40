//! What MLX says of its memory. MLX counts one peak for the whole process, which a test beside would raise: so this one
//! test has a process of its own.

use mlxbench_conformance::Golden;
use mlxbench_core::lora::{Lora, LoraModules};
use mlxbench_core::{Device, Dtype, Model, Placement, TokenBatch};
use mlxbench_mlx::MlxBackend;

#[test]
fn gradient_checkpointing_takes_less_memory() {
    let placement = Placement {
        device: Device::cpu(),
        precision: Dtype::F32.into(),
    };
    let golden = Golden::named("gemma4-e").unwrap();
    let mut model = golden.load(&mut MlxBackend::default(), &placement).unwrap();
    let row = |first: u32| (0..400).map(|at| (first + 7 * at) % 64).collect();
    let rows = TokenBatch::new(&[row(1), row(2)]).unwrap();
    let mut peak = |gradient_checkpointing| {
        let lora = Lora {
            rank: 2,
            layers: 99,
            modules: LoraModules::QueryValue,
            scale: 20.0,
            learning_rate: 0.01,
            weight_decay: 0.0,
            seed: 0,
            gradient_checkpointing,
        };
        let mut trainer = model.trainer(&lora).unwrap();
        trainer.step(&rows).unwrap();
        trainer.loss().unwrap();
        trainer.device_peak_bytes().unwrap()
    };
    let (kept, checkpointed) = (peak(false), peak(true));
    assert!(2 * checkpointed < kept, "{checkpointed} of {kept} bytes");
}
