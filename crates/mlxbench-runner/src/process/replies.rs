//! What a worker answers, taken with care: any program may be one.

use std::collections::BTreeMap;

use mlxbench_core::generate::Mode;
use mlxbench_core::limits::{self, BYTES, THREADS};
use mlxbench_core::protocol::{
    ErrorKind, Generate, Generated, Hello, Loaded, Reply, Request, VERSION,
};
use mlxbench_core::results::FailureKind;
use mlxbench_core::text::{printable, quotable};
use mlxbench_core::{Nanos, TokenId};

use super::WorkerError;

/// Bytes of a reply that holds no tokens at most.
pub(super) const SHORT: usize = 1 << 20;
/// Bytes of a request to a server at most, without the times of its text.
const SERVED: usize = 1 << 13;
/// Bytes of a token that a server names.
const NAMED: usize = 1 << 10;
/// Pieces of text that a token comes in at most.
const MOST_CHUNKS: usize = 4;
/// What to do with a worker that isn't ours.
const UPDATE: &str = "change the worker as crates/mlxbench-core/PROTOCOL.md tells";
/// Characters of an f32 that is written as JSON, with a comma and a space.
const REAL: usize = 32;
/// Gradients of a step at most: those of some thousand layers.
const MOST_GRADIENTS: usize = 1 << 14;
/// Characters of rubbish that are quoted.
const QUOTED: usize = 200;

/// Bytes of the longest line that answers `request`.
pub(super) fn longest(request: &Request) -> usize {
    // The digits of the largest numbers, each with a comma and a space.
    let (token, time) = (
        TokenId::MAX.to_string().len() + 2,
        u64::MAX.to_string().len() + 2,
    );
    let (steps, step) = match request {
        Request::Generate(generate) => (
            generate.new_tokens,
            generate.prompt.batch().saturating_mul(token) + time,
        ),
        Request::Converse(converse) => (
            converse.prompts.len(),
            // A turn's counts take less than a line of 256.
            converse.new_tokens.saturating_mul(token + time) + 256,
        ),
        Request::Train(train) => (
            train.batches.len(),
            match train.gradients {
                true => time + REAL + MOST_GRADIENTS * REAL,
                false => time + REAL,
            },
        ),
        // Each with the words of a server that failed.
        Request::Serve(serve) => (
            serve.requests,
            SERVED + serve.new_tokens.saturating_mul(MOST_CHUNKS * time),
        ),
        Request::Logprobs(asked) => (
            asked.new_tokens,
            (asked.likeliest + 1).saturating_mul(NAMED),
        ),
        _ => return SHORT,
    };
    steps.saturating_mul(step).saturating_add(SHORT)
}

/// The reply that a line is.
///
/// # Errors
/// What it says in place of an answer, or that it is none.
pub(super) fn parse(line: &str) -> Result<Reply, WorkerError> {
    match serde_json::from_str(line) {
        Ok(Reply::Error { kind, message }) => {
            let failure = match kind {
                ErrorKind::Unsupported => FailureKind::Unsupported,
                ErrorKind::Invalid | ErrorKind::Failed => FailureKind::Failed,
            };
            Err(WorkerError {
                is_invalid: kind == ErrorKind::Invalid,
                ..WorkerError::new(failure, quotable(&message))
            })
        }
        Ok(reply) => Ok(reply),
        Err(_) => Err(match foreign_hello(line) {
            Some(protocol) => other_protocol(protocol),
            None => {
                let printed = shorten(line.trim_end());
                wrong(format!(
                    "the worker printed {printed:?} where a reply was due"
                ))
            }
        }),
    }
}

/// The protocol of an introduction that is of another one, and so may have another form.
fn foreign_hello(line: &str) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let protocol = value.get("protocol")?.as_u64()?;
    (value.get("type")? == "hello" && protocol != u64::from(VERSION)).then_some(protocol)
}

/// A worker that speaks another protocol.
pub(super) fn other_protocol(protocol: u64) -> WorkerError {
    wrong(format!(
        "the worker speaks protocol {protocol}, mlxbench {VERSION}: build both from one checkout, or \
         {UPDATE}"
    ))
}

/// A worker that refused to introduce itself.
pub(super) fn refusal(error: WorkerError) -> WorkerError {
    match error.is_invalid {
        true => WorkerError {
            message: format!(
                "{} (mlxbench speaks protocol {VERSION}: if the worker is of another, {UPDATE})",
                error.message
            ),
            ..error
        },
        false => error,
    }
}

/// A line that came before anything was asked.
pub(super) fn unasked(line: &str) -> WorkerError {
    let printed = shorten(line.trim_end());
    wrong(format!(
        "the worker printed {printed:?} before anything was asked"
    ))
}

/// A worker's introduction with names that can be shown.
pub(super) fn introduction(mut hello: Hello) -> Hello {
    let identity = &mut hello.identity;
    for name in [
        &mut identity.backend,
        &mut identity.framework,
        &mut identity.version,
    ] {
        clean(name);
    }
    identity.libraries = names(std::mem::take(&mut identity.libraries));
    for device in &mut hello.devices {
        device.description.iter_mut().for_each(clean);
        let reasons = device
            .precisions
            .iter_mut()
            .filter_map(|d| d.unsupported.as_mut());
        reasons.for_each(|reason| *reason = quotable(reason));
    }
    hello
}

/// A line of text that can be shown.
pub(super) fn clean(text: &mut String) {
    *text = shorten(&printable(text).replace('\n', " "));
}

/// Names of things and of what they are, fit to be shown.
fn names(names: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let names = names.into_iter().map(|(mut name, mut what)| {
        clean(&mut name);
        clean(&mut what);
        (name, what)
    });
    names.collect()
}

/// A model that was loaded in a time, on a number of threads that can be.
///
/// # Errors
/// When they can't.
pub(super) fn loaded(loaded: Loaded) -> Result<Loaded, WorkerError> {
    time(loaded.load_ns)?;
    limits::at_most("threads of the worker", loaded.threads, THREADS).map_err(wrong)?;
    if loaded.threads == 0 {
        return Err(wrong("the worker says that it runs on 0 threads"));
    }
    Ok(Loaded {
        kernels: names(loaded.kernels),
        ..loaded
    })
}

/// As many tokens and times as belong together: `rows` rows of `at_most` tokens, or fewer where the
/// generation may end by itself.
///
/// # Errors
/// When they don't add up.
pub(super) fn generated(generated: Generated, asked: &Asked) -> Result<Generated, WorkerError> {
    let &Asked {
        rows,
        at_most,
        exact,
        mode,
        vocab_size,
    } = asked;
    let count = generated.token_ns.len();
    let whole = generated.tokens.len() == rows
        && generated.tokens.iter().all(|row| row.len() == count)
        && generated.token_ns.is_sorted()
        && match exact {
            true => count == at_most,
            false => (1..=at_most).contains(&count),
        };
    if !whole {
        return Err(wrong(format!(
            "asked for {at_most} tokens in {rows} rows, the worker answered with {count} times and {} \
             rows, or with times that run backwards",
            generated.tokens.len()
        )));
    }
    let mut ids = generated.tokens.iter().flatten();
    if let Some(id) = ids.find(|&&id| id as usize >= vocab_size) {
        return Err(wrong(format!(
            "the worker answered with token {id} of a model that has {vocab_size}"
        )));
    }
    if (mode, generated.form) == (Mode::Synchronous, Mode::Pipelined) {
        return Err(wrong(
            "asked to read each token first, the worker handed over steps ahead",
        ));
    }
    time(generated.token_ns.last().copied().unwrap_or_default())?;
    match generated.device_peak_bytes {
        Some(bytes @ BYTES..) => Err(wrong(format!("the worker says that it held {bytes} bytes"))),
        _ => Ok(generated),
    }
}

/// What a generation should give.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    rows: usize,
    at_most: usize,
    /// Whether it may not end earlier.
    exact: bool,
    mode: Mode,
    vocab_size: usize,
}

impl Asked {
    pub(super) fn new(generate: &Generate, vocab_size: usize) -> Self {
        Self {
            vocab_size,
            rows: generate.prompt.batch(),
            at_most: generate.new_tokens,
            exact: generate.stop.is_empty(),
            mode: generate.mode,
        }
    }
}

/// A time that can be.
///
/// # Errors
/// When nobody waits that long.
pub(super) fn time(time: Nanos) -> Result<Nanos, WorkerError> {
    match time <= Nanos::from(limits::TIME) {
        true => Ok(time),
        false => Err(wrong(format!("the worker says that it took {} ns", time.0))),
    }
}

/// An answer to another question.
pub(super) fn unexpected(reply: &Reply) -> WorkerError {
    let name = match reply {
        Reply::Hello(_) => "hello",
        Reply::Loaded(_) => "loaded",
        Reply::Generated(_) => "generated",
        Reply::Conversed(_) => "conversed",
        Reply::Scored => "scored",
        Reply::Trained(_) => "trained",
        Reply::Served(_) => "served",
        Reply::Probed { .. } => "probed",
        Reply::Tried { .. } => "tried",
        Reply::Logprobs(_) => "logprobs",
        Reply::Error { .. } => "error",
    };
    wrong(format!("the worker answered `{name}` out of turn"))
}

pub(super) fn wrong(message: impl Into<String>) -> WorkerError {
    WorkerError::new(FailureKind::Protocol, message)
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::TokenBatch;
    use mlxbench_core::backend::Reads;
    use proptest::prelude::*;

    use super::*;

    fn asks(rows: usize, new_tokens: usize) -> Generate {
        Generate {
            context: None,
            prompt: TokenBatch::new(&vec![vec![2]; rows]).unwrap(),
            new_tokens,
            chunk: 1,
            mode: Mode::Pipelined,
            stop: vec![],
            logits: None,
        }
    }

    #[test]
    fn the_longest_answer_of_a_generation_is_not_too_long() {
        for (rows, new_tokens) in [(1, 1), (3, 1000), (16, 100_000)] {
            let row = vec![TokenId::MAX; new_tokens];
            let reply = Reply::Generated(Generated {
                tokens: vec![row; rows],
                token_ns: vec![Nanos(u64::MAX); new_tokens],
                finite: true,
                form: Mode::Pipelined,
                device_peak_bytes: Some(u64::MAX),
            });
            let spaced = serde_json::to_string(&reply).unwrap().replace(',', ", ");
            let longest = longest(&Request::Generate(asks(rows, new_tokens)));
            assert!(spaced.len() <= longest, "{} > {longest}", spaced.len());
        }
        longest(&Request::Generate(asks(1, usize::MAX)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let answer = |ns: u64, bytes: Option<u64>| {
            let answer = Generated {
                tokens: vec![vec![1]],
                token_ns: vec![Nanos(ns)],
                finite: true,
                form: Mode::Pipelined,
                device_peak_bytes: bytes,
            };
            generated(answer, &Asked::new(&asks(1, 1), 64))
        };
        assert!(answer(5, Some(7)).is_ok());
        for wrong in [answer(u64::MAX, None), answer(5, Some(u64::MAX))] {
            assert_eq!(wrong.unwrap_err().kind, Some(FailureKind::Protocol));
        }
        let threads = usize::MAX;
        let impossible = Loaded {
            load_ns: Nanos(1),
            threads,
            reads: Reads::Immediate,
            kernels: [("attention\u{7}".to_owned(), "fl\nash".to_owned())].into(),
            storage: None,
        };
        assert!(loaded(impossible.clone()).is_err());
        let possible = Loaded {
            threads: 1,
            ..impossible
        };
        let kernels = loaded(possible).unwrap().kernels;
        assert_eq!(
            kernels.into_iter().next().unwrap(),
            (r"attention\u0007".to_owned(), "fl ash".to_owned())
        );
    }

    #[test]
    fn steps_ahead_that_nobody_asked_for_are_refused() {
        let answer = |asked, form| {
            let answer = Generated {
                tokens: vec![vec![1]],
                token_ns: vec![Nanos(5)],
                finite: true,
                form,
                device_peak_bytes: None,
            };
            let asks = Generate {
                mode: asked,
                ..asks(1, 1)
            };
            generated(answer, &Asked::new(&asks, 64))
        };
        let (pipelined, synchronous) = (Mode::Pipelined, Mode::Synchronous);
        assert!(answer(pipelined, pipelined).is_ok());
        assert!(answer(pipelined, synchronous).is_ok());
        assert!(answer(synchronous, synchronous).is_ok());
        let error = answer(synchronous, pipelined).unwrap_err();
        assert_eq!(error.kind, Some(FailureKind::Protocol));
    }

    #[test]
    fn names_and_reasons_of_a_worker_can_be_shown() {
        let line = r#"{"type": "hello", "protocol": 3,
            "identity": {"backend": "x\u001b[2J", "framework": "a\nb", "version": "1\r",
                         "libraries": {"\u0007": "2"}},
            "devices": [{"device": "cpu", "description": "\u009b",
                         "precisions": [{"precision": "f32", "unsupported": "no\nframe #0: main\u001b"}]}]}"#;
        let Ok(Reply::Hello(hello)) = parse(line) else {
            panic!("no hello")
        };
        let hello = introduction(hello);
        let shown = format!("{hello:?}");
        assert!(!shown.contains("frame #0"), "{shown}");
        let identity = hello.identity;
        assert_eq!(identity.backend, r"x\u001b[2J");
        assert_eq!(
            (identity.framework, identity.version),
            ("a b".into(), r"1\u000d".into())
        );
        assert_eq!(hello.devices[0].description.as_deref(), Some(r"\u009b"));
    }

    /// Lines that look like replies, and others.
    fn line() -> impl Strategy<Value = String> {
        let number = prop_oneof![
            any::<u64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| n.to_string()),
            Just("null".to_owned()),
            Just("[[1]]".to_owned()),
            Just("\"\\u0000\"".to_owned()),
        ];
        let kind = prop::sample::select(vec![
            "hello",
            "loaded",
            "generated",
            "scored",
            "probed",
            "error",
            "what",
        ]);
        let key = prop::sample::select(vec![
            "protocol",
            "load_ns",
            "threads",
            "tokens",
            "token_ns",
            "finite",
            "product_ns",
            "kind",
            "message",
            "devices",
            "identity",
        ]);
        let fields = prop::collection::vec((key, number), 0..6);
        let reply = (kind, fields).prop_map(|(kind, fields)| {
            let fields = fields
                .iter()
                .map(|(key, value)| format!(", \"{key}\": {value}"));
            format!("{{\"type\": \"{kind}\"{}}}", fields.collect::<String>())
        });
        prop_oneof![any::<String>(), reply]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::fuzz_cases()))]

        #[test]
        fn any_line_is_a_reply_or_a_failure(line in line()) {
            match parse(&line) {
                Ok(Reply::Hello(hello)) => drop(introduction(hello)),
                Ok(Reply::Loaded(answer)) => drop(loaded(answer)),
                Ok(Reply::Generated(answer)) => drop(generated(answer, &Asked::new(&asks(1, 1), 64))),
                Ok(Reply::Probed { product_ns }) => drop(time(product_ns)),
                Ok(other) => drop(unexpected(&other)),
                Err(error) => {
                    let acts = error.message.contains('\u{1b}');
                    prop_assert!(!acts, "it reaches the terminal as it is");
                }
            }
        }
    }
}
