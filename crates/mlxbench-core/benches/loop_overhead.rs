//! What the generation loop costs around a model that costs nothing: nanoseconds a token.
//!
//! A real decode step takes milliseconds; 1 % of the fastest published Gemma (thousands of tokens a
//! second) is some microseconds.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mlxbench_core::TokenBatch;
use mlxbench_core::clock::{MonotonicClock, VirtualClock};
use mlxbench_core::generate::{Job, Mode, generate};
use mlxbench_core::mock::{MockModel, Script};

const TOKENS: usize = 1024;

fn loop_overhead(criterion: &mut Criterion) {
    let free = Script {
        prefill_ns_per_token: 0,
        step_ns: 0,
        asynchronous: true,
        ..Script::default()
    };
    let prompt = TokenBatch::row(vec![2]);
    let clock = MonotonicClock::default();
    let mut group = criterion.benchmark_group("loop_overhead");
    group.throughput(Throughput::Elements(TOKENS as u64));
    for mode in [Mode::Pipelined, Mode::Synchronous] {
        let mut model = MockModel::new(free.clone(), VirtualClock::default());
        let job = Job {
            context: None,
            prompt: &prompt,
            new_tokens: TOKENS,
            chunk: 512,
            mode,
            stop: &[],
        };
        group.bench_function(mode.name(), |bencher| {
            bencher.iter(|| {
                generate(black_box(&mut model), &clock, &job, |_, _| Ok(()))
                    .expect("a mock that never fails")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, loop_overhead);
criterion_main!(benches);
