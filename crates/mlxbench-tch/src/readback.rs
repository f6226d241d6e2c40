//! Tokens on their way to the host. A copy on the stream of the steps would wait for every step that
//! is queued there; this one waits for the step that made the tokens.

use std::ffi::{c_int, c_void};
use std::ptr;

use tch::{TchError, Tensor};

unsafe extern "C" {
    fn mlxbench_torch_readback_start(tokens: *const c_void, readback: *mut *mut c_void) -> c_int;
    fn mlxbench_torch_readback_wait(readback: *const c_void, ids: *mut i64, count: usize) -> c_int;
    fn mlxbench_torch_readback_end(readback: *mut c_void);
}

/// A copy of token ids that was handed to the device behind the step that makes them.
#[derive(Debug)]
pub(crate) struct Readback {
    /// The shim's, alive until it is dropped.
    copy: *mut c_void,
    rows: usize,
}

impl Readback {
    /// Starts to copy `tokens`, of shape `[batch]`, i64.
    pub(crate) fn start(tokens: &Tensor) -> Result<Self, TchError> {
        let mut copy = ptr::null_mut();
        // SAFETY: the tensor is alive, and the shim keeps a reference of its own to it.
        let started = unsafe { mlxbench_torch_readback_start(tokens.as_ptr().cast(), &mut copy) };
        match started {
            0 => Ok(Self {
                copy,
                rows: tokens.numel(),
            }),
            _ => Err(failed("start to copy tokens")),
        }
    }

    /// Waits until the ids are on the host.
    pub(crate) fn wait(&self) -> Result<Vec<i64>, TchError> {
        let mut ids = vec![0; self.rows];
        // SAFETY: the copy is alive, and the shim writes as many ids as there is room for.
        let done = unsafe { mlxbench_torch_readback_wait(self.copy, ids.as_mut_ptr(), ids.len()) };
        match done {
            0 => Ok(ids),
            _ => Err(failed("wait for a copy of tokens")),
        }
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        // SAFETY: made by the shim, and nobody else has it.
        unsafe { mlxbench_torch_readback_end(self.copy) }
    }
}

fn failed(what: &str) -> TchError {
    TchError::Torch(format!("libtorch can't {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_arrive_as_they_were_though_their_tensor_is_gone() {
        let mut tokens = Tensor::from_slice(&[7_i64, 262_143]);
        let readback = Readback::start(&tokens).unwrap();
        let _ = tokens.fill_(0);
        drop(tokens);
        assert_eq!(readback.wait().unwrap(), [7, 262_143]);
        assert_eq!(
            readback.wait().unwrap(),
            [7, 262_143],
            "it can be read again"
        );
    }

    #[test]
    fn what_is_no_row_of_ids_is_refused() {
        assert!(Readback::start(&Tensor::from_slice(&[1.0_f32])).is_err());
        assert!(Readback::start(&Tensor::from_slice(&[1_i64, 2]).view([1, 2])).is_err());
    }
}
