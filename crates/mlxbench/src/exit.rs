//! The exit codes, all of them.

use std::process::ExitCode;

/// What the process's exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Fine = 0,
    /// What was looked at isn't as it should be: something got worse, a document's tables are stale, a bisection
    /// couldn't name the commit, a machine lacks something, or a shared result isn't in order.
    Regression = 1,
    /// The command, a config or a file is wrong; nothing was run.
    Usage = 2,
    /// Measured, but a target failed or computed something different; or an operation was wrong or crashed.
    Degraded = 3,
    /// Interrupted by the user; what was measured is kept.
    Interrupted = 130,
}

/// The codes for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    fine
  1    something got worse (`compare`, `run --baseline`, `run --ab`), with --strict also if it can't
       be told, or stands on a worse level (`history --fail-on worse`); or a document is stale
       (`report --splice DOC --check`); or too many commits were skipped to name one (`bisect`); or
       something is missing here (`doctor --check`); or a shared result isn't in order
       (`community check`)
  2    the command, a config or a file is wrong; nothing was run
  3    measured, but a target failed or computed something different; or an operation was wrong or
       crashed (`ops`)
  130  interrupted; what was measured is kept";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
