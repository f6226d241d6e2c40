//! Runs to make reports of.

use std::num::NonZeroUsize;

use jiff::{SignedDuration, Timestamp};
use mlxbench_analysis::history::Entry;
use mlxbench_core::backend::Identity;
use mlxbench_core::gemma::{Activations, Storage, preset};
use mlxbench_core::generate::Mode;
use mlxbench_core::probe::ProductShape;
use mlxbench_core::results::{
    Conditions, CostFigures, Equivalence, Failure, FailureKind, Fidelity, FirstDivergence,
    GenerateTest, Harness, Machine, ModelFacts, PeakSince, Perplexity, PowerMeter, PowerSource,
    ProductProbe, QuantisationCost, Residency, Run, RunResult, Sample, Settings, TargetFacts,
    TargetId, Test, Timeline, Verdict,
};
use mlxbench_core::{Device, Dtype, Nanos, Placement, Scheme, WeightFormat};
use mlxbench_report::{History, history, newest};

/// The history of `results`.
pub(crate) fn over_time(results: &[RunResult]) -> History {
    let entries: Vec<Entry> = results.iter().map(Entry::of).collect();
    let newest = newest(&entries).into_iter();
    let newest: Vec<RunResult> = newest.map(|at| results[at].clone()).collect();
    history(&entries, &newest)
}

/// So many nightly results, of which the second half is slower by a tenth.
pub(crate) fn nightly(count: usize) -> Vec<RunResult> {
    let first = race(3, &[BOTH], 5);
    let night = |night: usize| {
        let mut result = first.clone();
        result.run.started = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * night as i64);
        result.run.mlxbench.commit = Some(format!("{night:07x}"));
        for sample in &mut result.samples {
            for time in &mut sample.token_ns {
                // None is twice the same.
                let slower = if night >= count / 2 { 1100 } else { 1000 };
                time.0 = time.0 * (slower + night as u64 * 7 % 10) / 1000;
            }
        }
        result
    };
    (0..count).map(night).collect()
}

pub(crate) const PREFILL: Test = Test::Generate(GenerateTest {
    prompt_tokens: 512,
    generate_tokens: 0,
    depth: 0,
    batch: 1,
    mode: Mode::Pipelined,
});

pub(crate) const BOTH: Test = Test::Generate(GenerateTest {
    prompt_tokens: 64,
    generate_tokens: 4,
    depth: 0,
    batch: 1,
    mode: Mode::Pipelined,
});

/// `test` with other sizes.
pub(crate) fn resized(test: Test, change: impl FnOnce(&mut GenerateTest)) -> Test {
    let Test::Generate(mut test) = test else {
        panic!("{test} is no generation")
    };
    change(&mut test);
    test.into()
}

fn target(dtype: Dtype) -> TargetId {
    TargetId {
        backend: "candle".into(),
        placement: Placement {
            device: Device::cpu(),
            precision: dtype.into(),
        },
        threads: None,
        side: None,
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
        reads: None,
        kernels: Default::default(),
        storage: None,
        load_ns: vec![Nanos(812_000_000)],
    }
}

fn sample(dtype: Dtype, test: Test, repetition: usize, token_ns: Vec<u64>) -> Sample {
    Sample {
        target: target(dtype),
        test,
        repetition,
        attempt: 0,
        process: None,
        tokens: vec![vec![7; token_ns.len()]],
        token_ns: token_ns.into_iter().map(Nanos).collect(),
        finite: dtype != Dtype::F16,
        losses: Vec::new(),
        requests: Vec::new(),
        turns: None,
        form: None,
        peak_memory_bytes: Some(1_200_000_000),
        peak_memory_since: PeakSince::Repetition,
        device_peak_bytes: None,
        started: None,
        wall_ns: Some(Nanos(2_000_000_000)),
        timeline: None,
        energy_joules: Some(40.0),
        energy_unavailable: None,
        conditions: None,
        throttled: false,
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
            row: 0,
            position: 2,
            reference_token: 34,
            token: 40,
            margin: 0.305,
        }),
    }
}

/// f32 measures both tests, f16 dies in the first and computes nothing in the second.
pub(crate) fn run() -> RunResult {
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
            period_ns: None,
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
            warnings: Vec::new(),
        },
        settings: Settings {
            repetitions: 5,
            processes: None,
            max_repetitions: None,
            interval_percent: None,
            max_seconds: None,
            delay_seconds: 0.0,
            throttle_retries: 0,
            throttle_pause_seconds: 0.0,
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
        config: None,
        targets: vec![target(Dtype::F32), target(Dtype::F16)],
        sides: None,
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

/// Raced targets: `targets` of three frameworks and some others, each measured in all `tests`,
/// `repetitions` times, two in each process, with a little noise that is always the same.
pub(crate) fn race(targets: usize, tests: &[Test], repetitions: usize) -> RunResult {
    const BACKENDS: [&str; 5] = ["candle", "mlx", "tch", "llama.cpp", "transformers"];
    const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::F16];
    let mut result = run();
    let ids = (0..targets).map(|at| TargetId {
        backend: BACKENDS[at % BACKENDS.len()].into(),
        placement: Placement {
            device: Device::cpu(),
            precision: DTYPES[at / BACKENDS.len() % DTYPES.len()].into(),
        },
        threads: NonZeroUsize::new(at / BACKENDS.len() / DTYPES.len()),
        side: None,
    });
    result.run.name = "race".into();
    result.run.model.name = "gemma-3-270m".into();
    result.run.tests = tests.to_vec();
    result.run.targets = ids.collect();
    result.run.settings.reference = result.run.targets.first().cloned();
    result.run.settings.repetitions = repetitions;
    result.run.settings.processes = Some(repetitions.div_ceil(2));
    result.targets = result
        .run
        .targets
        .iter()
        .map(|id| {
            let mut facts = facts(Dtype::F32);
            (facts.id, facts.identity.framework) = (id.clone(), framework(id));
            facts
        })
        .collect();
    result.equivalences = result
        .run
        .targets
        .iter()
        .enumerate()
        .map(|(at, target)| Equivalence {
            target: target.clone(),
            verdict: [Verdict::Reference, Verdict::Identical, Verdict::Equivalent][at.min(2)],
            reason: None,
            fidelity: (at > 0).then(|| Fidelity {
                mean_kl: 1e-9 * (at * at) as f64,
                first_divergence: None,
                ..far_off()
            }),
        })
        .collect();
    (result.samples, result.failures) = (Vec::new(), Vec::new());
    let mut noise = 1_u64;
    let mut jitter = |time: u64| {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        time + time / 50 * (noise >> 54) / 1024
    };
    for (test, repetition) in tests
        .iter()
        .flat_map(|test| (0..repetitions).map(move |at| (test, at)))
    {
        for (at, target) in result.run.targets.iter().enumerate() {
            let slow = 4 + at as u64;
            let mut now = jitter(slow * 100_000 * (test.prompt_tokens() as u64 + 10));
            let tokens = (0..test.generate_tokens().max(1)).map(|_| {
                now += jitter(slow * 5_000_000 + slow * 1_000 * test.depth() as u64);
                now
            });
            let tokens: Vec<u64> = tokens.collect();
            let timeline = Timeline {
                every_ns: Nanos(now / 9),
                memory_bytes: (0..10)
                    .map(|look| (at as u64 + 10) * 100_000_000 + look * 5_000_000)
                    .collect(),
            };
            result.samples.push(Sample {
                target: target.clone(),
                process: Some(repetition / 2),
                timeline: (repetition < 2).then_some(timeline),
                peak_memory_bytes: Some((at as u64 + 10) * 100_000_000 + 45_000_000),
                ..sample(Dtype::F32, *test, repetition, tokens)
            });
        }
    }
    result
}

/// What others may have written into a name, a prompt or an error.
pub(crate) const HOSTILE: &str = "=cmd()|</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`&amp;--><!--]]>\u{1b}[31m\u{202e}";

/// What a worker of this backend says of its framework.
fn framework(id: &TargetId) -> String {
    match id.backend.as_str() {
        "mlx" => "MLX".into(),
        "tch" => "PyTorch".into(),
        other => other.into(),
    }
}

/// Makes one of the targets of [`race`] another.
pub(crate) fn rename(result: &mut RunResult, at: usize, id: TargetId) {
    let old = std::mem::replace(&mut result.run.targets[at], id.clone());
    let samples = result.samples.iter_mut();
    for sample in samples.filter(|sample| sample.target == old) {
        sample.target = id.clone();
    }
    result.targets[at].id = id.clone();
    result.targets[at].identity.framework = framework(&id);
    result.equivalences[at].target = id;
}

/// Three quantised targets beside candle in f32: q4 has figures, once with activations rounded to 8 bits; q8 has
/// the reason why it has none. The fastest is one of q4.
pub(crate) fn quantised() -> RunResult {
    let mut result = race(5, &[BOTH], 5);
    result.run.name = "quantised".into();
    for (at, id) in [
        "tch/cpu/q4-bf16",
        "candle/cpu/f32",
        "candle/cpu/q4-f32",
        "mlx/cpu/q8-f32",
        "mlx/cpu/native-f32",
    ]
    .into_iter()
    .enumerate()
    {
        rename(&mut result, at, id.parse().expect("a target"));
    }
    let verdicts = [
        Verdict::Equivalent,
        Verdict::Reference,
        Verdict::Equivalent,
        Verdict::Equivalent,
        Verdict::Equivalent,
    ];
    for (known, verdict) in result.equivalences.iter_mut().zip(verdicts) {
        known.verdict = verdict;
    }
    result.equivalences[0].fidelity = result.equivalences[1].fidelity.take();
    result.run.settings.reference = Some(result.run.targets[1].clone());
    let config = result.run.model.config.clone().expect("a preset's");
    result.targets[2].storage = Some(Storage {
        activations: Activations::Int8,
        ..config.storage(result.run.targets[2].placement.precision)
    });
    let perplexity = |value, standard_error| Perplexity {
        value,
        standard_error,
    };
    let figures = CostFigures {
        text: "mlxbench's own text".into(),
        positions: 2112,
        mean_kl: 0.0312,
        p99_kl: 0.264,
        same_top_positions: 1966,
        full_perplexity: perplexity(13.61, 0.391),
        perplexity: perplexity(14.2, 0.408),
    };
    result.quantisation_costs = vec![
        QuantisationCost {
            weights: WeightFormat::Quantised(Scheme::Q8),
            figures: None,
            reason: Some("the reference candle/cpu/f32 can't be had: died".into()),
        },
        QuantisationCost {
            weights: WeightFormat::Quantised(Scheme::Q4),
            figures: Some(figures),
            reason: Some("the weights may have been quantised before".into()),
        },
        QuantisationCost {
            weights: WeightFormat::Native,
            figures: None,
            reason: Some("the weights from before quantising aren't here".into()),
        },
    ];
    result
}

/// A run with [`HOSTILE`] wherever a text can stand that isn't ours.
pub(crate) fn hostile() -> RunResult {
    let mut result = race(3, &[BOTH], 5);
    let text = || HOSTILE.to_owned();
    let run = &mut result.run;
    (run.name, run.description, run.model.name) = (text(), Some(text()), text());
    (run.model.source, run.model.fallback_reason) = (text(), Some(text()));
    (run.machine.cpu, run.machine.os, run.machine.arch) = (text(), text(), text());
    run.mlxbench.commit = Some(text());
    run.power = vec![PowerMeter {
        device: Device::cpu(),
        source: None,
        idle_watts: None,
        period_ns: None,
        unavailable: Some(text()),
    }];
    let renamed = TargetId {
        backend: text(),
        ..run.targets[1].clone()
    };
    rename(&mut result, 1, renamed);
    for facts in &mut result.targets {
        facts.identity.framework = text();
        facts.identity.libraries.insert(text(), text());
        facts.device_description = Some(text());
    }
    result.equivalences[1].reason = Some(text());
    let q4 = "candle/cpu/q4-f32".parse().expect("a target");
    rename(&mut result, 0, q4);
    result.quantisation_costs = quantised().quantisation_costs.split_off(1);
    let cost = &mut result.quantisation_costs[0];
    cost.reason = Some(text());
    if let Some(figures) = &mut cost.figures {
        figures.text = text();
    }
    result
        .samples
        .retain(|sample| sample.target != result.run.targets[2]);
    result.failures = vec![Failure {
        target: result.run.targets[2].clone(),
        test: None,
        kind: FailureKind::Failed,
        message: text(),
        retried: false,
    }];
    result
}

/// A run in which every target failed.
pub(crate) fn nothing_measured() -> RunResult {
    let mut result = race(3, &[PREFILL, BOTH], 0);
    result.run.settings.repetitions = 5;
    result.equivalences.clear();
    result.failures = result
        .run
        .targets
        .iter()
        .map(|target| Failure {
            target: target.clone(),
            test: None,
            kind: FailureKind::Missing,
            message: format!(
                "no program mlxbench-worker-{} beside mlxbench or on PATH",
                target.backend
            ),
            retried: false,
        })
        .collect();
    result
}
