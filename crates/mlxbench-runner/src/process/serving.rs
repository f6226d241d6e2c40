//! What a worker answers of its requests to a server, taken with care.

use mlxbench_core::protocol::{Logprobs, Served};
use mlxbench_core::results::check::served as checked_request;
use mlxbench_core::results::{FailureKind, ServedRequest};
use mlxbench_core::text::quotable;

use super::WorkerError;
use super::replies::{clean, wrong};

/// As many requests as were asked for, of which some were answered.
///
/// # Errors
/// When they don't add up, or all of them failed.
pub(super) fn checked(served: Served, count: usize) -> Result<Vec<ServedRequest>, WorkerError> {
    let mut requests = served.requests;
    if requests.len() != count {
        return Err(wrong(format!(
            "asked for {count} requests to a server, the worker answered with {}",
            requests.len()
        )));
    }
    for request in &mut requests {
        checked_request(request).map_err(wrong)?;
        request.finish_reason.iter_mut().for_each(clean);
        request.error = request.error.take().map(|error| quotable(&error));
    }
    let mut errors = requests.iter().map(|request| request.error.as_deref());
    match errors.clone().all(|error| error.is_some()) {
        true => Err(WorkerError::new(
            FailureKind::Failed,
            format!(
                "all {count} requests failed; the first one: {}",
                errors.next().flatten().unwrap_or_default()
            ),
        )),
        false => Ok(requests),
    }
}

/// What a server told of some of the `most` tokens that it was asked for.
///
/// # Errors
/// When it told of none or of more, or a number is no logarithm of a probability.
pub(super) fn told(told: Logprobs, most: usize) -> Result<Logprobs, WorkerError> {
    let count = told.positions.len();
    if !(1..=most).contains(&count) {
        return Err(wrong(format!(
            "asked for the log-probabilities of {most} tokens, the worker answered with those of {count}"
        )));
    }
    for position in &told.positions {
        for token in position.likeliest.iter().chain([&position.chosen]) {
            if !token.logprob.is_finite() || token.logprob > 0.0 {
                return Err(wrong(format!(
                    "the worker gave {} as the logarithm of a probability",
                    token.logprob
                )));
            }
        }
    }
    Ok(told)
}
