//! libtorch's inference mode: no views to watch over, no versions to count.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

use tch::{TchError, Tensor};

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

/// The same numbers, of the same memory, as a tensor that autograd may keep for a backward pass: one that was made in
/// inference mode it mayn't. To be called outside of the mode.
pub(crate) fn kept(tensor: &Tensor) -> Result<Tensor, TchError> {
    if !tensor.is_inference() {
        return Ok(tensor.shallow_clone());
    }
    let mut kept = Tensor::f_empty([0], (tensor.kind(), tensor.device()))?;
    kept.f_set_source_tensor_(tensor)
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
    use tch::Kind;

    use super::*;

    #[test]
    fn tensors_are_made_in_the_mode_and_not_behind_it() {
        let made = || Tensor::zeros([2], (Kind::Float, tch::Device::Cpu)).is_inference();
        assert!(inference(made));
        assert!(inference(|| inference(made) && made()), "it nests");
        assert!(!made());
    }

    #[test]
    fn autograd_keeps_what_was_made_in_the_mode_without_a_copy() {
        let place = (Kind::Float, tch::Device::Cpu);
        let weight = inference(|| Tensor::arange(6, place).view([2, 3]).narrow(0, 1, 1));
        let kept = kept(&weight).unwrap();
        assert_eq!(kept.data_ptr(), weight.data_ptr());
        assert_eq!(kept.size(), [1, 3]);
        let x = Tensor::ones([1, 3], place).set_requires_grad(true);
        let y = x.linear::<&Tensor>(&kept, None).sum(Kind::Float);
        let gradients = Tensor::run_backward(&[y], &[x], false, false);
        assert_eq!(
            Vec::<f32>::try_from(gradients[0].view([-1])).unwrap(),
            [3.0, 4.0, 5.0]
        );
    }
}
