//! libtorch's inference mode: no views to watch over, no versions to count.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

unsafe extern "C" {
    fn mlxbench_torch_inference_begin(guard: *mut *mut c_void) -> c_int;
    fn mlxbench_torch_inference_end(guard: *mut c_void);
}

/// Runs `work` in inference mode. Everything that makes or writes a model's tensors goes through this:
/// outside, they can't be written.
pub(crate) fn inference<R>(work: impl FnOnce() -> R) -> R {
    let _guard = Guard::begin();
    work()
}

/// The mode is this thread's until it is dropped.
struct Guard {
    mode: *mut c_void,
    of_this_thread: PhantomData<*const ()>,
}

impl Guard {
    fn begin() -> Self {
        let mut mode = ptr::null_mut();
        // SAFETY: the shim writes the guard that it made.
        let begun = unsafe { mlxbench_torch_inference_begin(&mut mode) };
        assert!(begun == 0, "libtorch can't enter its inference mode");
        Self {
            mode,
            of_this_thread: PhantomData,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: made by the shim on this thread, and nobody else has it.
        unsafe { mlxbench_torch_inference_end(self.mode) }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn tensors_are_made_in_the_mode_and_not_behind_it() {
        let made = || Tensor::zeros([2], (Kind::Float, tch::Device::Cpu)).is_inference();
        assert!(inference(made));
        assert!(inference(|| inference(made) && made()), "it nests");
        assert!(!made());
    }
}
