//! The worker's side of the protocol. An adapter's `main` is one call of [`serve`].

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc;

use crate::backend::{Backend, Model};
use crate::clock::{Clock, MonotonicClock};
use crate::generate::{Job, generate};
use crate::logits_file::LogitsWriter;
use crate::probe::fastest;
use crate::protocol::{
    Generate, Generated, Hello, Load, Loaded, Probe, Reply, Request, Score, VERSION,
};
use crate::score::score;
use crate::{Checkpoint, Error, Result};

/// Serves `backend` on stdin and stdout until stdin closes.
pub fn serve<B: Backend>(backend: B) -> ExitCode {
    serve_with_clock(backend, MonotonicClock::default())
}

/// [`serve`] with times from `clock`.
pub fn serve_with_clock<B: Backend>(backend: B, clock: impl Clock) -> ExitCode {
    let outcome = protocol_stream().and_then(|mut replies| {
        let mut session = Session {
            backend,
            clock,
            model: None,
        };
        for line in stdin_lines() {
            let reply = session.answer(&line);
            serde_json::to_writer(&mut replies, &reply)?;
            replies.write_all(b"\n")?;
            replies.flush()?;
        }
        Ok(())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the worker can't write its replies: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes stdout for the protocol and turns whatever else writes there (C++ libraries do) to
/// stderr.
fn protocol_stream() -> io::Result<File> {
    let replies = File::from(rustix::io::dup(rustix::stdio::stdout())?);
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(replies)
}

/// Lines of stdin, read by a thread of their own: when the runner goes away, stdin closes and the
/// process ends at once, even in the middle of a generation.
fn stdin_lines() -> impl Iterator<Item = String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(io::Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    lines.into_iter()
}

/// A backend, its clock and the model that it has loaded.
struct Session<B: Backend, C> {
    backend: B,
    clock: C,
    model: Option<B::Model>,
}

impl<B: Backend, C: Clock> Session<B, C> {
    fn answer(&mut self, line: &str) -> Reply {
        let answer = match serde_json::from_str(line) {
            Ok(Request::Hello { protocol }) => self.hello(protocol),
            Ok(Request::Load(load)) => self.load(&load),
            Ok(Request::Generate(generate)) => self.generate(&generate),
            Ok(Request::Score(score)) => self.score(&score),
            Ok(Request::Probe(probe)) => self.probe(&probe),
            Err(error) => Err(Error::Invalid(format!("not a request: {error}"))),
        };
        answer.unwrap_or_else(Reply::from)
    }

    fn hello(&self, protocol: u32) -> Result<Reply> {
        if protocol != VERSION {
            return Err(Error::Invalid(format!(
                "this worker speaks protocol {VERSION}, the runner {protocol}: build both from one \
                 checkout"
            )));
        }
        Ok(Reply::Hello(Hello {
            protocol: VERSION,
            identity: self.backend.identity()?,
            devices: self.backend.devices(),
        }))
    }

    fn load(&mut self, load: &Load) -> Result<Reply> {
        self.model = None;
        let start = self.clock.now();
        let threads = self.backend.set_threads(load.threads)?;
        let checkpoint = Checkpoint::open(&load.model)?;
        let mut model = self.backend.load(&checkpoint, &load.placement)?;
        model.synchronize()?;
        self.model = Some(model);
        Ok(Reply::Loaded(Loaded {
            load_ns: self.clock.now().since(start),
            threads,
        }))
    }

    fn score(&mut self, request: &Score) -> Result<Reply> {
        let model = loaded(&mut self.model)?;
        if request.tokens.batch() != 1 {
            return Err(Error::Invalid(
                "one row of tokens is scored at a time".into(),
            ));
        }
        let mut file = LogitsWriter::create(&request.logits)?;
        score(
            model,
            &request.tokens,
            request.prompt,
            request.chunk,
            |logits| file.push(&logits),
        )?;
        file.finish()?;
        Ok(Reply::Scored)
    }

    fn probe(&mut self, request: &Probe) -> Result<Reply> {
        self.backend.set_threads(request.threads)?;
        let Probe { shape, copies, .. } = *request;
        if copies == 0 || shape.elements() == 0 || shape.rows == 0 {
            return Err(Error::Invalid("an empty product can't be timed".into()));
        }
        let mut product = self.backend.product(shape, copies, &request.placement)?;
        let product_ns = fastest(&mut product, &self.clock, copies, request.least_ns)?;
        Ok(Reply::Probed { product_ns })
    }

    fn generate(&mut self, request: &Generate) -> Result<Reply> {
        let model = loaded(&mut self.model)?;
        let job = Job {
            context: request.context.as_ref(),
            prompt: &request.prompt,
            new_tokens: request.new_tokens,
            chunk: request.chunk,
            mode: request.mode,
            stop: &request.stop,
        };
        if request.logits.is_some() && request.prompt.batch() != 1 {
            return Err(Error::Invalid(
                "logits are written for one row of prompt only".into(),
            ));
        }
        let mut logits = request
            .logits
            .as_deref()
            .map(LogitsWriter::create)
            .transpose()?;
        let generation = generate(model, &self.clock, &job, |model, output| {
            if let Some(file) = &mut logits {
                file.push(&model.logits(output)?)?;
            }
            Ok(())
        })?;
        logits.map(LogitsWriter::finish).transpose()?;
        Ok(Reply::Generated(Generated {
            tokens: generation.tokens,
            token_ns: generation.token_ns,
            finite: generation.finite,
            device_peak_bytes: model.device_peak_bytes(),
        }))
    }
}

fn loaded<M>(model: &mut Option<M>) -> Result<&mut M> {
    let missing = || Error::Invalid("load a model before giving it work".into());
    model.as_mut().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use crate::mock::{MockBackend, Script};
    use crate::protocol::ErrorKind;

    fn session() -> Session<MockBackend, VirtualClock> {
        let clock = VirtualClock::default();
        let backend = MockBackend::new(Script::default(), clock.clone());
        Session {
            backend,
            clock,
            model: None,
        }
    }

    fn error(reply: Reply) -> (ErrorKind, String) {
        match reply {
            Reply::Error { kind, message } => (kind, message),
            other => panic!("not an error: {other:?}"),
        }
    }

    #[test]
    fn hello_names_backend_and_devices() {
        let reply = session().answer(r#"{"type": "hello", "protocol": 1}"#);
        let Reply::Hello(hello) = reply else {
            panic!("{reply:?}")
        };
        assert_eq!(hello.identity.backend, "mock");
        assert_eq!(hello.devices[0].device, crate::Device::cpu());
    }

    #[test]
    fn another_protocol_is_refused() {
        let (kind, message) = error(session().answer(r#"{"type": "hello", "protocol": 9}"#));
        assert_eq!(kind, ErrorKind::Invalid);
        assert!(
            message.contains("speaks protocol 1, the runner 9"),
            "{message}"
        );
    }

    #[test]
    fn rubbish_is_answered_not_fatal() {
        let (kind, message) = error(session().answer("what?"));
        assert_eq!(kind, ErrorKind::Invalid);
        assert!(message.starts_with("not a request"), "{message}");
    }

    #[test]
    fn generating_needs_a_model() {
        let line = r#"{"type": "generate", "prompt": [[2]], "new_tokens": 1, "chunk": 1, "mode": "pipelined"}"#;
        assert!(error(session().answer(line)).1.contains("load a model"));
    }
}
