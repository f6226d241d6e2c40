//! Which operations work on a backend's devices, by trying. A trial that kills its process costs one cell, and a cell
//! that isn't `ok` was found by a process that had tried nothing before it: what one operation leaves behind is
//! never held against another.

use std::time::Duration;

use jiff::Timestamp;
use mlxbench_core::Device;
use mlxbench_core::protocol::{Hello, Try};
use mlxbench_core::results::{FailureKind, Harness};
use mlxbench_core::trial::{
    BackendTrials, Case, Cell, Deviation, DeviceTrials, ElementType, MATRIX_SCHEMA, Matrix,
    Outcome, Program,
};

use crate::interrupt::Interrupt;
use crate::locate::{Command, worker_command};
use crate::process::{Worker, WorkerError};
use crate::system;

/// What is to be tried.
#[derive(Debug)]
pub struct Asked {
    /// The devices; all that a backend finds where there is none.
    pub devices: Vec<Device>,
    /// The dtypes.
    pub elements: Vec<ElementType>,
    /// Only operations whose name contains this.
    pub filter: Option<String>,
    /// How long a trial may take, the start of its process and of its device included.
    pub timeout: Duration,
}

impl Asked {
    /// The cells of a device, row by row.
    pub fn cells(&self) -> Vec<(&'static Case, ElementType)> {
        let wanted = |case: &&Case| {
            let filter = self.filter.as_deref();
            filter.is_none_or(|filter| case.name.contains(filter))
        };
        let rows = Case::all().iter().filter(wanted);
        let cells = rows.flat_map(|case| case.elements.iter().map(move |&element| (case, element)));
        cells
            .filter(|(_, element)| self.elements.contains(element))
            .collect()
    }
}

/// So many trials in a row that don't end are the device's fault, not theirs.
const HANGS: usize = 3;

/// Words of drivers and frameworks for a device that failed, in lower case. An error with one of them is no refusal.
const FAULTS: [&str; 9] = [
    "cuda error",
    "cuda_error",
    "cublas_status",
    "cudnn_status",
    "out of memory",
    "command buffer",
    "illegal memory access",
    "device-side assert",
    "device lost",
];
/// The words among those with which a library refuses.
const REFUSALS: [&str; 2] = ["cublas_status_not_supported", "cudnn_status_not_supported"];

/// Tries what is asked for on the devices of the backends called `names`, and tells what goes on. Where the user
/// interrupts, what was found until then.
pub fn try_all(
    names: &[String],
    asked: &Asked,
    harness: Harness,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(&str),
) -> Matrix {
    // Whoever interrupts gets what was found until then.
    let _heeding = interrupt.heed();
    let mut matrix = Matrix {
        ops_schema_version: MATRIX_SCHEMA,
        started: Timestamp::now(),
        interrupted: false,
        backends: Vec::new(),
        mlxbench: harness,
        machine: system::machine(),
    };
    for name in names {
        let mut found = BackendTrials {
            backend: name.clone(),
            identity: None,
            untried: None,
            fault: None,
            devices: Vec::new(),
        };
        let end = try_backend(&mut found, asked, interrupt, observe);
        matrix.backends.push(found);
        if let Err(Interrupted) = end {
            matrix.interrupted = true;
            break;
        }
    }
    matrix
}

/// The user interrupted.
struct Interrupted;

/// Why no more is tried.
enum Stop {
    Interrupted,
    /// On this device.
    Device(String),
    /// With this worker.
    Backend(String),
}

/// Tries on the devices of a backend, and adds what is found.
fn try_backend(
    found: &mut BackendTrials,
    asked: &Asked,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(&str),
) -> Result<(), Interrupted> {
    let name = found.backend.clone();
    let command = match worker_command(&name, None) {
        Ok(command) => command,
        Err(message) => {
            found.untried = Some(message);
            return Ok(());
        }
    };
    let mut trials = Trials {
        command,
        timeout: asked.timeout,
        interrupt,
        worker: None,
        hangs: 0,
    };
    let hello = match trials.start() {
        Ok((worker, hello)) => {
            trials.worker = Some(worker);
            hello
        }
        Err(WorkerError { kind, message, .. }) => {
            match kind.ok_or(Interrupted)? {
                FailureKind::Missing | FailureKind::Unsupported => found.untried = Some(message),
                _ => found.fault = Some(message),
            }
            return Ok(());
        }
    };
    found.identity = Some(hello.identity.clone());
    if hello.tries.is_empty() {
        found.untried = Some("its worker doesn't know the request `try`".into());
        return Ok(());
    }
    // Other ways of handing over steps run the same operations.
    let here = hello
        .devices
        .iter()
        .filter(|known| known.device.way().is_none());
    let wanted = |device: &Device| asked.devices.is_empty() || asked.devices.contains(device);
    let names: Vec<String> = here.clone().map(|known| known.device.to_string()).collect();
    let cells = asked.cells();
    for known in here.filter(|known| wanted(&known.device)) {
        observe(&format!("{name}/{}: {} trials", known.device, cells.len()));
        let mut of_device = DeviceTrials {
            device: known.device.clone(),
            description: known.description.clone(),
            stopped: None,
            cells: Vec::with_capacity(cells.len()),
        };
        let end = trials.of_device(&hello, &cells, &mut of_device, &mut |line| {
            observe(&format!("{name}/{}: {line}", known.device));
        });
        let end = end.err();
        if let Some(Stop::Device(reason)) = &end {
            observe(&format!("{name}/{} is given up: {reason}", known.device));
            of_device.stopped = Some(reason.clone());
        }
        found.devices.push(of_device);
        match end {
            None | Some(Stop::Device(_)) => {}
            Some(Stop::Interrupted) => return Err(Interrupted),
            Some(Stop::Backend(reason)) => {
                observe(&format!("{name} is given up: {reason}"));
                found.fault = Some(reason);
                return Ok(());
            }
        }
    }
    if found.devices.is_empty() {
        found.untried = Some(format!("it has only {} here", names.join(" and ")));
    }
    Ok(())
}

/// A backend's trials, on one process after another.
struct Trials<'a> {
    command: Command,
    timeout: Duration,
    interrupt: &'a Interrupt,
    /// The process that goes on: all that it tried was `ok`.
    worker: Option<Worker>,
    /// How many trials until now didn't end, in a row.
    hangs: usize,
}

impl Trials<'_> {
    fn start(&self) -> Result<(Worker, Hello), WorkerError> {
        let mut worker = Worker::start(&self.command, self.timeout, self.interrupt.clone())?;
        let hello = worker.hello()?;
        Ok((worker, hello))
    }

    /// Adds the cells of a device, one after the other, until all are there or there is a reason to stop.
    fn of_device(
        &mut self,
        hello: &Hello,
        cells: &[(&'static Case, ElementType)],
        found: &mut DeviceTrials,
        observe: &mut dyn FnMut(&str),
    ) -> Result<(), Stop> {
        self.hangs = 0;
        for (case, element) in cells {
            let outcome = self.outcome(hello, &found.device, case, *element)?;
            if let Outcome::Crashes { .. } = &outcome {
                observe(&format!("{} {element} crashes", case.name));
            }
            found.cells.push(Cell {
                op: case.name.into(),
                dtype: *element,
                outcome,
            });
            if self.hangs == HANGS && found.cells.len() < cells.len() {
                let reason = format!("{HANGS} trials in a row gave no answer in time");
                return Err(Stop::Device(reason));
            }
        }
        Ok(())
    }

    /// What becomes of a trial, found anew by a process of its own where it isn't `ok`.
    fn outcome(
        &mut self,
        hello: &Hello,
        device: &Device,
        case: &Case,
        element: ElementType,
    ) -> Result<Outcome, Stop> {
        let program = case.program(element);
        if !hello.tries.iter().any(|op| op == program.op()) {
            return Ok(Outcome::Unknown);
        }
        if let Some(mut worker) = self.worker.take() {
            let outcome = self.attempt(&mut worker, device, &program, element);
            if let Ok(outcome @ Outcome::Ok { .. }) = outcome {
                self.worker = Some(worker);
                return Ok(outcome);
            }
            // The new process's trial is the one that counts.
            self.hangs = 0;
        }
        if self.interrupt.is_set() {
            return Err(Stop::Interrupted);
        }
        let mut worker = self.anew(device)?;
        let outcome = self.attempt(&mut worker, device, &program, element)?;
        if let Outcome::Ok { .. } = outcome {
            self.worker = Some(worker);
        }
        Ok(outcome)
    }

    /// A process that has tried nothing, and still finds `device`.
    fn anew(&self, device: &Device) -> Result<Worker, Stop> {
        let (worker, hello) = self.start().map_err(|error| match error.kind {
            None => Stop::Interrupted,
            Some(_) => Stop::Device(format!(
                "its worker doesn't start any more: {}",
                error.message
            )),
        })?;
        match hello.devices.iter().any(|known| known.device == *device) {
            true => Ok(worker),
            false => Err(Stop::Device(
                "a new process of its worker doesn't find the device any more".into(),
            )),
        }
    }

    fn attempt(
        &mut self,
        worker: &mut Worker,
        device: &Device,
        program: &Program,
        element: ElementType,
    ) -> Result<Outcome, Stop> {
        let expected = program.expected(element).expect("cases fit");
        let output = worker.attempt(Try {
            device: device.clone(),
            dtype: element,
            program: program.clone(),
        });
        let output = match output {
            Err(WorkerError {
                kind,
                message,
                is_invalid,
            }) => {
                let kind = kind.ok_or(Stop::Interrupted)?;
                self.hangs = match kind {
                    FailureKind::TimedOut => self.hangs + 1,
                    _ => 0,
                };
                return match is_invalid {
                    true => Err(Stop::Backend(format!(
                        "its worker calls `{}` in {element} invalid: {message}",
                        program.op()
                    ))),
                    false => Ok(of_error(kind, message)),
                };
            }
            Ok(output) => output,
        };
        self.hangs = 0;
        Ok(match expected.compare(&output) {
            Ok(furthest) if furthest.is_within() => Outcome::Ok { furthest },
            Ok(furthest) => Outcome::Wrong {
                message: in_words(&furthest),
                furthest: Some(furthest),
            },
            Err(message) => Outcome::Wrong {
                message,
                furthest: None,
            },
        })
    }
}

/// A refusal is `missing`, in the framework's words; all else, a device's failure too, `crashes`.
fn of_error(kind: FailureKind, message: String) -> Outcome {
    let words = message.to_lowercase();
    let any = |of: &[&str]| of.iter().any(|some| words.contains(some));
    match kind {
        FailureKind::Unsupported => Outcome::Missing { message },
        FailureKind::Failed if any(&REFUSALS) || !any(&FAULTS) => Outcome::Missing { message },
        _ => Outcome::Crashes { message },
    }
}

/// `[0, 7] is 0.5 where 0.25 is right: off by 0.25, with a limit of 0.01`.
fn in_words(furthest: &Deviation) -> String {
    let at: Vec<String> = furthest.at.iter().map(usize::to_string).collect();
    let (at, right) = (at.join(", "), exact(furthest.expected));
    match furthest.got.zip(furthest.error()) {
        None => format!("[{at}] isn't finite where {right} is right"),
        Some((got, error)) => format!(
            "[{at}] is {} where {right} is right: off by {}, with a limit of {}",
            exact(got),
            rough(error),
            rough(furthest.limit)
        ),
    }
}

/// Whole numbers with all their digits, others with those of f32.
fn exact(x: f64) -> String {
    match x == x.trunc() && x.abs() < 1e15 {
        true => format!("{x}"),
        false if x.abs() < 1e-4 => format!("{:e}", x as f32),
        false => format!("{}", x as f32),
    }
}

/// Whole numbers with all their digits, others with three.
fn rough(x: f64) -> String {
    match x.abs().log10().floor() {
        _ if x == x.trunc() => exact(x),
        digits if (-4.0..=2.0).contains(&digits) => format!("{x:.*}", (2.0 - digits) as usize),
        _ => format!("{x:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_tell_them_apart() {
        assert_eq!(exact(2_199_023_255_553.0), "2199023255553");
        assert_eq!(exact(f64::from(0.007_893_302_f32)), "0.007893302");
        assert_eq!(exact(-8.44e-11), "-8.44e-11");
        let rounded = [0.426_389, 58.25, 1.234e-7, 3.0, 0.0].map(rough);
        assert_eq!(rounded, ["0.426", "58.2", "1.23e-7", "3", "0"]);
    }

    #[test]
    fn a_deviation_is_told_with_its_limit() {
        let mut furthest = Deviation {
            at: vec![0, 7],
            got: Some(1.5),
            expected: 1.25,
            limit: 0.125,
        };
        let says = "[0, 7] is 1.5 where 1.25 is right: off by 0.250, with a limit of 0.125";
        assert_eq!(in_words(&furthest), says);
        furthest.got = None;
        assert_eq!(
            in_words(&furthest),
            "[0, 7] isn't finite where 1.25 is right"
        );
    }

    #[test]
    fn a_device_that_failed_is_no_refusal() {
        let failed = |words: &str| of_error(FailureKind::Failed, words.into()).name();
        for words in [
            "CUDA error: an illegal memory access was encountered",
            "DriverError(CUDA_ERROR_LAUNCH_FAILED, \"unspecified launch failure\")",
            "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm",
            "MPS backend out of memory (MPS allocated: 1 GB)",
            "[METAL] Command buffer execution failed: Caused GPU Timeout Error",
        ] {
            assert_eq!(failed(words), "crashes", "{words}");
        }
        for words in [
            "\"cumsum\" not implemented for 'Half'",
            "CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling cublasGemmEx",
            "unsupported dtype I64 for op matmul",
        ] {
            assert_eq!(failed(words), "missing", "{words}");
        }
        let of = |kind| of_error(kind, "out of memory".into()).name();
        assert_eq!(of(FailureKind::Unsupported), "missing");
        assert_eq!(of(FailureKind::Died), "crashes");
    }

    #[test]
    fn cells_are_rows_that_the_filter_lets_through_in_the_dtypes_they_have() {
        let asked = Asked {
            devices: Vec::new(),
            elements: vec![ElementType::I64, ElementType::F16],
            filter: Some("top-k".into()),
            timeout: Duration::from_secs(1),
        };
        let names = |asked: &Asked| -> Vec<String> {
            let cells = asked.cells().into_iter();
            cells
                .map(|(case, element)| format!("{} {element}", case.name))
                .collect()
        };
        assert_eq!(names(&asked), ["top-k i64", "top-k f16"]);
        let filter = Some("soft-cap".into());
        assert_eq!(names(&Asked { filter, ..asked }), ["soft-cap f16"]);
    }
}
