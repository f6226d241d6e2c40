//! What llama.cpp has to say. It writes hundreds of lines while it loads, and tells why it failed nowhere
//! else: the last complaint is kept for the error that its caller sees, all else is dropped.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;

use llama_cpp_sys_2::{
    GGML_LOG_LEVEL_CONT, GGML_LOG_LEVEL_ERROR, GGML_LOG_LEVEL_WARN, ggml_log_level, llama_log_set,
};
use mlxbench_core::Error;

static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Complaints that are kept.
const KEPT: usize = 3;

/// Takes llama.cpp's log.
pub(crate) fn take_over() {
    // SAFETY: the function lives as long as the program and needs no data.
    unsafe { llama_log_set(Some(receive), std::ptr::null_mut()) };
}

unsafe extern "C" fn receive(level: ggml_log_level, text: *const c_char, _data: *mut c_void) {
    if !matches!(level, GGML_LOG_LEVEL_WARN | GGML_LOG_LEVEL_ERROR) || text.is_null() {
        // A line's continuation, of a complaint too, is a detail.
        debug_assert!(level <= GGML_LOG_LEVEL_CONT);
        return;
    }
    // SAFETY: llama.cpp passes a string that ends with a zero.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let Ok(mut complaints) = COMPLAINTS.lock() else {
        return;
    };
    complaints.push(text.trim().to_owned());
    let superfluous = complaints.len().saturating_sub(KEPT);
    complaints.drain(..superfluous);
}

/// Forgets what was said before.
pub(crate) fn forget() {
    if let Ok(mut complaints) = COMPLAINTS.lock() {
        complaints.clear();
    }
}

/// llama.cpp's failure in its own words, those of its log before those of its bindings.
pub(crate) fn failure(bindings: impl std::fmt::Display) -> Error {
    let complaints = COMPLAINTS.lock().map(|complaints| complaints.join("; "));
    match complaints {
        Ok(said) if !said.is_empty() => Error::framework(format!("{said} ({bindings})")),
        _ => Error::framework(bindings),
    }
}
