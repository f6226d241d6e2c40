//! Programs that are started for a bisection: in a group of their own, so that a signal ends them first and
//! the worktrees can be taken away after them.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use mlxbench_runner::interrupt::Interrupt;

/// Starts programs one at a time.
#[derive(Clone)]
pub(super) struct Group(Option<Arc<State>>);

#[derive(Default)]
struct State {
    /// The group that runs; 0 for none.
    running: AtomicI32,
    ended: AtomicBool,
    /// The same, for whoever waits for a worker's answer.
    interrupt: Interrupt,
}

impl Group {
    /// From here on Ctrl-C, SIGTERM and SIGHUP end what runs, and nothing more is started.
    pub(super) fn end_on_signals() -> anyhow::Result<Self> {
        let state = Arc::new(State::default());
        let on_signal = Arc::clone(&state);
        ctrlc::set_handler(move || {
            on_signal.ended.store(true, Ordering::SeqCst);
            on_signal.interrupt.set();
            end(on_signal.running.load(Ordering::SeqCst));
        })?;
        Ok(Self(Some(state)))
    }

    /// Programs stay in the group of this process.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Whether a signal came.
    pub(super) fn was_ended(&self) -> bool {
        let state = self.0.as_ref();
        state.is_some_and(|state| state.ended.load(Ordering::SeqCst))
    }

    /// What a signal sets, for whoever waits for a worker's answer.
    pub(super) fn interrupt(&self) -> Interrupt {
        let interrupt = self.0.as_ref().map(|state| state.interrupt.clone());
        interrupt.unwrap_or_default()
    }

    /// Runs `command`, whose output goes to stderr, until it ends or a signal ends it.
    pub(super) fn status(&self, command: &mut Command) -> io::Result<ExitStatus> {
        command.stdin(Stdio::null()).stdout(io::stderr());
        let Some(state) = &self.0 else {
            return command.status();
        };
        if self.was_ended() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut child = command.process_group(0).spawn()?;
        state.running.store(child.id() as i32, Ordering::SeqCst);
        // A signal that came before that has ended nothing.
        if self.was_ended() {
            end(child.id() as i32);
        }
        let ended = child.wait();
        state.running.store(0, Ordering::SeqCst);
        ended
    }
}

/// Ends a group of processes that this one has started; 0 is none.
fn end(group: i32) {
    if group > 0 {
        // SAFETY: a signal, to processes of our own.
        unsafe { libc::kill(-group, libc::SIGTERM) };
    }
}
