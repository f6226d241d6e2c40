//! What llama.cpp has to say. It writes hundreds of lines while it loads, and tells why it failed nowhere
//! else: the last complaint is kept for the error that its caller sees, all else is dropped.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;

use llama_cpp_sys_2::{GGML_LOG_LEVEL_ERROR, GGML_LOG_LEVEL_WARN, ggml_log_level, llama_log_set};
use mlxbench_core::Error;

/// The last warning and the last error.
static COMPLAINTS: Mutex<[Option<String>; 2]> = Mutex::new([None, None]);

/// Takes llama.cpp's log.
pub(crate) fn take_over() {
    // SAFETY: the function lives as long as the program and needs no data.
    unsafe { llama_log_set(Some(receive), std::ptr::null_mut()) };
}

unsafe extern "C" fn receive(level: ggml_log_level, text: *const c_char, _data: *mut c_void) {
    let weight = match level {
        GGML_LOG_LEVEL_WARN => 0,
        GGML_LOG_LEVEL_ERROR => 1,
        _ => return,
    };
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a string that ends with a zero.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    if let Ok(mut complaints) = COMPLAINTS.lock() {
        complaints[weight] = Some(text.trim().to_owned());
    }
}

/// Forgets what was said before.
pub(crate) fn forget() {
    if let Ok(mut complaints) = COMPLAINTS.lock() {
        *complaints = [None, None];
    }
}

/// llama.cpp's failure in its own words, those of its log before those of its bindings.
pub(crate) fn failure(bindings: impl std::fmt::Display) -> Error {
    let complaints = COMPLAINTS.lock();
    let said = complaints.ok().and_then(|complaints| {
        let [warning, error] = &*complaints;
        error.clone().or_else(|| warning.clone())
    });
    match said {
        Some(said) => Error::framework(format!("{said} ({bindings})")),
        None => Error::framework(bindings),
    }
}
