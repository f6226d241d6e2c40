//! Shows on stderr how far a model is that is being made: a bar on a terminal, a line a quarter when
//! piped, nothing when quiet.

use std::cell::{Cell, OnceCell};
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mlxbench_core::text::tell;
use mlxbench_models::progress::Progress;

use crate::output::{duration, size};

/// What is shown of one model.
pub(crate) struct Making {
    quiet: bool,
    /// What comes after it.
    then: String,
    bar: OnceCell<ProgressBar>,
    /// The next quarter to tell of.
    quarter: Cell<u64>,
}

impl Making {
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            then: String::new(),
            bar: OnceCell::new(),
            quarter: Cell::new(0),
        }
    }

    /// Of a model that is needed for a run which takes about so long.
    pub(crate) fn before(self, run: Option<Duration>) -> Self {
        let then = run.map(|run| format!(", then about {}", duration(run)));
        Self {
            then: then.unwrap_or_default(),
            ..self
        }
    }

    /// What the maker tells.
    pub(crate) fn watch(&self) -> impl Fn(Progress<'_>) + '_ {
        |progress| match self.quiet {
            true => (),
            false if io::stderr().is_terminal() => self.draw(progress),
            false => self.tell(progress),
        }
    }

    fn draw(&self, progress: Progress<'_>) {
        let bar = self.bar.get_or_init(|| {
            let style = "making {msg} [{bar:30}] {bytes}/{total_bytes} (eta {eta}{prefix})";
            let style = ProgressStyle::with_template(style).expect("a template of ours");
            ProgressBar::new(progress.total_bytes)
                .with_style(style.progress_chars("=> "))
                .with_prefix(self.then.clone())
        });
        bar.set_message(progress.what.to_owned());
        bar.set_position(progress.done_bytes);
        if progress.done_bytes == progress.total_bytes {
            bar.finish_and_clear();
        }
    }

    fn tell(&self, progress: Progress<'_>) {
        let Progress {
            what,
            done_bytes,
            total_bytes,
        } = progress;
        if let Some(quarter) = quarter(done_bytes, total_bytes).filter(|&q| q >= self.quarter.get())
        {
            self.quarter.set(quarter + 1);
            tell(format_args!(
                "making {what}: {} of {}",
                size(done_bytes),
                size(total_bytes)
            ));
        }
    }
}

/// How many quarters are done, `None` of nothing.
fn quarter(done_bytes: u64, total_bytes: u64) -> Option<u64> {
    done_bytes.saturating_mul(4).checked_div(total_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_of_a_model() {
        assert_eq!(quarter(0, 8), Some(0));
        assert_eq!(quarter(3, 8), Some(1));
        assert_eq!(quarter(8, 8), Some(4));
        assert_eq!(quarter(0, 0), None);
    }
}
