//! What loading takes: quantised weights are made as the checkpoint is read.

use std::path::Path;
use std::time::Duration;

use mlxbench_core::protocol::Load;
use mlxbench_core::{Device, Placement, Precision};
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::locate::Command;
use mlxbench_runner::process::Worker;
use serde_json::json;

use crate::support::{Scene, stderr, worker};

/// Rows of the embedding table, the largest matrix, and its columns.
const TABLE: [u64; 2] = [32768, 512];

/// A Gemma 3 with a table of so many rows and columns, and layers.
fn shapes([vocab, hidden]: [u64; 2], layers: usize) -> String {
    let shapes = json!({
        "model_type": "gemma3_text", "vocab_size": vocab, "hidden_size": hidden,
        "intermediate_size": 4 * hidden, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 1, "head_dim": 64, "sliding_window": 512, "sliding_window_pattern": 6,
        "max_position_embeddings": 1024, "query_pre_attn_scalar": 64,
    });
    shapes.to_string()
}

/// The most memory that a worker held while it loaded, and the bytes of its weights.
fn peak(program: &Path, model: &Path, precision: Precision) -> (u64, u64) {
    let command = Command {
        program: program.into(),
        arguments: Vec::new(),
    };
    let timeout = Duration::from_secs(600);
    let mut worker = Worker::start(&command, timeout, Interrupt::default()).unwrap();
    let loaded = worker.load(Load {
        model: model.into(),
        dequantised: None,
        placement: Placement {
            device: Device::cpu(),
            precision,
        },
        threads: Some(2),
    });
    let storage = loaded.unwrap().storage.unwrap();
    (worker.peak_memory_bytes().unwrap(), storage.weights_bytes())
}

#[test]
fn a_model_is_quantised_without_being_whole_in_full_precision() {
    let scene = Scene::new();
    // In f32 all of the deep one is three times what may stand beside its weights.
    for (name, shapes) in [("small", shapes([256, 64], 1)), ("deep", shapes(TABLE, 24))] {
        let file = format!("{name}.json");
        std::fs::write(scene.path(&file), shapes).unwrap();
        let made = scene.mlxbench(&["model", "synth", &file, "-o", name]);
        assert!(made.status.success(), "{}", stderr(&made));
    }
    let full_precision_bytes = TABLE.iter().product::<u64>() * 4;
    for backend in ["candle", "mlx", "tch"] {
        let program = worker(&format!("mlxbench-worker-{backend}"));
        for precision in ["q8-bf16", "q4-bf16"] {
            let of = |model| peak(&program, &scene.path(model), precision.parse().unwrap());
            // What the program itself takes, its libraries among it.
            let (program_bytes, _) = of("small");
            let (peak_bytes, weights_bytes) = of("deep");
            let beside = peak_bytes.saturating_sub(program_bytes + weights_bytes);
            assert!(
                beside <= 2 * full_precision_bytes,
                "{backend} {precision}: {beside} bytes beside {weights_bytes} of weights"
            );
        }
    }
}
