//! How a GGUF file keeps its weights, from its list of tensors.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2::{
    ggml_is_quantized, gguf_context, gguf_find_key, gguf_free, gguf_get_n_tensors,
    gguf_get_tensor_name, gguf_get_tensor_size, gguf_get_tensor_type, gguf_init_from_file,
    gguf_init_params,
};
use mlxbench_core::gemma::{Activations, Storage};
use mlxbench_core::{Dtype, Error, Result};

use crate::devices::Place;
use crate::log;

/// The embedding table, and the output projection where it is one of its own.
const TABLES: [&str; 2] = ["token_embd.weight", "output.weight"];

/// Reads how `file` keeps its weights, for keys and values in `kv_cache`.
///
/// # Errors
/// When it is no GGUF file, and [`Error::Unsupported`] for a part of a split one and when no matrix in it is
/// quantised: then nothing is `native` about its weights.
pub(crate) fn of(file: &Path, kv_cache: Dtype, place: Place) -> Result<Storage> {
    let header = Header::open(file)?;
    if header.has(c"split.count") {
        return Err(Error::Unsupported(format!(
            "{}: files in parts aren't implemented here: join them (llama-gguf-split --merge)",
            file.display()
        )));
    }
    let mut storage = Storage::empty(kv_cache, activations(place));
    let mut quantised = false;
    for tensor in header.tensors() {
        quantised |= tensor.quantised;
        let kind = match tensor.name.as_str() {
            name if TABLES.contains(&name) => &mut storage.tables_bytes,
            name if name.starts_with("blk.") && !name.ends_with("norm.weight") => {
                &mut storage.layers_bytes
            }
            _ => &mut storage.others_bytes,
        };
        *kind = kind.saturating_add(tensor.bytes);
    }
    match quantised {
        true => Ok(storage),
        false => Err(Error::Unsupported(format!(
            "{}: no matrix in it is quantised, and llama.cpp would round activations to the dtype of its \
             weights: name a quantised file",
            file.display()
        ))),
    }
}

/// By its sources ggml rounds what it multiplies by blocks to 8 bits on the CPU (`ggml_vec_dot_q4_0_q8_0` and the
/// like) and, in `mmvq.cu` and `mmq.cu`, on CUDA; the kernels of Metal dequantise the weights instead.
fn activations(place: Place) -> Activations {
    match place {
        Place::Cpu | Place::Gpu { int8: true, .. } => Activations::Int8,
        Place::Gpu { int8: false, .. } => Activations::Kept,
    }
}

struct Entry {
    name: String,
    bytes: u64,
    quantised: bool,
}

/// A GGUF file's header.
struct Header(NonNull<gguf_context>);

impl Header {
    fn open(file: &Path) -> Result<Self> {
        let path = CString::new(file.as_os_str().as_encoded_bytes())
            .map_err(|_| Error::model(file, "its name has a zero byte"))?;
        let params = gguf_init_params {
            no_alloc: true,
            ctx: std::ptr::null_mut(),
        };
        log::forget();
        // SAFETY: the path ends with a zero, and no context for tensors is asked for.
        let header = unsafe { gguf_init_from_file(path.as_ptr(), params) };
        let header = NonNull::new(header);
        let header = header.ok_or_else(|| log::failure("llama.cpp can't read the file's header"));
        header.map(Self)
    }

    fn has(&self, key: &CStr) -> bool {
        // SAFETY: the header is live, and the key ends with a zero.
        unsafe { gguf_find_key(self.0.as_ptr(), key.as_ptr()) >= 0 }
    }

    fn tensors(&self) -> impl Iterator<Item = Entry> {
        let header = self.0.as_ptr();
        // SAFETY: `header` is a live header, and indices lie below its count.
        (0..unsafe { gguf_get_n_tensors(header) }).map(move |index| unsafe {
            let name = CStr::from_ptr(gguf_get_tensor_name(header, index));
            Entry {
                name: name.to_string_lossy().into_owned(),
                bytes: gguf_get_tensor_size(header, index) as u64,
                quantised: ggml_is_quantized(gguf_get_tensor_type(header, index)),
            }
        })
    }
}

impl Drop for Header {
    fn drop(&mut self) {
        // SAFETY: it was made by `gguf_init_from_file` and is freed once.
        unsafe { gguf_free(self.0.as_ptr()) };
    }
}
