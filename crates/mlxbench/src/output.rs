//! What goes to stdout and stderr: data to the one, progress to the other. What others wrote (workers,
//! files, models) reaches a terminal [`printable`].

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use mlxbench_core::results::TargetId;
use mlxbench_core::text::{printable, tell};
use mlxbench_report::{Names, row_standing};
use mlxbench_runner::event::{self, Event};

use crate::live::Live;

/// Writes `bytes` to stdout, [`printable`] where they are text. A reader that goes away (`mlxbench ... |
/// head`) has seen enough: that is no error, and changes nothing of what the exit code says.
pub(crate) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let shown = std::str::from_utf8(bytes).map(printable);
    let shown = shown.as_ref().map_or(bytes, |text| text.as_bytes());
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(shown).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Columns of the terminal that stdout is, `None` when it is piped.
pub(crate) fn terminal_width() -> Option<u16> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0)
}

/// Progress of a run on stderr: what is done, medians so far and time left on a terminal, plain lines when piped,
/// nothing when quiet.
pub(crate) struct Progress {
    quiet: bool,
    live: Option<Live>,
}

impl Progress {
    /// That of a run of `targets`, which takes about as long as `expected`.
    pub(crate) fn new<'a>(
        quiet: bool,
        targets: impl Iterator<Item = &'a TargetId>,
        expected: Option<Duration>,
    ) -> Self {
        let shown = !quiet && io::stderr().is_terminal();
        Self {
            quiet,
            live: shown.then(|| Live::new(Names::new(targets, |_| None), expected)),
        }
    }

    pub(crate) fn show(&mut self, event: &Event<'_>) {
        if self.quiet {
            return;
        }
        match event {
            Event::Started { journal } => self.keep(&format!("journal: {}", journal.display())),
            Event::Warning(warning) => self.keep(&format!("warning: {warning}")),
            Event::Probing("memory") => self.line("measuring memory bandwidth"),
            Event::Probing(what) => self.line(&format!("{what}: measuring matrix products")),
            Event::Planned(repetitions) => {
                if let Some(live) = &mut self.live {
                    live.plan(*repetitions as u64);
                }
            }
            Event::Asking(what) => self.line(what),
            Event::Checking { target, at, of } => self.line(&format!(
                "{target}: comparing with the reference ({at} of {of})"
            )),
            Event::Loading(target) => self.line(&format!("{target}: loading")),
            Event::Step(label) => self.line(label),
            Event::Measured(sample) => {
                if let Some(live) = &mut self.live {
                    live.measured(sample);
                }
            }
            Event::StepDone => {
                if let Some(live) = &mut self.live {
                    live.step();
                }
            }
            Event::Throttled {
                case,
                why,
                again_after,
            } => {
                let what = match again_after {
                    Some(pause) => {
                        format!("measured again after {} s of rest", pause.as_secs_f64())
                    }
                    None => "kept, but excluded unless all were throttled".to_owned(),
                };
                self.keep(&format!("{case}: throttled: {why}: {what}"));
            }
            Event::Looked(progress) => self.keep(&standing(progress)),
            Event::Failed(failure) => {
                let test = failure
                    .test
                    .map(|test| format!(" {test}"))
                    .unwrap_or_default();
                let kind = failure.kind.name();
                let again = if failure.retried {
                    ", continuing in a new process"
                } else {
                    ""
                };
                let text = format!(
                    "{}{test}: {kind}{again}: {}",
                    failure.target, failure.message
                );
                self.keep(&text);
            }
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(live) = &self.live {
            live.finish();
        }
    }

    /// A line that stays.
    fn keep(&self, text: &str) {
        match &self.live {
            Some(live) => live.keep(text),
            None => tell(text),
        }
    }

    fn line(&self, text: &str) {
        match &self.live {
            Some(live) => live.say(text),
            None => tell(text),
        }
    }
}

/// How near two sides are to being decided: `after 20 rounds 5 of 9 rows are decided; the widest interval: ...`.
fn standing(progress: &event::Progress<'_>) -> String {
    let event::Progress {
        rounds,
        decided,
        rows,
        widest,
    } = progress;
    let widest = widest.map_or_else(String::new, |row| {
        format!("; the widest interval: {}", row_standing(row))
    });
    format!("after {rounds} rounds {decided} of {rows} rows are decided{widest}")
}

/// `45 s`, `12 min`, `3 h 05 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=89 => format!("{seconds} s"),
        90..=5399 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `1.86 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    humansize::format_size(bytes, humansize::BINARY)
}
