//! What libtorch can tell and tch doesn't ask: see `shim.cpp`.

use std::ffi::{CStr, c_char, c_int, c_void};

use mlxbench_core::{Error, Result};
use tch::{TchError, Tensor};

unsafe extern "C" {
    /// libtorch's own, for those who load it: its version in the four highest bytes, as major,
    /// minor, patch, tweak. Source: `torch/csrc/stable/c/shim.h`.
    fn aoti_torch_abi_version() -> u64;
    fn mlxbench_torch_config(text: *mut c_char, size: usize) -> c_int;
    fn mlxbench_torch_copy(target: *const c_void, source: *const c_void) -> c_int;
    fn mlxbench_torch_synchronize(index: i64) -> c_int;
    fn mlxbench_torch_reset_peak(index: i64) -> c_int;
    fn mlxbench_torch_peak(index: i64, bytes: *mut u64) -> c_int;
}

/// The version that the loaded library states.
pub(crate) fn version() -> String {
    // SAFETY: takes nothing, returns a number.
    let [major, minor, patch, ..] = unsafe { aoti_torch_abi_version() }.to_be_bytes();
    format!("{major}.{minor}.{patch}")
}

/// The libraries and flags that libtorch was built with, one a line.
pub(crate) fn config() -> Option<String> {
    let mut text = vec![0; 1 << 14];
    // SAFETY: the shim writes at most as many bytes, with a nul at their end.
    let told = unsafe { mlxbench_torch_config(text.as_mut_ptr().cast(), text.len()) } == 0;
    let text = CStr::from_bytes_until_nul(&text).ok()?;
    told.then(|| text.to_string_lossy().into_owned())
}

/// Copies `source` to `target` behind the work that is queued, and waits for nothing. The source may be a
/// few bytes on the host, which are taken at once.
pub(crate) fn copy(target: &Tensor, source: &Tensor) -> std::result::Result<(), TchError> {
    let (target, source) = (target.as_ptr().cast(), source.as_ptr().cast());
    // SAFETY: both tensors are alive.
    match unsafe { mlxbench_torch_copy(target, source) } {
        0 => Ok(()),
        _ => Err(TchError::Torch("libtorch can't copy a tensor".into())),
    }
}

/// Waits for all work on the accelerator with this index.
pub(crate) fn synchronize(index: usize) -> Result<()> {
    // SAFETY: the shim catches what libtorch throws.
    match unsafe { mlxbench_torch_synchronize(index as i64) } {
        0 => Ok(()),
        _ => Err(Error::Framework(
            "libtorch can't wait for its device".into(),
        )),
    }
}

/// Starts the count of [`peak_bytes`] anew.
pub(crate) fn reset_peak(index: usize) {
    // Where libtorch keeps no count, there is none to reset.
    // SAFETY: the shim catches what libtorch throws.
    let _ = unsafe { mlxbench_torch_reset_peak(index as i64) };
}

/// The most bytes that tensors have held on the accelerator, where libtorch keeps count.
pub(crate) fn peak_bytes(index: usize) -> Option<u64> {
    let mut bytes = 0;
    // SAFETY: the shim catches what libtorch throws, and writes one number.
    let told = unsafe { mlxbench_torch_peak(index as i64, &mut bytes) } == 0;
    told.then_some(bytes)
}
