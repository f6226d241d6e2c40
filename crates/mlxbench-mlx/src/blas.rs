//! The BLAS under MLX's CPU backend: which one is loaded and how many threads it uses.
//!
//! MLX's wheels for Linux carry a reference BLAS, which is an order of magnitude slower than
//! OpenBLAS. Apple's MLX uses Accelerate. MLX calls whichever `cblas_sgemm` the loader finds first.

use std::env;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mlxbench_core::text::tell;
use mlxbench_core::{Error, Result};

/// The function whose library tells the BLAS.
const PRODUCT: &CStr = c"cblas_sgemm";
/// OpenBLAS as the loader of Linux knows it.
const OPENBLAS: &CStr = c"libopenblas.so.0";
/// Libraries that the loader takes before all others.
const PRELOAD: &str = "LD_PRELOAD";

/// Starts this program anew with OpenBLAS in place of MLX's own BLAS, where OpenBLAS is installed
/// under its Linux name. Call it first in `main`: it doesn't return when it starts anew.
pub(crate) fn prefer_openblas() {
    let Some(library) = installed_openblas() else {
        return;
    };
    let preload = env::var_os(PRELOAD).unwrap_or_default();
    let preloaded = env::split_paths(&preload).any(|path| path == library);
    if preloaded || symbol(c"openblas_get_config").is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else {
        return;
    };
    let libraries = match preload.is_empty() {
        true => library.into_os_string(),
        false => [library.as_os_str(), &preload].join(OsStr::new(":")),
    };
    let error = Command::new(program)
        .args(env::args_os().skip(1))
        .env(PRELOAD, libraries)
        .exec();
    tell(format_args!(
        "MLX keeps its own BLAS: the worker can't be restarted: {error}"
    ));
}

/// The BLAS in effect, as it describes itself, or else by its library's name.
pub(crate) fn in_effect() -> String {
    let config = symbol(c"openblas_get_config").map(|function| {
        // SAFETY: OpenBLAS documents this signature; the text is static.
        unsafe {
            let config: extern "C" fn() -> *const c_char = std::mem::transmute(function);
            CStr::from_ptr(config()).to_string_lossy().trim().to_owned()
        }
    });
    let library = symbol(PRODUCT).and_then(library_of).unwrap_or_default();
    // A library inside a framework goes by the framework's name.
    let mut folders = library.iter().map(Path::new);
    let framework = folders.find(|folder| folder.extension() == Some(OsStr::new("framework")));
    let name = framework.map(Path::as_os_str).or(library.file_name());
    let named = || name.map(|name| name.to_string_lossy().into_owned());
    config.or_else(named).unwrap_or_else(|| "none".into())
}

/// Sets the number of threads where the BLAS can change it, and returns the number in effect: one
/// where the BLAS doesn't tell, since MLX itself works on one thread a stream.
///
/// # Errors
/// [`Error::Invalid`] when `threads` is zero or no BLAS can count so many.
pub(crate) fn set_threads(threads: Option<usize>) -> Result<usize> {
    let setter = symbol(c"openblas_set_num_threads");
    let getter = symbol(c"openblas_get_num_threads");
    let (Some(setter), Some(getter)) = (setter, getter) else {
        return Ok(1);
    };
    // SAFETY: OpenBLAS documents these signatures.
    let (set, get) = unsafe {
        (
            std::mem::transmute::<*mut c_void, extern "C" fn(c_int)>(setter),
            std::mem::transmute::<*mut c_void, extern "C" fn() -> c_int>(getter),
        )
    };
    if let Some(threads) = threads {
        let threads = c_int::try_from(threads).ok().filter(|&threads| threads > 0);
        set(threads.ok_or_else(|| {
            Error::Invalid("the BLAS needs between 1 and 2^31 - 1 threads".into())
        })?);
    }
    Ok(get().max(1) as usize)
}

/// The file of OpenBLAS, where the loader finds one.
fn installed_openblas() -> Option<PathBuf> {
    // SAFETY: OpenBLAS may be loaded at any time; it stays loaded.
    let handle = unsafe { libc::dlopen(OPENBLAS.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    if handle.is_null() {
        return None;
    }
    // SAFETY: the handle is open and the name ends in nul.
    let product = unsafe { libc::dlsym(handle, PRODUCT.as_ptr()) };
    (!product.is_null()).then_some(product).and_then(library_of)
}

/// The function called `name` that the loader gives to every library.
fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends in nul.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

/// The file of the library that holds `address`.
fn library_of(address: *mut c_void) -> Option<PathBuf> {
    // SAFETY: zeros are a valid Dl_info, and dladdr fills it or fails.
    let info = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        (libc::dladdr(address, &mut info) != 0 && !info.dli_fname.is_null()).then_some(info)
    };
    // SAFETY: dladdr's name lives as long as the library, which isn't unloaded.
    let name = info.map(|info| unsafe { CStr::from_ptr(info.dli_fname) });
    name.map(|name| PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}
