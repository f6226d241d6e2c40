//! Processes that lead a group of their own, and their end: no wait for one is without a bound, and none
//! outlives this process.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a killed process may take to be gone: the kernel frees its memory first, and one that waits
/// for a broken device can't be killed at all.
const BURIAL: Duration = Duration::from_secs(10);

/// The leaders of all groups that may have a process alive.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A process and whatever it starts, unless that leaves the group. Dropping it kills all of them.
#[derive(Debug)]
pub(crate) struct Group {
    /// The process that leads it.
    pub(crate) leader: Child,
    /// Whether all of the group were killed: from then on its number may be another's.
    ended: bool,
}

impl Group {
    /// Starts `command` as the leader of a new group, which Ctrl-C on a terminal doesn't reach.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        // Held over the start: kill_all() kills what was started, or lets it not start.
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let leader = command.process_group(0).spawn()?;
        running.insert(leader.id());
        let ended = false;
        Ok(Self { leader, ended })
    }

    /// The number of the leader and of the group.
    pub(crate) fn id(&self) -> u32 {
        self.leader.id()
    }

    /// Whether the leader has ended by itself.
    pub(crate) fn leader_ended(&mut self) -> bool {
        !matches!(self.leader.try_wait(), Ok(None))
    }

    /// Kills all processes of the group; [`Self::end`] waits for them.
    pub(crate) fn kill(&self) {
        if !self.ended {
            kill_group(self.id());
        }
    }

    /// Gives the leader `grace` to end by itself, kills what is left of the group, and waits a while for
    /// the leader.
    pub(crate) fn end(&mut self, grace: Duration) -> End {
        let by_itself = wait(&mut self.leader, grace);
        if !self.ended {
            // The group outlives its leader as long as a child runs.
            self.kill();
            self.ended = true;
            let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            running.remove(&self.leader.id());
        }
        match by_itself {
            Some(status) => End::ByItself(status),
            None if wait(&mut self.leader, BURIAL).is_some() => End::Killed,
            None => End::Alive,
        }
    }
}

/// How a leader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Before it was killed.
    ByItself(ExitStatus),
    /// It had to be killed.
    Killed,
    /// It can't be killed.
    Alive,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Kills every process that this one has started, with whatever they started in their groups, and lets
/// no other start. To be called right before the process ends.
pub fn kill_all() {
    // A start takes milliseconds; one that hangs mustn't keep this from ending.
    for _ in 0..100 {
        let running = match RUNNING.try_lock() {
            Ok(running) => running,
            Err(TryLockError::Poisoned(poison)) => poison.into_inner(),
            Err(TryLockError::WouldBlock) => {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        for &leader in running.iter() {
            kill_group(leader);
        }
        // Locked for ever.
        std::mem::forget(running);
        return;
    }
}

/// Kills the process group that process `leader` leads.
pub(super) fn kill_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Waits for a process to end, but no longer than `patience`.
fn wait(process: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        match process.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => {
                thread::sleep(pause.min(end.saturating_duration_since(Instant::now())));
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Ok(None) | Err(_) => return None,
        }
    }
}
