//! What a worker answers to a training, taken with care.

use mlxbench_core::limits::BYTES;
use mlxbench_core::protocol::Trained;

use super::WorkerError;
use super::replies::{time, wrong};

/// A time and a loss for each of `steps`, and as many gradients in each where they were asked for.
///
/// # Errors
/// When they don't add up.
pub(super) fn checked(
    trained: Trained,
    steps: usize,
    gradients: bool,
) -> Result<Trained, WorkerError> {
    let norms = &trained.gradient_norms;
    let whole = trained.step_ns.len() == steps
        && trained.losses.len() == steps
        && trained.step_ns.is_sorted()
        && norms.len() == if gradients { steps } else { 0 }
        && norms.iter().all(|step| step.len() == norms[0].len());
    if !whole {
        return Err(wrong(format!(
            "asked for {steps} steps of training, the worker answered with {} times, {} losses and gradients of {} \
             steps, or with times that run backwards",
            trained.step_ns.len(),
            trained.losses.len(),
            norms.len()
        )));
    }
    time(trained.step_ns.last().copied().unwrap_or_default())?;
    match trained.device_peak_bytes {
        Some(bytes @ BYTES..) => Err(wrong(format!("the worker says that it held {bytes} bytes"))),
        _ => Ok(trained),
    }
}
