//! What a worker answers of its requests to a server, taken with care.

use mlxbench_core::protocol::Served;
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
