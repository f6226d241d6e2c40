//! What a person or a script sees, of one run with every kind of row in it.

use mlxbench_core::backend::Identity;
use mlxbench_core::gemma::preset;
use mlxbench_core::generate::Mode;
use mlxbench_core::probe::ProductShape;
use mlxbench_core::results::{
    Conditions, Equivalence, Failure, FailureKind, Fidelity, FirstDivergence, Harness, Machine,
    ModelFacts, PeakSince, PowerMeter, PowerSource, ProductProbe, Residency, Run, RunResult,
    Sample, Settings, TargetFacts, TargetId, Test, Verdict,
};
use mlxbench_core::{Device, Dtype, Nanos, Placement};
use mlxbench_report::{Format, render};

const PREFILL: Test = Test {
    prompt_tokens: 512,
    generate_tokens: 0,
    depth: 0,
    batch: 1,
    mode: Mode::Pipelined,
};

const BOTH: Test = Test {
    prompt_tokens: 64,
    generate_tokens: 4,
    depth: 0,
    batch: 1,
    mode: Mode::Pipelined,
};

fn target(dtype: Dtype) -> TargetId {
    TargetId {
        backend: "candle".into(),
        placement: Placement {
            device: Device::cpu(),
            dtype,
        },
        threads: None,
    }
}

fn facts(dtype: Dtype) -> TargetFacts {
    TargetFacts {
        id: target(dtype),
        identity: Identity {
            backend: "candle".into(),
            framework: "candle".into(),
            version: "0.11.1".into(),
            libraries: Default::default(),
        },
        device_description: None,
        threads: 2,
        load_ns: vec![Nanos(812_000_000)],
    }
}

fn sample(dtype: Dtype, test: Test, repetition: usize, token_ns: Vec<u64>) -> Sample {
    Sample {
        target: target(dtype),
        test,
        repetition,
        tokens: vec![vec![7; token_ns.len()]],
        token_ns: token_ns.into_iter().map(Nanos).collect(),
        finite: dtype != Dtype::F16,
        peak_memory_bytes: Some(1_200_000_000),
        peak_memory_since: PeakSince::Repetition,
        device_peak_bytes: None,
        started: None,
        wall_ns: Some(Nanos(2_000_000_000)),
        timeline: None,
        energy_joules: Some(40.0),
    }
}

fn far_off() -> Fidelity {
    Fidelity {
        positions: 32,
        largest_logit_difference: 3.2,
        mean_kl: 0.043,
        largest_kl: 0.31,
        agreeing_positions: 23,
        first_divergence: Some(FirstDivergence {
            position: 2,
            reference_token: 34,
            token: 40,
            margin: 0.305,
        }),
    }
}

/// f32 measures both tests, f16 dies in the first and computes nothing in the second.
fn run() -> RunResult {
    let mut result = RunResult::new(Run {
        name: "quick".into(),
        description: Some("A first look.".into()),
        started: "2026-11-23T07:00:00Z".parse().expect("a time"),
        mlxbench: Harness {
            version: "0.1.0".into(),
            commit: Some("deee1a1".into()),
            profile: "debug".into(),
            compiler: None,
            compiler_flags: None,
        },
        machine: Machine {
            os: "Debian 12".into(),
            kernel: Some("6.1".into()),
            arch: "x86_64".into(),
            cpu: "a processor".into(),
            physical_cores: Some(2),
            performance_cores: None,
            efficiency_cores: None,
            logical_cores: 4,
            memory_bytes: 24 << 30,
            gpu: None,
        },
        conditions: Conditions {
            power_source: Some(PowerSource::Battery),
            low_power_mode: Some(true),
            thermal_pressure: Some("heavy".into()),
            cpu_busy: Some(0.37),
            frequency_governor: Some("powersave".into()),
        },
        power: vec![PowerMeter {
            device: Device::cpu(),
            source: Some("a meter".into()),
            idle_watts: Some(5.0),
            unavailable: None,
        }],
        model: ModelFacts {
            name: "=evil|`model`\nname".into(),
            source: "=evil|`model`\nname".into(),
            fallback_reason: Some("no network | none at all".into()),
            folder: "models/evil".into(),
            architecture: "gemma3".into(),
            parameters: 268_098_176,
            stored_bytes: 536_196_352,
            config: Some(preset("gemma-3-270m").expect("a preset").config()),
        },
        settings: Settings {
            repetitions: 5,
            max_repetitions: None,
            interval_percent: None,
            max_seconds: None,
            delay_seconds: 0.0,
            warmup: 1,
            max_warmup: 4,
            chunk: 512,
            threads: 2,
            reference: Some(target(Dtype::F32)),
            compared_positions: 32,
            seed: 0,
            residency: Residency::Together,
        },
        tests: vec![PREFILL, BOTH],
        prompts_sha256: None,
        targets: vec![target(Dtype::F32), target(Dtype::F16)],
    });
    result.targets = vec![facts(Dtype::F32), facts(Dtype::F16)];
    for (repetition, drift) in [0, 4, 1, 3, 2].into_iter().enumerate() {
        let ms = |ms: u64| ms * 1_000_000 + drift * 500_000;
        let both = |step: u64| (0..4).map(|i| ms(200) + i * ms(step)).collect();
        let prefill = sample(Dtype::F32, PREFILL, repetition, vec![ms(1500)]);
        result.samples.push(prefill);
        let measured = sample(Dtype::F32, BOTH, repetition, both(40));
        result.samples.push(measured);
        let of_no_work = sample(Dtype::F16, BOTH, repetition, both(35));
        result.samples.push(of_no_work);
    }
    result.failures.push(Failure {
        target: target(Dtype::F16),
        test: Some(PREFILL),
        kind: FailureKind::Died,
        message: "the worker was killed by signal 9; its last words:\n\u{1b}[31mout of | memory"
            .into(),
        retried: false,
    });
    let product = |part: &str, rows, out_features, time_ns| ProductProbe {
        target: target(Dtype::F32),
        part: part.into(),
        shape: ProductShape {
            rows,
            in_features: 640,
            out_features,
        },
        time_ns: Nanos(time_ns),
    };
    result.products = vec![
        product("lm_head", 1, 262_144, 19_000_000),
        product("qkv", 512, 1536, 6_000_000),
    ];
    let compared = |dtype, verdict, fidelity| Equivalence {
        target: target(dtype),
        verdict,
        reason: None,
        fidelity,
    };
    result.equivalences = vec![
        compared(Dtype::F32, Verdict::Reference, None),
        compared(Dtype::F16, Verdict::Different, Some(far_off())),
    ];
    result.finished = Some("2026-11-23T07:01:00Z".parse().expect("a time"));
    result
}

fn text(results: &[RunResult], format: Format) -> String {
    String::from_utf8(render(results, format)).expect("reports are UTF-8")
}

#[test]
fn terminal() {
    let shown = text(&[run()], Format::Terminal { width: None });
    insta::assert_snapshot!(shown);
}

#[test]
fn narrow_terminal() {
    let width = Some(80);
    let shown = text(&[run()], Format::Terminal { width });
    let mut table = shown.lines().skip(1).take(5);
    assert!(table.all(|line| line.chars().count() <= 80), "{shown}");
    insta::assert_snapshot!(shown);
}

#[test]
fn markdown() {
    insta::assert_snapshot!(text(&[run()], Format::Markdown));
}

#[test]
fn csv() {
    insta::assert_snapshot!(text(&[run()], Format::Csv));
}

#[test]
fn json() {
    insta::assert_snapshot!(text(&[run()], Format::Json));
}

#[test]
fn a_run_that_was_cut_short() {
    let mut result = run();
    result.run.model.name = "synthetic:gemma-3-270m".into();
    result.run.model.source = "synthetic:gemma-3-270m".into();
    result.run.model.fallback_reason = None;
    result.run.mlxbench.profile = "release".into();
    result.run.settings.repetitions = 2;
    result.samples.truncate(2);
    result.failures.clear();
    result.finished = None;
    insta::assert_snapshot!(text(&[result], Format::Terminal { width: None }));
}

#[test]
fn a_report_in_json_reads_as_a_result() {
    let bytes = render(&[run()], Format::Json);
    let result: RunResult = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(result, run());
}

#[test]
fn several_results_stand_one_after_the_other() {
    let mut second = run();
    second.run.name = "second".into();
    let results = [run(), second];

    let markdown = text(&results, Format::Markdown);
    let headings: Vec<&str> = markdown.lines().filter(|l| l.starts_with("## ")).collect();
    assert_eq!(headings, ["## quick", "## second"]);

    let csv = text(&results, Format::Csv);
    assert_eq!(csv.matches("mlxbench_version").count(), 1);

    let json: Vec<RunResult> = serde_json::from_str(&text(&results, Format::Json)).unwrap();
    assert_eq!(json, results);
}
