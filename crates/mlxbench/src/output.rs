//! What goes to stdout and stderr: data to the one, progress to the other. What others wrote (workers,
//! files, models) reaches a terminal [`printable`].

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use mlxbench_core::text::{printable, tell};
use mlxbench_report::row_standing;
use mlxbench_runner::event::{self, Event};

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

/// Progress of a run on stderr: a bar on a terminal, plain lines when piped, nothing when quiet.
pub(crate) struct Progress {
    quiet: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, bar: None }
    }

    pub(crate) fn show(&mut self, event: &Event<'_>) {
        if self.quiet {
            return;
        }
        match event {
            Event::Started { journal } => tell(format_args!("journal: {}", journal.display())),
            Event::Warning(warning) => tell(format_args!("warning: {warning}")),
            Event::Probing(what) => self.line(&format!("{what}: measuring the limit")),
            Event::Planned(repetitions) => {
                if let Some(bar) = &self.bar {
                    bar.inc_length(*repetitions as u64);
                } else if io::stderr().is_terminal() {
                    let bar = ProgressBar::new(*repetitions as u64);
                    let style = "{wide_msg} [{bar:30}] {pos}/{len} {elapsed} (eta {eta})";
                    bar.set_style(
                        ProgressStyle::with_template(style)
                            .expect("a template of ours")
                            .progress_chars("=> "),
                    );
                    bar.enable_steady_tick(std::time::Duration::from_secs(1));
                    self.bar = Some(bar);
                }
            }
            Event::Checking(target) => {
                self.line(&format!("{target}: comparing with the reference"))
            }
            Event::Loading(target) => self.line(&format!("{target}: loading")),
            Event::Step(label) => self.line(label),
            Event::StepDone => {
                if let Some(bar) = &self.bar {
                    bar.inc(1);
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
                    ", a new process goes on"
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
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// A line that stays.
    fn keep(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(printable(text)),
            None => tell(text),
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(printable(text).into_owned()),
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
