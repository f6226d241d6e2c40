//! A worker's stdin and stdout. Each has a thread of its own, so that neither a worker that doesn't read
//! nor one that doesn't write keeps the runner from looking at its clock.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

/// Lines that are read before anybody asked for them. More wait in the pipe.
const AHEAD: usize = 2;

/// What happened on the pipes.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A line, without its end.
    Line(String),
    /// A line longer than so many bytes. Nothing follows.
    TooLong(usize),
    /// What came can't be read or is no text. Nothing follows.
    Unreadable(io::Error),
    /// The worker reads or writes no more.
    Closed,
}

/// The runner's ends of the pipes.
#[derive(Debug)]
pub(super) struct Pipes {
    /// Closed by being dropped, once what was sent is written.
    requests: Option<SyncSender<Vec<u8>>>,
    incoming: Receiver<Incoming>,
    /// Bytes of a line at most.
    longest: Arc<AtomicUsize>,
}

impl Pipes {
    /// Starts both threads. They end with the pipes. Until something is sent, lines of up to `longest`
    /// bytes are read.
    pub(super) fn open(
        mut stdin: impl Write + Send + 'static,
        stdout: impl Read + Send + 'static,
        longest: usize,
    ) -> Self {
        let (requests, to_write) = mpsc::sync_channel::<Vec<u8>>(1);
        let (sender, incoming) = mpsc::sync_channel(AHEAD);
        let from_writer = sender.clone();
        thread::spawn(move || {
            for line in to_write {
                if stdin.write_all(&line).and_then(|()| stdin.flush()).is_err() {
                    let _ = from_writer.send(Incoming::Closed);
                    break;
                }
            }
        });
        let longest = Arc::new(AtomicUsize::new(longest));
        let at_most = Arc::clone(&longest);
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            loop {
                let came = read_line(&mut stdout, || at_most.load(Ordering::Relaxed));
                let more = matches!(came, Incoming::Line(_));
                if sender.send(came).is_err() || !more {
                    break;
                }
            }
        });
        Self {
            requests: Some(requests),
            incoming,
            longest,
        }
    }

    /// Hands a request over to be written; lines of up to `longest` bytes may come back. False when the
    /// worker doesn't read any more, or hasn't read the last request yet.
    pub(super) fn send(&self, line: Vec<u8>, longest: usize) -> bool {
        self.longest.store(longest, Ordering::Relaxed);
        let requests = self.requests.as_ref();
        requests.is_some_and(|requests| requests.try_send(line).is_ok())
    }

    /// What happened first since this was last asked; waits `patience` for it.
    pub(super) fn receive(&self, patience: Duration) -> Option<Incoming> {
        match self.incoming.recv_timeout(patience) {
            Ok(incoming) => Some(incoming),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Incoming::Closed),
        }
    }

    /// Sends no more: the worker sees the end of its stdin.
    pub(super) fn close(&mut self) {
        self.requests = None;
    }
}

/// The next line, of at most `longest()` bytes. That is asked for again with every block that comes: a
/// line may be waited for before it is known which one is due.
fn read_line(source: &mut impl BufRead, longest: impl Fn() -> usize) -> Incoming {
    let mut line = Vec::new();
    loop {
        let block = match source.fill_buf() {
            Ok(block) => block,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Incoming::Unreadable(error),
        };
        let end = block.iter().position(|&byte| byte == b'\n');
        let taken = end.unwrap_or(block.len());
        let longest = longest();
        if line.len() + taken > longest {
            return Incoming::TooLong(longest);
        }
        line.extend_from_slice(&block[..taken]);
        // A last line may lack its end.
        let ended = end.is_some() || (block.is_empty() && !line.is_empty());
        if block.is_empty() && line.is_empty() {
            return Incoming::Closed;
        }
        source.consume(taken + usize::from(end.is_some()));
        if ended {
            return match String::from_utf8(line) {
                Ok(line) => Incoming::Line(line),
                Err(error) => {
                    let text = io::Error::new(io::ErrorKind::InvalidData, error.utf8_error());
                    Incoming::Unreadable(text)
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(bytes: &[u8], block: usize, longest: usize) -> Vec<String> {
        let mut source = BufReader::with_capacity(block.max(1), bytes);
        let mut lines = Vec::new();
        loop {
            match read_line(&mut source, || longest) {
                Incoming::Line(line) => lines.push(line),
                Incoming::Closed => return lines,
                Incoming::TooLong(most) => {
                    lines.push(format!("longer than {most}"));
                    return lines;
                }
                Incoming::Unreadable(_) => {
                    lines.push("unreadable".into());
                    return lines;
                }
            }
        }
    }

    #[test]
    fn lines_are_read_whatever_blocks_they_come_in() {
        for block in 1..8 {
            assert_eq!(
                lines(b"one\n\ntwo\nrest", block, 4),
                ["one", "", "two", "rest"]
            );
            assert_eq!(lines(b"one\nthree\n", block, 4), ["one", "longer than 4"]);
            assert_eq!(lines(b"\xff\nx\n", block, 4), ["unreadable"]);
        }
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let mut source = BufReader::new(io::repeat(b'x'));
        let came = read_line(&mut source, || 1 << 20);
        assert!(matches!(came, Incoming::TooLong(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_lines_or_refused(bytes in any::<Vec<u8>>(), block in 1_usize..20, longest in 0_usize..20) {
            prop_assert!(lines(&bytes, block, longest).iter().all(|line| !line.contains('\n')));
        }
    }
}
