use super::*;
use crate::clock::VirtualClock;
use crate::mock::{MockModel, Script};

fn script() -> Script {
    Script {
        prefill_ns_per_token: 10,
        step_ns: 100,
        read_ns: 7,
        ..Script::default()
    }
}

fn job(prompt: &TokenBatch) -> Job<'_> {
    Job {
        context: None,
        prompt,
        new_tokens: 3,
        chunk: 2,
        mode: Mode::Synchronous,
        stop: &[],
    }
}

fn run(script: Script, job: &Job<'_>) -> Result<Generation> {
    let clock = VirtualClock::default();
    let mut model = MockModel::new(script, clock.clone());
    generate(&mut model, &clock, job, |_, _| Ok(()))
}

#[test]
fn the_clock_starts_with_the_prompt_and_stops_at_each_read() {
    let prompt = TokenBatch::row(vec![5; 5]);
    let generation = run(script(), &job(&prompt)).unwrap();
    let first = 5 * 10 + 7;
    let token_ns = [first, first + 107, first + 214].map(Nanos);
    assert_eq!(generation.token_ns, token_ns);
}

#[test]
fn tokens_of_the_context_are_not_timed() {
    let (context, prompt) = (TokenBatch::row(vec![5; 100]), TokenBatch::row(vec![5]));
    let generation = run(
        script(),
        &Job {
            context: Some(&context),
            ..job(&prompt)
        },
    )
    .unwrap();
    assert_eq!(generation.token_ns[0], Nanos(17));
}

const MODES: [Mode; 2] = [Mode::Pipelined, Mode::Synchronous];

/// What a script's reads wait for, in its flags.
const READS: [(bool, bool); 3] = [(false, false), (true, false), (true, true)];

/// When each of `n` tokens can be read, counted from the handing over of a prompt of one token, by
/// what the script says alone: `l` to hand over, `s` a step, `r` to read, and `p` for the prompt.
fn truth(reads: Reads, mode: Mode, [p, l, s, r]: [u64; 4], n: u64) -> Vec<u64> {
    let first = l + p + r;
    let after_first = |k: u64| match (reads, mode) {
        // Nothing overlaps: each token costs all three.
        (Reads::Immediate | Reads::InOrder, _) | (_, Mode::Synchronous) => k * (l + s + r),
        // The device is never idle after the first launch: launches and reads hide behind steps.
        (Reads::Own, Mode::Pipelined) if s >= l + r => l + k * s + r,
        // The host is never idle: steps hide behind launches and reads. A token waits for its own
        // launch and for that of the next, where there is one, and for the reads before it.
        (Reads::Own, Mode::Pipelined) => {
            assert!(s <= l, "neither bound: no closed form is known here");
            match (k, n - 1) {
                (1, 1) => l + s + r,
                (k, last) if k < last => (k + 1) * l + k * r,
                (k, _) => k * l + (k - 2) * r + s.max(r) + r,
            }
        }
    };
    let later = (1..n).map(|k| first + after_first(k));
    std::iter::once(first).chain(later).collect()
}

#[test]
fn times_are_the_scripts_truth_in_every_combination() {
    let prompt = TokenBatch::row(vec![5]);
    // Bound by the device, then by the host; without and with a cost of reading.
    let costs = [
        [10, 0, 100, 0],
        [10, 0, 100, 7],
        [10, 3, 100, 0],
        [10, 3, 100, 7],
        [10, 100, 20, 0],
        [10, 100, 20, 7],
        [10, 100, 5, 7],
        [500, 100, 0, 7],
    ];
    for (asynchronous, in_order_reads) in READS {
        for [p, l, s, r] in costs {
            for (mode, n) in MODES
                .iter()
                .flat_map(|&mode| [1, 2, 3, 16].map(|n| (mode, n)))
            {
                let script = Script {
                    prefill_ns_per_token: p,
                    launch_ns: l,
                    step_ns: s,
                    read_ns: r,
                    asynchronous,
                    in_order_reads,
                    ..Script::default()
                };
                let reads = MockModel::new(script.clone(), VirtualClock::default()).reads();
                let job = Job {
                    new_tokens: n,
                    mode,
                    ..job(&prompt)
                };
                let generation = run(script, &job).unwrap();
                let times: Vec<u64> = generation.token_ns.iter().map(|ns| ns.0).collect();
                let expected = truth(reads, mode, [p, l, s, r], n as u64);
                assert_eq!(
                    times,
                    expected,
                    "{reads:?}, {mode:?}, {:?}, {n} tokens",
                    [p, l, s, r]
                );
                let pipelined = (reads, mode) == (Reads::Own, Mode::Pipelined);
                assert_eq!(generation.form == Mode::Pipelined, pipelined);
            }
        }
    }
}

#[test]
fn the_first_token_is_the_same_in_both_modes_whatever_reads_wait_for() {
    let prompt = TokenBatch::row(vec![5; 5]);
    for (asynchronous, in_order_reads) in READS {
        let [pipelined, synchronous] = MODES.map(|mode| {
            let script = Script {
                launch_ns: 1000,
                asynchronous,
                in_order_reads,
                ..script()
            };
            let first = run(
                script,
                &Job {
                    mode,
                    ..job(&prompt)
                },
            );
            first.unwrap().token_ns[0]
        });
        assert_eq!(pipelined, synchronous);
    }
}

#[test]
fn chunks_are_handed_over_while_the_device_works() {
    let prompt = TokenBatch::row(vec![5; 5]);
    let at = |asynchronous| {
        let script = Script {
            launch_ns: 4,
            asynchronous,
            ..script()
        };
        run(script, &job(&prompt)).unwrap().token_ns[0]
    };
    // Three chunks: the launches of two hide behind the chunk before.
    assert_eq!(at(true), Nanos(4 + 5 * 10 + 7));
    assert_eq!(at(false), Nanos(3 * 4 + 5 * 10 + 7));
}

#[test]
fn both_modes_generate_the_same_tokens() {
    let prompt = TokenBatch::row(vec![5, 9]);
    let synchronous = run(script(), &job(&prompt)).unwrap();
    let pipelined = run(
        script(),
        &Job {
            mode: Mode::Pipelined,
            ..job(&prompt)
        },
    )
    .unwrap();
    assert_eq!(synchronous.tokens, pipelined.tokens);
}

#[test]
fn a_stop_token_ends_the_generation_once_every_row_has_it() {
    let prompt = TokenBatch::row(vec![5]);
    let all = run(script(), &job(&prompt)).unwrap().tokens[0].clone();
    let stopped = run(
        script(),
        &Job {
            stop: &all[1..2],
            ..job(&prompt)
        },
    )
    .unwrap();
    assert_eq!(stopped.tokens[0], all[..2]);
    assert_eq!(stopped.token_ns.len(), 2);
}

#[test]
fn what_does_not_fit_the_model_is_refused_before_any_work() {
    let prompt = TokenBatch::row(vec![5; 4]);
    for new_tokens in [1 << 20, usize::MAX] {
        let long = Job {
            new_tokens,
            ..job(&prompt)
        };
        let message = run(script(), &long).unwrap_err().to_string();
        assert!(message.contains("exceed the model's context"), "{message}");
    }

    let foreign = TokenBatch::row(vec![u32::MAX]);
    let message = run(script(), &job(&foreign)).unwrap_err().to_string();
    assert!(message.contains("vocabulary"), "{message}");
}
