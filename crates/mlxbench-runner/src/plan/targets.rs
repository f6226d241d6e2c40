//! The targets of a config with their workers, which are asked what they can do here.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use mlxbench_core::backend::DeviceSupport;
use mlxbench_core::protocol::Hello;
use mlxbench_core::results::{FailureKind, Side, Sides, TargetId};
use mlxbench_core::{Device, Error as CoreError, GemmaConfig, Placement};

use super::{Introduced, Target};
use crate::config::Config;
use crate::devices::not_here;
use crate::interrupt::Interrupt;
use crate::locate::{Command, words, worker_command};
use crate::process::Worker;
use crate::{Error, Result};

/// Settles the targets by what their workers say.
pub(super) fn targets(
    config: &Config,
    config_path: &Path,
    answers: &mut Answers<'_>,
) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    for target in &config.targets {
        let answer = answers.of(&target.backend);
        let threads: Vec<_> = match &target.threads {
            Some(threads) => threads.values().iter().copied().map(Some).collect(),
            None => vec![None],
        };
        let cases = target.dtypes.iter();
        let cases =
            cases.flat_map(|&precision| threads.iter().map(move |&threads| (precision, threads)));
        for (precision, threads) in cases {
            let device = target.device.clone().or_else(|| best_device(answer));
            let device = device.unwrap_or_else(Device::cpu);
            let id = TargetId {
                backend: target.backend.clone(),
                placement: Placement { device, precision },
                threads,
                side: None,
            };
            if targets.iter().any(|known| known.id == id) {
                let message = format!("the target {id} is listed twice");
                return Err(Error::Config {
                    path: config_path.to_owned(),
                    message,
                });
            }
            targets.push(Target {
                worker: settle(&id, answer),
                id,
                optional: target.optional,
            });
        }
    }
    Ok(targets)
}

/// Has targets fail whose device is used in a way that the model isn't made for.
pub(super) fn refuse_model(targets: &mut [Target], gemma: &GemmaConfig) {
    for target in targets.iter_mut().filter(|target| target.worker.is_ok()) {
        if let Err(error) = target.id.placement.device.check_model(gemma) {
            target.worker = Err((FailureKind::Unsupported, error.to_string()));
        }
    }
}

/// The config's targets of the sides' backend, once a side. From then on side a answers for that backend:
/// what the new build computes is compared with what the old one does, not with itself.
pub(super) fn both_sides(
    config: &Config,
    config_path: &Path,
    sides: &Sides,
    answers: &mut Answers<'_>,
) -> Result<Vec<Target>> {
    let wrong = |message: String| Error::Core(CoreError::Invalid(format!("--ab: {message}")));
    let introduced = Side::BOTH.map(|side| -> Result<(Command, Hello)> {
        let command = sides.command(side);
        let answer = words(command)
            .and_then(|words| worker_command(side.name(), Some(&words)))
            .map_err(|message| (FailureKind::Missing, message))
            .and_then(|command| introduce(command, config));
        answer.map_err(|(_, message)| wrong(format!("`{command}`: {message}")))
    });
    let [a, b] = introduced;
    let (a, b) = (a?, b?);
    let [backend, other] = [&a.1, &b.1].map(|hello| hello.identity.backend.clone());
    if backend != other {
        let message = format!("one is a worker of {backend}, the other one of {other}");
        return Err(wrong(message));
    }
    let mut own = config.clone();
    own.targets.retain(|target| target.backend == backend);
    if own.targets.is_empty() {
        let mut names: Vec<&str> = config.targets.iter().map(|t| t.backend.as_str()).collect();
        names.dedup();
        return Err(wrong(format!(
            "both are workers of {backend}, the config's targets are of {}",
            names.join(", ")
        )));
    }
    // Both run where the first one can: a build that lost its device fails there.
    let best = a.1.devices.first().map(|support| support.device.clone());
    for target in &mut own.targets {
        target.device = target.device.take().or_else(|| best.clone());
    }
    let of_side = |side: Side, answer: (Command, Hello)| -> Result<Vec<Target>> {
        let mut answers = Answers::new(&own, config_path);
        answers.known.insert(backend.clone(), Ok(answer));
        let mut targets = targets(&own, config_path, &mut answers)?;
        for target in &mut targets {
            target.id.side = Some(side);
        }
        Ok(targets)
    };
    answers.known.insert(backend.clone(), Ok(a.clone()));
    let (a, b) = (of_side(Side::A, a)?, of_side(Side::B, b)?);
    Ok(a.into_iter().zip(b).flat_map(|(a, b)| [a, b]).collect())
}

type Answer = Result<(Command, Hello), (FailureKind, String)>;

/// What each backend's worker said of itself. Each is asked once.
pub(super) struct Answers<'a> {
    config: &'a Config,
    /// The folder that commands are relative to.
    base: &'a Path,
    known: BTreeMap<String, Answer>,
}

impl<'a> Answers<'a> {
    pub(super) fn new(config: &'a Config, config_path: &'a Path) -> Self {
        Self {
            config,
            base: config_path.parent().unwrap_or(Path::new("")),
            known: BTreeMap::new(),
        }
    }

    pub(super) fn of(&mut self, backend: &str) -> &Answer {
        let (config, base) = (self.config, self.base);
        self.known
            .entry(backend.to_owned())
            .or_insert_with(|| introduce_backend(config, base, backend))
    }
}

fn introduce_backend(config: &Config, base: &Path, backend: &str) -> Answer {
    let configured = config.backends.get(backend).map(|known| {
        let mut words = known.words(backend, config.models.first());
        if let Some(program) = words.first_mut().filter(|program| program.contains('/')) {
            *program = base.join(&*program).to_string_lossy().into_owned();
        }
        words
    });
    let command = worker_command(backend, configured.as_deref())
        .map_err(|message| (FailureKind::Missing, message))?;
    introduce(command, config)
}

/// Starts a worker and asks what it is.
fn introduce(command: Command, config: &Config) -> Answer {
    let timeout = Duration::from_secs(config.measure.timeout_seconds.get() as u64);
    match Worker::introduce(&command, timeout, Interrupt::default()) {
        Ok(hello) => Ok((command, hello)),
        Err(error) => Err((error.kind.unwrap_or(FailureKind::Died), error.message)),
    }
}

fn best_device(answer: &Answer) -> Option<Device> {
    let (_, hello) = answer.as_ref().ok()?;
    Some(hello.devices.first()?.device.clone())
}

/// How to start the worker of `id`, or why it can't run here.
pub(super) fn settle(id: &TargetId, answer: &Answer) -> Result<Introduced, (FailureKind, String)> {
    let (command, hello) = answer.clone()?;
    let support = find_device(id, &hello.devices)?;
    Ok(Introduced {
        command,
        device_description: support.description.clone(),
        identity: hello.identity,
    })
}

/// The device of `id`, if the backend can use it in the precision asked for.
fn find_device<'a>(
    id: &TargetId,
    devices: &'a [DeviceSupport],
) -> Result<&'a DeviceSupport, (FailureKind, String)> {
    let Placement { device, precision } = &id.placement;
    let listed = device.listed();
    let Some(support) = devices.iter().find(|support| support.device == listed) else {
        let message = format!(
            "{} has {}",
            id.backend,
            not_here(&id.backend, device, devices)
        );
        return Err((FailureKind::Unsupported, message));
    };
    let mut known = support.precisions.iter();
    match known.find(|known| known.precision == *precision) {
        Some(known) => match &known.unsupported {
            Some(reason) => Err((FailureKind::Unsupported, reason.clone())),
            None => Ok(support),
        },
        None => Err((
            FailureKind::Unsupported,
            format!("{} has no {precision} on {device}", id.backend),
        )),
    }
}
