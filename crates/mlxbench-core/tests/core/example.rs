//! The backend of docs/adding-a-backend.md does what it says.

use mlxbench_core::clock::MonotonicClock;
use mlxbench_core::generate::{Job, Mode, generate};
use mlxbench_core::{Backend, Checkpoint, Device, Dtype, Placement, Precision, TokenBatch};

use crate::checkpoint::{folder_with, specs};

#[path = "../../examples/bigram.rs"]
#[expect(dead_code, reason = "as a program it has a main")]
mod bigram;

fn placement(dtype: Dtype) -> Placement {
    Placement {
        device: Device::cpu(),
        precision: Precision::plain(dtype),
    }
}

#[test]
fn it_loads_a_checkpoint_and_generates() {
    // Row r of the table of embeddings holds 4 r, 4 r + 1, 4 r + 2, 4 r + 3.
    let folder = folder_with(&specs());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let mut model = bigram::PlainRust
        .load(&checkpoint, &placement(Dtype::F32))
        .unwrap();
    let prompt = TokenBatch::row(vec![0, 1]);
    let job = Job {
        context: None,
        prompt: &prompt,
        new_tokens: 2,
        chunk: 8,
        mode: Mode::Synchronous,
        stop: &[],
    };
    let mut seen = Vec::new();

    let generation = generate(
        &mut model,
        &MonotonicClock::default(),
        &job,
        |model, output| {
            seen.push(mlxbench_core::Model::logits(model, output)?);
            Ok(())
        },
    );

    assert_eq!(generation.unwrap().tokens, [[7, 7]]);
    assert_eq!(seen[0][2], 4.0 * 8.0 + 5.0 * 9.0 + 6.0 * 10.0 + 7.0 * 11.0);
}

#[test]
fn it_refuses_what_it_cannot_do() {
    let folder = folder_with(&specs());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let refusal = bigram::PlainRust.load(&checkpoint, &placement(Dtype::Bf16));
    assert!(refusal.is_err_and(|error| error.to_string().contains("bf16")));
}
