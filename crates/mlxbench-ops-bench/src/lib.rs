//! Gemma's ops timed by criterion: the whole `main` of an adapter's bench. `mlxbench-ops` says what is
//! timed and what a run leaves behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, Throughput};
use mlxbench_core::text::tell;
use mlxbench_core::{Backend, Checkpoint, Error, GemmaConfig, Placement, Result};
use mlxbench_models::progress::UNWATCHED;
use mlxbench_models::source::Source;

use mlxbench_ops::{MeasuredOp, Op, Ops, OpsFile, Phase, Prepared, SCHEMA, Workload, safe};

/// Times every op of `backend`, as criterion's command line and the environment ask: see the
/// crate's own page. `target` is where criterion's folder goes, or a folder beside it: cargo's
/// `CARGO_TARGET_TMPDIR`. Ends with 2 when the model can't be loaded or a file can't be written.
pub fn main<B: Backend>(backend: B, target: &str) -> ExitCode
where
    B::Model: Ops,
{
    match run(backend, &folder(target)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the ops can't be timed: {error}");
            ExitCode::from(2)
        }
    }
}

fn run<B: Backend>(mut backend: B, folder: &Path) -> Result<()>
where
    B::Model: Ops,
{
    // First of all: it ends the program where only help was asked for.
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args()
        .output_directory(folder);

    let name = variable("MODEL").unwrap_or_else(|| "gemma-3-270m".into());
    let placement = placement(&backend)?;
    let workload = Workload::default();
    let source: Source = format!("synthetic:{name}").parse().map_err(invalid)?;
    let checkpoint = Checkpoint::open(&source.resolve(UNWATCHED).map_err(invalid)?)?;
    for warning in checkpoint.warnings() {
        tell(format_args!("warning: {warning}"));
    }
    let file = OpsFile {
        schema: SCHEMA,
        identity: backend.identity()?,
        threads: backend.set_threads(None)?,
        device: placement.device.clone(),
        precision: placement.precision,
        model: name,
        prefill_tokens: workload.prefill_tokens,
        decode_depth: workload.decode_depth,
        ops: Vec::new(),
    };
    Op::check(checkpoint.config())?;
    let mut model = backend.load(&checkpoint, &placement)?;
    measure(&mut criterion, &mut model, file, folder)?;
    criterion.final_summary();
    Ok(())
}

/// Times the ops of `model` and writes `file`, which lists those that were measured, into a folder
/// of `folder`, criterion's.
fn measure<M: Ops>(
    criterion: &mut Criterion,
    model: &mut M,
    mut file: OpsFile,
    folder: &Path,
) -> Result<()> {
    let config = model.config().clone();
    let workload = Workload {
        prefill_tokens: file.prefill_tokens,
        decode_depth: file.decode_depth,
    };
    let start = SystemTime::now();
    for op in Op::all(&config, &workload) {
        // A group of one: within a group, what throughput counts can't be unset.
        let mut group = criterion.benchmark_group(file.group());
        let entry = entry(&op, &config, &file);
        if let Some(throughput) = throughput(&entry) {
            group.throughput(throughput);
        }
        // Made when criterion asks for the first time, which it doesn't under a filter.
        let mut unprepared = Some(&mut *model);
        let mut prepared = None;
        let turn = op.layers(&config).len().max(1) as u64;
        group.bench_function(op.to_string(), |bencher| {
            let prepared = prepared.get_or_insert_with(|| {
                let model = unprepared.take().expect("an op is prepared once");
                or_panic(&op, model.prepare(&op))
            });
            bencher.iter_custom(|runs| or_panic(&op, time(prepared, runs, turn)));
        });
        group.finish();
        let estimates = folder.join(&entry.criterion).join("new/estimates.json");
        if is_since(&estimates, start) {
            file.ops.push(entry);
        }
    }
    match file.ops.is_empty() {
        true => Ok(()),
        false => write(&file, &folder.join("mlxbench-ops")),
    }
}

/// The time of `runs`, waited for after every `turn` of them and at the end.
fn time(op: &mut impl Prepared, runs: u64, turn: u64) -> Result<Duration> {
    let start = Instant::now();
    for run in 1..=runs {
        op.run()?;
        if run % turn == 0 || run == runs {
            op.wait()?;
        }
    }
    Ok(start.elapsed())
}

fn entry(op: &Op, config: &GemmaConfig, file: &OpsFile) -> MeasuredOp {
    MeasuredOp {
        phase: op.phase,
        name: op.name(),
        part: op.part.to_string(),
        composite: op.part.is_composite(),
        occurrences: op.occurrences(config),
        operations: op.operations(config),
        bytes: op.bytes(config, file.precision),
        criterion: format!("{}/{}", safe(&file.group()), safe(&op.to_string())),
    }
}

/// What limits the op, if anything does: a prefill's products operations, a decode step's bytes.
fn throughput(entry: &MeasuredOp) -> Option<Throughput> {
    match entry.phase {
        _ if entry.operations == 0 => None,
        Phase::Prefill => Some(Throughput::Elements(entry.operations)),
        Phase::Decode => Some(Throughput::BytesDecimal(entry.bytes)),
    }
}

/// Whether `path` was written at `start` or later.
fn is_since(path: &Path, start: SystemTime) -> bool {
    let modified = fs::metadata(path).and_then(|file| file.modified());
    modified.is_ok_and(|modified| modified >= start)
}

fn write(file: &OpsFile, folder: &Path) -> Result<()> {
    let path = folder.join(file.file_name());
    let text = serde_json::to_string_pretty(file).map_err(invalid)?;
    fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    fs::write(&path, text + "\n").map_err(|error| Error::io(&path, error))?;
    eprintln!("what these benchmarks are about: {}", path.display());
    Ok(())
}

/// criterion's folder.
fn folder(target: &str) -> PathBuf {
    let home = std::env::var_os("CRITERION_HOME").map(PathBuf::from);
    home.unwrap_or_else(|| Path::new(target).with_file_name("criterion"))
}

fn placement(backend: &impl Backend) -> Result<Placement> {
    let device = match variable("DEVICE").as_deref() {
        None => mlxbench_core::Device::cpu(),
        Some("best") => {
            let devices = backend.devices().into_iter();
            let best = devices.map(|support| support.device).next();
            best.ok_or_else(|| Error::Unsupported("the backend finds no device".into()))?
        }
        Some(name) => name.parse()?,
    };
    let precision = variable("DTYPE").as_deref().unwrap_or("f32").parse()?;
    Ok(Placement { device, precision })
}

/// `MLXBENCH_OPS_<NAME>`, where it is set to something.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(format!("MLXBENCH_OPS_{name}"));
    value.ok().filter(|value| !value.is_empty())
}

fn invalid(error: impl std::fmt::Display) -> Error {
    Error::Invalid(error.to_string())
}

/// criterion has no other way to learn of an error.
fn or_panic<T>(op: &Op, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{op}: {error}"))
}

#[cfg(test)]
mod tests {
    use mlxbench_core::backend::{ContextShape, Reads};
    use mlxbench_core::clock::VirtualClock;
    use mlxbench_core::gemma::preset;
    use mlxbench_core::mock::{MockBackend, Script};
    use mlxbench_core::{Model, TokenBatch, TokenId};

    use super::*;

    /// An op that does nothing, and counts.
    #[derive(Default)]
    struct Counted {
        runs: usize,
        /// Runs before each wait.
        waits: Vec<usize>,
    }

    impl Prepared for Counted {
        fn run(&mut self) -> Result<()> {
            self.runs += 1;
            Ok(())
        }

        fn wait(&mut self) -> Result<()> {
            self.waits.push(self.runs);
            Ok(())
        }

        fn output(&mut self) -> Result<Vec<f32>> {
            Ok(Vec::new())
        }
    }

    /// A model whose ops alone are run.
    struct OpsAlone(GemmaConfig);

    impl Model for OpsAlone {
        type Output = ();

        fn config(&self) -> &GemmaConfig {
            &self.0
        }

        fn reads(&self) -> Reads {
            Reads::Immediate
        }

        fn reset(&mut self, _: ContextShape) -> Result<()> {
            unreachable!("no pass is run")
        }

        fn prefill(&mut self, _: &TokenBatch) -> Result<()> {
            unreachable!("no pass is run")
        }

        fn forward(&mut self, _: &TokenBatch) -> Result<()> {
            unreachable!("no pass is run")
        }

        fn step(&mut self, (): &()) -> Result<()> {
            unreachable!("no pass is run")
        }

        fn force(&mut self, (): (), _: &[TokenId]) -> Result<()> {
            unreachable!("no pass is run")
        }

        fn read(&mut self, (): &()) -> Result<Vec<TokenId>> {
            unreachable!("no pass is run")
        }

        fn logits(&mut self, (): &()) -> Result<Vec<f32>> {
            unreachable!("no pass is run")
        }

        fn synchronize(&mut self) -> Result<()> {
            unreachable!("no pass is run")
        }
    }

    impl Ops for OpsAlone {
        type Prepared<'a> = Counted;

        fn prepare(&mut self, _op: &Op) -> Result<Counted> {
            Ok(Counted::default())
        }
    }

    #[test]
    fn a_time_ends_when_the_device_is_done() {
        let mut op = Counted::default();
        time(&mut op, 7, 3).unwrap();
        assert_eq!((op.runs, op.waits), (7, vec![3, 6, 7]));
    }

    #[test]
    fn the_file_names_the_folders_that_criterion_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let mut criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(1))
            .measurement_time(Duration::from_millis(1))
            .output_directory(folder.path())
            .with_filter("decode/attention");
        let mut model = OpsAlone(preset("gemma-3-270m").unwrap().config());
        let file = OpsFile {
            schema: SCHEMA,
            identity: MockBackend::new(Script::default(), VirtualClock::default())
                .identity()
                .unwrap(),
            device: "cuda:1".parse().unwrap(),
            precision: mlxbench_core::Dtype::Bf16.into(),
            model: "gemma-3-270m".into(),
            threads: 1,
            prefill_tokens: 8,
            decode_depth: 9,
            ops: Vec::new(),
        };

        measure(&mut criterion, &mut model, file, folder.path()).unwrap();

        let path = folder
            .path()
            .join("mlxbench-ops/mock-cuda_1-bf16-gemma-3-270m.json");
        let text = fs::read_to_string(path).unwrap();
        let file: OpsFile = serde_json::from_str(&text).unwrap();
        let names: Vec<&str> = file.ops.iter().map(|op| op.name.as_str()).collect();
        assert_eq!(names, ["attention (local) @ d9", "attention (global) @ d9"]);
        for op in &file.ops {
            assert!(op.criterion.len() < 2 * 64, "{}", op.criterion);
            let estimates = folder.path().join(&op.criterion).join("new/estimates.json");
            assert!(estimates.is_file(), "{}", op.criterion);
        }
    }
}
