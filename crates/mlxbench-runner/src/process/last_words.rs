//! The end of what a worker prints to stderr, to be quoted when it dies: a few lines of bounded length,
//! whatever it prints.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mlxbench_core::text::{Backtraces, printable};

/// Lines that are kept.
const LINES: usize = 12;
/// Bytes that are kept of a line: its beginning.
const LONGEST: usize = 500;

/// A thread that reads a worker's stderr, and what it keeps.
#[derive(Debug)]
pub(super) struct LastWords {
    tail: Arc<Mutex<Tail>>,
    /// Disconnects when nobody can write any more.
    ended: Receiver<()>,
}

impl LastWords {
    /// Listens to `stderr` until all who can write there are gone.
    pub(super) fn listen(mut stderr: impl Read + Send + 'static) -> Self {
        let tail = Arc::new(Mutex::new(Tail::default()));
        let (ending, ended) = mpsc::channel();
        let heard = Arc::clone(&tail);
        thread::spawn(move || {
            let _ending: mpsc::Sender<()> = ending;
            let mut block = [0; 8192];
            while let Ok(read @ 1..) = stderr.read(&mut block) {
                lock(&heard).push(&block[..read]);
            }
        });
        Self { tail, ended }
    }

    /// Waits until nobody can write any more, but no longer than `patience`: a process that left the
    /// worker's group may hold the pipe open.
    pub(super) fn wait(&self, patience: Duration) {
        let _ = self.ended.recv_timeout(patience);
    }

    /// The last lines, fit to be shown.
    pub(super) fn quote(&self) -> String {
        lock(&self.tail).quote()
    }
}

fn lock(tail: &Mutex<Tail>) -> MutexGuard<'_, Tail> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last lines of a stream.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    /// The beginning of the line that hasn't ended yet.
    open: Vec<u8>,
    /// Whether more of that line was left out.
    cut: bool,
    /// Whether the last of `lines` is overwritten by what follows, as progress bars are.
    fleeting: bool,
    backtraces: Backtraces,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_line(byte == b'\r'),
                _ if self.open.len() < LONGEST => self.open.push(byte),
                _ => self.cut = true,
            }
        }
    }

    fn end_line(&mut self, fleeting: bool) {
        let line = self.open_line();
        self.open.clear();
        self.cut = false;
        if line.trim().is_empty() {
            // `\r\n` ends a line for good.
            self.fleeting &= fleeting;
            return;
        }
        if self.fleeting || self.lines.len() == LINES {
            match self.fleeting {
                true => self.lines.pop_back(),
                false => self.lines.pop_front(),
            };
        }
        self.fleeting = false;
        if self.backtraces.lets_through(&line) {
            self.lines.push_back(line);
            self.fleeting = fleeting;
        }
    }

    fn open_line(&self) -> String {
        let mut line = String::from_utf8_lossy(&self.open).trim_end().to_owned();
        if self.cut {
            line.push('…');
        }
        line
    }

    fn quote(&self) -> String {
        let open = self.open_line();
        let open = Some(&open).filter(|line| !line.trim().is_empty());
        let lines: Vec<&str> = self.lines.iter().chain(open).map(String::as_str).collect();
        printable(&lines.join("\n")).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tail(text: &str) -> String {
        let mut tail = Tail::default();
        tail.push(text.as_bytes());
        tail.quote()
    }

    #[test]
    fn the_last_lines_are_kept_and_one_that_has_not_ended() {
        let many: String = (0..30).map(|line| format!("{line}\n")).collect();
        assert_eq!(tail(&many).lines().next(), Some("18"));
        assert_eq!(tail(&many).lines().count(), LINES);
        assert_eq!(tail("a\r\n\nb\nc"), "a\nb\nc");
    }

    #[test]
    fn progress_overwrites_itself() {
        assert_eq!(tail("loading\n10 %\r20 %\r99 %\r"), "loading\n99 %");
        assert_eq!(tail("10 %\r20 %\r\nfailed\n"), "20 %\nfailed");
    }

    #[test]
    fn a_line_without_end_takes_no_room() {
        let mut tail = Tail::default();
        for _ in 0..1000 {
            tail.push(&[b'x'; 8192]);
        }
        assert_eq!(tail.open.len(), LONGEST);
        tail.push(b"\nend\n");
        let quoted = tail.quote();
        assert!(quoted.ends_with("x…\nend"), "{quoted}");
    }

    #[test]
    fn frames_of_a_backtrace_do_not_push_the_message_out() {
        let frames: String = (0..40).map(|n| format!("frame #{n}: f + 0x1\n")).collect();
        let said = format!("what(): no memory\nException raised from f at g.cpp:1:\n{frames}");
        assert_eq!(tail(&said), "what(): no memory");
    }

    proptest! {
        #[test]
        fn any_bytes_are_kept_within_bounds(blocks in prop::collection::vec(any::<Vec<u8>>(), 0..40)) {
            let mut tail = Tail::default();
            for block in &blocks {
                tail.push(block);
            }
            prop_assert!(tail.lines.len() <= LINES && tail.open.len() <= LONGEST);
            tail.quote();
        }
    }
}
