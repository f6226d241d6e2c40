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

/// Tries what is asked for on the devices of the backends called `names`, and tells what goes on. `None` when the
/// user interrupted.
pub fn try_all(
    names: &[String],
    asked: &Asked,
    harness: Harness,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(&str),
) -> Option<Matrix> {
    let started = Timestamp::now();
    let backends = names
        .iter()
        .map(|name| try_backend(name, asked, interrupt, observe));
    Some(Matrix {
        ops_schema_version: MATRIX_SCHEMA,
        started,
        backends: backends.collect::<Option<_>>()?,
        mlxbench: harness,
        machine: system::machine(),
    })
}

fn try_backend(
    name: &str,
    asked: &Asked,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(&str),
) -> Option<BackendTrials> {
    let mut found = BackendTrials {
        backend: name.to_owned(),
        identity: None,
        untried: None,
        devices: Vec::new(),
    };
    let command = match worker_command(name, None) {
        Ok(command) => command,
        Err(message) => {
            found.untried = Some(message);
            return Some(found);
        }
    };
    let mut trials = Trials {
        command,
        timeout: asked.timeout,
        interrupt,
        worker: None,
    };
    let hello = match trials.start() {
        Ok((worker, hello)) => {
            trials.worker = Some(worker);
            hello
        }
        Err(WorkerError { kind: None, .. }) => return None,
        Err(error) => {
            found.untried = Some(error.message);
            return Some(found);
        }
    };
    found.identity = Some(hello.identity.clone());
    if hello.tries.is_empty() {
        found.untried = Some("its worker doesn't know the request `try`".into());
        return Some(found);
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
        let mut of_device = Vec::with_capacity(cells.len());
        for (case, element) in &cells {
            let outcome = trials.outcome(&hello, &known.device, case, *element)?;
            if let Outcome::Crashes { .. } = &outcome {
                let device = &known.device;
                observe(&format!("{name}/{device}: {} {element} crashes", case.name));
            }
            of_device.push(Cell {
                op: case.name.into(),
                dtype: *element,
                outcome,
            });
        }
        found.devices.push(DeviceTrials {
            device: known.device.clone(),
            description: known.description.clone(),
            cells: of_device,
        });
    }
    if found.devices.is_empty() {
        found.untried = Some(format!("it has only {} here", names.join(" and ")));
    }
    Some(found)
}

/// A backend's trials, on one process after another.
struct Trials<'a> {
    command: Command,
    timeout: Duration,
    interrupt: &'a Interrupt,
    /// The process that goes on: all that it tried was `ok`.
    worker: Option<Worker>,
}

impl Trials<'_> {
    fn start(&self) -> Result<(Worker, Hello), WorkerError> {
        let mut worker = Worker::start(&self.command, self.timeout, self.interrupt.clone())?;
        let hello = worker.hello()?;
        Ok((worker, hello))
    }

    /// What becomes of a trial, found anew by a process of its own where it isn't `ok`. `None` when the user
    /// interrupted.
    fn outcome(
        &mut self,
        hello: &Hello,
        device: &Device,
        case: &Case,
        element: ElementType,
    ) -> Option<Outcome> {
        let program = case.program(element);
        if !hello.tries.iter().any(|op| op == program.op()) {
            return Some(Outcome::Unknown);
        }
        loop {
            let (mut worker, is_fresh) = match self.worker.take() {
                Some(worker) => (worker, false),
                None => match self.start() {
                    Ok((worker, _)) => (worker, true),
                    Err(error) => return of_error(error),
                },
            };
            let outcome = attempt(&mut worker, device, &program, element)?;
            if let Outcome::Ok { .. } = outcome {
                self.worker = Some(worker);
                return Some(outcome);
            }
            if is_fresh {
                return Some(outcome);
            }
        }
    }
}

fn attempt(
    worker: &mut Worker,
    device: &Device,
    program: &Program,
    element: ElementType,
) -> Option<Outcome> {
    let expected = program.expected(element).expect("cases fit");
    let output = worker.attempt(Try {
        device: device.clone(),
        dtype: element,
        program: program.clone(),
    });
    let output = match output {
        Ok(output) => output,
        Err(error) => return of_error(error),
    };
    Some(match expected.compare(&output) {
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

/// `None` when the user interrupted.
fn of_error(WorkerError { kind, message }: WorkerError) -> Option<Outcome> {
    Some(match kind? {
        FailureKind::Unsupported | FailureKind::Failed => Outcome::Missing { message },
        _ => Outcome::Crashes { message },
    })
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
