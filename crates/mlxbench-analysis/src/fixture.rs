//! Small results for the tests of this crate.

use mlxbench_core::backend::Identity;
use mlxbench_core::converse::Turn;
use mlxbench_core::generate::Mode;
use mlxbench_core::results::{
    ChatTest, GenerateTest, Harness, Machine, ModelFacts, PeakSince, Residency, Run, RunResult,
    Sample, Settings, TargetFacts, TargetId, Test, Turns,
};
use mlxbench_core::{Device, Dtype, Nanos, Placement, Precision};

/// `mock/cpu/f32`.
pub(crate) fn target() -> TargetId {
    TargetId {
        backend: "mock".into(),
        placement: Placement {
            device: Device::cpu(),
            precision: Precision::plain(Dtype::F32),
        },
        threads: None,
        side: None,
    }
}

/// A test of one row with an empty cache.
pub(crate) fn test(prompt_tokens: usize, generate_tokens: usize) -> Test {
    Test::Generate(GenerateTest {
        prompt_tokens,
        generate_tokens,
        depth: 0,
        batch: 1,
        mode: Mode::Pipelined,
    })
}

/// `test` with other sizes.
pub(crate) fn resized(test: Test, change: impl FnOnce(&mut GenerateTest)) -> Test {
    let Test::Generate(mut test) = test else {
        panic!("{test} is no generation")
    };
    change(&mut test);
    test.into()
}

/// A repetition of a conversation whose turns add ten tokens each and have these timestamps.
pub(crate) fn chat_sample(turns: &[&[u64]]) -> Sample {
    let test = ChatTest {
        conversation: None,
        turns: turns.len(),
        system_tokens: 8,
        user_tokens: 2,
        reply_tokens: 8,
        prompt_tokens: 10 * turns.len(),
        generate_tokens: 2,
        mode: Mode::Pipelined,
    };
    let turn = |(at, times): (usize, &&[u64])| Turn {
        prompt_tokens: 10 * (at + 1),
        new_tokens: 10,
        read_tokens: 10,
        token_ns: times.iter().copied().map(Nanos).collect(),
        tokens: vec![7; times.len()],
        device_peak_bytes: None,
    };
    Sample {
        turns: Some(Turns {
            turns: turns.iter().enumerate().map(turn).collect(),
            cold_ttft_ns: Nanos(900),
        }),
        tokens: Vec::new(),
        ..sample(test.into(), &[])
    }
}

/// A repetition of [`target`] with these timestamps, 1024 bytes of peak memory and no device.
pub(crate) fn sample(test: Test, token_ns: &[u64]) -> Sample {
    Sample {
        target: target(),
        test,
        repetition: 0,
        attempt: 0,
        process: None,
        token_ns: token_ns.iter().copied().map(Nanos).collect(),
        tokens: vec![vec![7; token_ns.len()]; test.rows()],
        finite: true,
        losses: Vec::new(),
        requests: Vec::new(),
        form: None,
        turns: None,
        peak_memory_bytes: Some(1024),
        peak_memory_since: PeakSince::Repetition,
        device_peak_bytes: None,
        started: None,
        wall_ns: None,
        timeline: None,
        energy_joules: None,
        energy_unavailable: None,
        conditions: None,
        throttled: false,
    }
}

/// A run of [`target`] with `pp8+tg2` in three repetitions, loaded once in half a second.
pub(crate) fn result(samples: Vec<Sample>) -> RunResult {
    let started = jiff::Timestamp::UNIX_EPOCH;
    let mut result = RunResult::new(Run {
        name: "fixture".into(),
        description: None,
        started,
        mlxbench: Harness {
            version: "0.1.0".into(),
            commit: None,
            profile: "release".into(),
            compiler: None,
            compiler_flags: None,
        },
        machine: Machine {
            os: "Linux".into(),
            kernel: None,
            arch: "x86_64".into(),
            cpu: "a processor".into(),
            physical_cores: None,
            performance_cores: None,
            efficiency_cores: None,
            logical_cores: 2,
            memory_bytes: 1 << 30,
            gpu: None,
        },
        conditions: Default::default(),
        power: Vec::new(),
        model: ModelFacts {
            name: "synthetic:tiny".into(),
            source: "synthetic:tiny".into(),
            fallback_reason: None,
            folder: "tiny".into(),
            architecture: "gemma3".into(),
            parameters: 1000,
            stored_bytes: 4000,
            config: None,
            warnings: Vec::new(),
        },
        settings: Settings {
            repetitions: 3,
            processes: None,
            max_repetitions: None,
            interval_percent: None,
            max_seconds: None,
            delay_seconds: 0.0,
            throttle_retries: 0,
            throttle_pause_seconds: 0.0,
            warmup: 1,
            max_warmup: 1,
            chunk: 512,
            threads: 2,
            reference: None,
            compared_positions: 0,
            seed: 0,
            residency: Residency::Together,
        },
        tests: vec![test(8, 2)],
        prompts_sha256: None,
        config: None,
        targets: vec![target()],
        sides: None,
    });
    result.targets.push(TargetFacts {
        id: target(),
        identity: Identity {
            backend: "mock".into(),
            framework: "mock".into(),
            version: "1".into(),
            libraries: Default::default(),
        },
        device_description: None,
        threads: 2,
        reads: None,
        kernels: Default::default(),
        storage: None,
        load_ns: vec![Nanos(500_000_000)],
    });
    result.samples = samples;
    result
}
