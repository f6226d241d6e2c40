//! Requests, so many at a time: each client sends its next one when its last has ended (closed loop).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mlxbench_core::Nanos;
use mlxbench_core::clock::{Clock, MonotonicClock};
use mlxbench_core::results::ServedRequest;
use ureq::Agent;

use crate::answer::Answer;
use crate::endpoint::Endpoint;
use crate::fault::Fault;

/// What all clients have in common.
pub struct Load<'a> {
    /// Whom they ask.
    pub endpoint: &'a Endpoint,
    /// What for, one a request.
    pub prompts: &'a [String],
    /// Tokens that each asks for at most.
    pub new_tokens: usize,
    /// When all must be over, from the start on.
    pub within: Duration,
}

/// Sends all requests, `concurrency` at a time; what became of each, in the order in which they were sent.
pub fn run(load: &Load<'_>, concurrency: usize) -> Vec<ServedRequest> {
    let (clock, next) = (MonotonicClock::default(), AtomicUsize::new(0));
    let client = || {
        let agent = Endpoint::agent();
        let mut own = Vec::new();
        while let Some(prompt) = load.prompts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (request, fault) = ask(load, &agent, prompt, &clock);
            own.push(request);
            let pause = fault.and_then(|fault| fault.retry_after);
            if let Some(pause) = pause {
                std::thread::sleep(pause.min(left(load, &clock)));
            }
        }
        own
    };
    let mut requests: Vec<ServedRequest> = std::thread::scope(|scope| {
        let count = concurrency.min(load.prompts.len());
        let clients: Vec<_> = (0..count).map(|_| scope.spawn(client)).collect();
        let joined = clients.into_iter().filter_map(|client| client.join().ok());
        joined.flatten().collect()
    });
    requests.sort_by_key(|request| request.start_ns);
    requests
}

/// What is left of the time for all requests.
pub(crate) fn left(load: &Load<'_>, clock: &MonotonicClock) -> Duration {
    load.within
        .saturating_sub(Duration::from_nanos(clock.now().0))
}

/// Sends one request and reads its answer.
pub fn ask(
    load: &Load<'_>,
    agent: &Agent,
    prompt: &str,
    clock: &MonotonicClock,
) -> (ServedRequest, Option<Fault>) {
    let url = load.endpoint.address();
    let (start_ns, left) = (clock.now(), left(load, clock));
    let mut answer = Answer::default();
    let ended = match left.is_zero() {
        true => Err(Fault::unsent(&url)),
        false => load
            .endpoint
            .generate(agent, prompt, load.new_tokens, left)
            .and_then(|body| answer.read(&url, body.into_body().into_reader(), || clock.now())),
    };
    let fault = ended.err();
    (served(start_ns, clock.now(), answer, fault.as_ref()), fault)
}

fn served(start_ns: Nanos, end_ns: Nanos, answer: Answer, fault: Option<&Fault>) -> ServedRequest {
    ServedRequest {
        start_ns,
        first_byte_ns: answer.first_byte_ns,
        chunk_ns: answer.chunk_ns,
        finish_ns: answer.finish_ns,
        end_ns,
        prompt_tokens: answer.prompt_tokens,
        completion_tokens: answer.completion_tokens,
        cached_tokens: answer.cached_tokens,
        finish_reason: answer.finish_reason,
        error: fault.map(|fault| fault.message.clone()),
    }
}
