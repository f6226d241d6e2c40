//! The worker's side of the protocol. An adapter's `main` is one call of [`serve`].

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use crate::backend::{Backend, Model};
use crate::clock::{Clock, MonotonicClock};
use crate::converse::{Conversation, converse};
use crate::generate::{Job, generate};
use crate::limits::{THREADS, at_most};
use crate::logits_file::LogitsWriter;
use crate::probe::fastest;
use crate::protocol::{
    Converse, Generate, Generated, Hello, Load, Loaded, Probe, Reply, Request, Score, Train, Try,
    VERSION,
};
use crate::results::check;
use crate::score::{Forced, score};
use crate::text::tell;
use crate::train::train;
use crate::{Checkpoint, Error, Nanos, Result, WeightFormat};

/// Matrices of a probe that take turns at most.
const MOST_COPIES: usize = 1 << 16;
/// The longest that a probe is repeated.
const LONGEST_PROBE: Duration = Duration::from_secs(3600);

/// Serves `backend` on stdin and stdout until stdin closes.
pub fn serve<B: Backend>(backend: B) -> ExitCode {
    serve_with_clock(backend, MonotonicClock::default())
}

/// [`serve`] with times from `clock`.
pub fn serve_with_clock<B: Backend>(backend: B, clock: impl Clock) -> ExitCode {
    let mut session = Session {
        backend,
        clock,
        model: None,
    };
    answer_lines(|line| session.answer(line))
}

/// Answers requests on stdin by `answer` until stdin closes: for a worker that is no [`Backend`].
pub fn serve_requests(mut answer: impl FnMut(Request) -> Result<Reply>) -> ExitCode {
    answer_lines(|line| {
        request(line)
            .and_then(&mut answer)
            .unwrap_or_else(Reply::from)
    })
}

/// The request that a line is.
fn request(line: &str) -> Result<Request> {
    serde_json::from_str(line).map_err(|error| Error::Invalid(format!("not a request: {error}")))
}

/// Refuses a runner that speaks another protocol.
///
/// # Errors
/// With what to do.
pub fn check_protocol(protocol: u32) -> Result<()> {
    match protocol {
        VERSION => Ok(()),
        _ => Err(Error::Invalid(format!(
            "this worker speaks protocol {VERSION}, the runner {protocol}: build both from one checkout, or \
             update the older one as PROTOCOL.md tells"
        ))),
    }
}

fn answer_lines(mut answer: impl FnMut(&str) -> Reply) -> ExitCode {
    let outcome = protocol_stream().and_then(|mut replies| {
        for line in stdin_lines() {
            let reply = answer(&line);
            serde_json::to_writer(&mut replies, &reply)?;
            replies.write_all(b"\n")?;
            replies.flush()?;
        }
        Ok(())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("the worker can't write its replies: {error}"));
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
        // Bytes that are no text are answered, as other rubbish is.
        for line in io::stdin().lock().split(b'\n').map_while(io::Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
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
        let answer = match request(line) {
            Ok(Request::Hello { protocol }) => self.hello(protocol),
            Ok(Request::Load(load)) => self.load(&load),
            Ok(Request::Generate(generate)) => self.generate(&generate),
            Ok(Request::Converse(request)) => self.converse(&request),
            Ok(Request::Score(score)) => self.score(&score),
            Ok(Request::Train(request)) => self.train(&request),
            Ok(Request::Probe(probe)) => self.probe(&probe),
            Ok(Request::Try(attempt)) => self.attempt(&attempt),
            Ok(Request::Serve(_) | Request::Logprobs(_)) => Err(Error::Unsupported(
                "this worker runs a model itself: requests to a server are sent by mlxbench-worker-openai, the worker \
                 of a [backend.NAME] with a `url`"
                    .into(),
            )),
            Err(error) => Err(error),
        };
        answer.unwrap_or_else(Reply::from)
    }

    fn hello(&self, protocol: u32) -> Result<Reply> {
        check_protocol(protocol)?;
        Ok(Reply::Hello(Hello {
            protocol: VERSION,
            identity: self.backend.identity()?,
            devices: self.backend.devices(),
            tries: self.backend.tries().iter().map(|&op| op.into()).collect(),
        }))
    }

    fn load(&mut self, load: &Load) -> Result<Reply> {
        self.model = None;
        let start = self.clock.now();
        let threads = self.set_threads(load.threads)?;
        let mut checkpoint = Checkpoint::open(&load.model)?;
        let precision = load.placement.precision;
        if precision.weights() == WeightFormat::Native && !checkpoint.is_quantised() {
            return Err(Error::Unsupported(format!(
                "{precision} takes weights as a quantised checkpoint stores them, and these are plain numbers: \
                 write {}",
                precision.compute()
            )));
        }
        load.placement.device.check_model(checkpoint.config())?;
        if let Some(scheme) = load.dequantised {
            checkpoint = checkpoint.dequantised(scheme)?;
        }
        let mut model = self.backend.load(&checkpoint, &load.placement)?;
        model.synchronize()?;
        let (reads, kernels, storage) = (model.reads(), model.kernels(), model.storage());
        self.model = Some(model);
        Ok(Reply::Loaded(Loaded {
            load_ns: self.clock.now().since(start),
            threads,
            reads,
            kernels,
            storage,
        }))
    }

    fn set_threads(&mut self, threads: Option<usize>) -> Result<usize> {
        at_most("threads", threads.unwrap_or(0), THREADS).map_err(Error::Invalid)?;
        self.backend.set_threads(threads)
    }

    fn score(&mut self, request: &Score) -> Result<Reply> {
        let model = loaded(&mut self.model)?;
        let text = Forced {
            context: request.context.as_ref(),
            tokens: &request.tokens,
            prompt: request.prompt,
            chunk: request.chunk,
            mode: request.mode,
        };
        let vocab_size = model.config().vocab_size;
        let mut file = LogitsWriter::create(&request.logits, vocab_size)?;
        score(model, &text, |logits| file.push(&logits))?;
        file.finish()?;
        Ok(Reply::Scored)
    }

    fn train(&mut self, request: &Train) -> Result<Reply> {
        let model = loaded(&mut self.model)?;
        train(model, &self.clock, request).map(Reply::Trained)
    }

    fn probe(&mut self, request: &Probe) -> Result<Reply> {
        let Probe {
            shape,
            copies,
            least_ns,
            ..
        } = *request;
        if copies == 0 || shape.elements() == 0 || shape.rows == 0 {
            return Err(Error::Invalid("an empty product can't be timed".into()));
        }
        check::shape(&shape)
            .and_then(|()| at_most("copies of a product", copies, MOST_COPIES))
            .map_err(Error::Invalid)?;
        if least_ns > Nanos::from(LONGEST_PROBE) {
            let most = LONGEST_PROBE.as_secs();
            return Err(Error::Invalid(format!("a probe takes {most} s at most")));
        }
        let precision = request.placement.precision;
        if precision.is_quantised() {
            return Err(Error::Unsupported(format!(
                "a product alone is timed in a plain dtype: write {} in place of {precision}",
                precision.compute()
            )));
        }
        self.set_threads(request.threads)?;
        let mut product = self.backend.product(shape, copies, &request.placement)?;
        let product_ns = fastest(&mut product, &self.clock, copies, least_ns)?;
        Ok(Reply::Probed { product_ns })
    }

    fn attempt(&mut self, request: &Try) -> Result<Reply> {
        request.program.check()?;
        let Try {
            device,
            dtype,
            program,
        } = request;
        let output = self.backend.attempt(program, *dtype, device)?;
        Ok(Reply::Tried { output })
    }

    fn converse(&mut self, request: &Converse) -> Result<Reply> {
        let model = loaded(&mut self.model)?;
        let conversation = Conversation {
            prompts: &request.prompts,
            new_tokens: request.new_tokens,
            chunk: request.chunk,
            mode: request.mode,
        };
        let mut logits = logits_file(model, request.logits.as_deref())?;
        let conversed =
            converse(
                model,
                &self.clock,
                &conversation,
                |model, output| match &mut logits {
                    Some(file) => file.push(&model.logits(output)?),
                    None => Ok(()),
                },
            )?;
        logits.map(LogitsWriter::finish).transpose()?;
        Ok(Reply::Conversed(conversed))
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
        let mut logits = logits_file(model, request.logits.as_deref())?;
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
            form: generation.form,
            device_peak_bytes: model.device_peak_bytes(),
        }))
    }
}

/// The file for logits of `model`, where a request names one.
fn logits_file(model: &impl Model, path: Option<&Path>) -> Result<Option<LogitsWriter>> {
    let vocab_size = model.config().vocab_size;
    path.map(|path| LogitsWriter::create(path, vocab_size))
        .transpose()
}

fn loaded<M>(model: &mut Option<M>) -> Result<&mut M> {
    let missing = || Error::Invalid("load a model before giving it work".into());
    model.as_mut().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        let reply = session().answer(r#"{"type": "hello", "protocol": 3}"#);
        let Reply::Hello(hello) = reply else {
            panic!("{reply:?}")
        };
        assert_eq!(hello.identity.backend, "mock");
        assert_eq!(hello.devices[0].device, crate::Device::cpu());
    }

    #[test]
    fn another_protocol_is_refused() {
        for other in [2, 9] {
            let hello = format!(r#"{{"type": "hello", "protocol": {other}}}"#);
            let (kind, message) = error(session().answer(&hello));
            assert_eq!(kind, ErrorKind::Invalid);
            let says = format!("speaks protocol 3, the runner {other}: build both");
            assert!(message.contains(&says), "{message}");
        }
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

    #[test]
    fn a_probe_that_no_machine_can_do_is_refused() {
        let probe = |rows: u64, copies: u64, least_ns: u64| {
            let line = serde_json::json!({"type": "probe", "placement": {"device": "cpu", "precision": "f32"},
                "shape": {"rows": rows, "in_features": 8, "out_features": 8}, "copies": copies,
                "least_ns": least_ns});
            session().answer(&line.to_string())
        };
        assert!(matches!(probe(1, 1, 10), Reply::Probed { .. }));
        for (rows, copies, least_ns) in [(1 << 60, 1, 1), (1, 1 << 60, 1), (1, 1, u64::MAX)] {
            assert_eq!(error(probe(rows, copies, least_ns)).0, ErrorKind::Invalid);
        }
    }

    #[test]
    fn a_program_is_run_and_one_whose_inputs_do_not_fit_is_refused() {
        let attempt = |shape: &str| {
            let x = format!(r#"{{"shape": {shape}, "numbers": {{"float": [1.5, -2.0]}}}}"#);
            session().answer(&format!(
                r#"{{"type": "try", "device": "cpu", "dtype": "f32", "program": {{"op": "cumsum", "x": {x}}}}}"#
            ))
        };
        let output = crate::trial::Tensor::floats([1, 2], vec![1.5, -0.5]);
        assert_eq!(attempt("[1, 2]"), Reply::Tried { output });
        let (kind, message) = error(attempt("[3, 2]"));
        assert_eq!(kind, ErrorKind::Invalid);
        assert!(message.contains("x is of shape [3, 2]"), "{message}");
    }

    #[test]
    fn products_alone_are_never_of_codes() {
        for precision in ["q8-f32", "native-bf16"] {
            let line = serde_json::json!({"type": "probe", "copies": 1, "least_ns": 1,
                "placement": {"device": "cpu", "precision": precision},
                "shape": {"rows": 1, "in_features": 8, "out_features": 8}});
            let (kind, message) = error(session().answer(&line.to_string()));
            assert_eq!(kind, ErrorKind::Unsupported);
            assert!(
                message.contains(&format!("in place of {precision}")),
                "{message}"
            );
        }
    }

    #[test]
    fn a_frameworks_backtrace_stays_out_of_the_reply() {
        let said = "no kernel image\nException raised from f at g.cpp:1 (most recent call first):\n\
            frame #0: main";
        let (kind, message) = error(Reply::from(Error::framework(said)));
        assert_eq!(
            (kind, message.as_str()),
            (ErrorKind::Failed, "no kernel image")
        );
    }

    /// A session that has a model: ids below its vocabulary are generated from.
    fn loaded_session() -> Session<MockBackend, VirtualClock> {
        let mut session = session();
        let model = crate::mock::MockModel::new(Script::default(), session.clock.clone());
        session.model = Some(model);
        session
    }

    /// Numbers at which arithmetic goes wrong.
    fn hostile_number() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("0".to_owned()),
            Just("-1".to_owned()),
            Just("1e400".to_owned()),
            Just("0.5".to_owned()),
            Just(u64::MAX.to_string()),
            Just("99999999999999999999999".to_owned()),
            (0_u64..1 << 40).prop_map(|number| number.to_string()),
            (0_u64..40).prop_map(|number| number.to_string()),
        ]
    }

    /// A request of the right form with any numbers in it. Nothing in it names a file that would be
    /// written.
    fn request() -> impl Strategy<Value = String> {
        let row = prop::collection::vec(0_u32..300_000, 0..12);
        let rows = prop::collection::vec(row, 0..3);
        let numbers = prop::collection::vec(hostile_number(), 6);
        // The mock's clock stands nearly still: no probe for hours.
        let least_ns = prop_oneof![Just(0), Just(10), Just(u64::MAX)];
        (0..6, rows, numbers, least_ns).prop_map(|(kind, rows, n, least_ns)| match kind {
            0 => format!(r#"{{"type": "hello", "protocol": {}}}"#, n[0]),
            1 => format!(
                r#"{{"type": "load", "model": "/nowhere", "placement": {{"device": "cpu", "precision": "f32"}}, "threads": {}}}"#,
                n[0]
            ),
            2 => format!(
                r#"{{"type": "generate", "prompt": {rows:?}, "context": {rows:?}, "new_tokens": {}, "chunk": {}, "mode": "pipelined", "stop": [{}]}}"#,
                n[0], n[1], n[2]
            ),
            4 => format!(
                r#"{{"type": "converse", "prompts": {rows:?}, "new_tokens": {}, "chunk": {}, "mode": "pipelined"}}"#,
                n[0], n[1]
            ),
            3 => format!(
                r#"{{"type": "try", "device": "cpu", "dtype": "f32", "program": {{"op": "top-k", "k": {}, "x": {{"shape": [{}, {}], "numbers": {{"float": [{}, null]}}}}}}}}"#,
                n[0], n[1], n[2], n[3]
            ),
            _ => format!(
                r#"{{"type": "probe", "placement": {{"device": "cpu", "precision": "f32"}}, "shape": {{"rows": {}, "in_features": {}, "out_features": {}}}, "copies": {}, "least_ns": {least_ns}}}"#,
                n[0], n[1], n[2], n[3]
            ),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::fuzz_cases()))]

        #[test]
        fn any_line_is_answered(line in prop_oneof![any::<String>(), request()], cut in 0_usize..400) {
            let mut session = loaded_session();
            session.answer(&line);
            let cut = (0..=cut.min(line.len())).rev().find(|&at| line.is_char_boundary(at));
            session.answer(&line[..cut.unwrap_or(0)]);
            let reply = session.answer(r#"{"type": "hello", "protocol": 3}"#);
            prop_assert!(matches!(reply, Reply::Hello(_)), "it isn't ready for the next request");
        }
    }
}
