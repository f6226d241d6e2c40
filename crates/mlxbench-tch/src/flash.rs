//! libtorch's flash attention below `scaled_dot_product_attention`: see `flash.cpp`. It exists on CUDA, in
//! 16 bits, for heads of up to 256; elsewhere libtorch throws.

use std::ffi::{c_int, c_void};
use std::ptr;

use tch::{TchError, Tensor};

unsafe extern "C" {
    fn mlxbench_torch_flash(
        queries: *const c_void,
        keys: *const c_void,
        values: *const c_void,
        scale: f64,
        window: i64,
        mixed: *mut *mut c_void,
    ) -> c_int;
    fn mlxbench_torch_flash_lengths(
        queries: *const c_void,
        keys: *const c_void,
        values: *const c_void,
        query_starts: *const c_void,
        starts: *const c_void,
        counts: *const c_void,
        most: i64,
        scale: f64,
        mixed: *mut *mut c_void,
    ) -> c_int;
}

/// Attention of the last of the positions to all: each query sees the keys before it, `window` of them with
/// its own where there is one. Queries, of shape `[batch, heads, tokens, head_dim]`, keys and values, of
/// shape `[batch, kv_heads, entries, head_dim]`, to the queries' shape.
pub(crate) fn causal(
    queries: &Tensor,
    [keys, values]: [&Tensor; 2],
    window: Option<usize>,
    scale: f64,
) -> Result<Tensor, TchError> {
    let (queries, keys, values) = (
        queries.f_transpose(1, 2)?,
        keys.f_transpose(1, 2)?,
        values.f_transpose(1, 2)?,
    );
    let mut mixed = ptr::null_mut();
    // SAFETY: the tensors are alive, and the shim writes a new one.
    let done = unsafe {
        mlxbench_torch_flash(
            queries.as_ptr().cast(),
            keys.as_ptr().cast(),
            values.as_ptr().cast(),
            scale,
            window.unwrap_or(0) as i64,
            &mut mixed,
        )
    };
    taken(done, mixed)?.f_transpose(1, 2)
}

/// Where sequences lie in a buffer, on the device, i32.
#[derive(Debug)]
pub(crate) struct Lengths {
    /// 0, 1, 2 and so on, of shape `[sequences + 1]`.
    pub(crate) query_starts: Tensor,
    /// The first entry that each reads, of shape `[sequences + 1]`.
    pub(crate) starts: Tensor,
    /// How many each reads, of shape `[sequences]`.
    pub(crate) counts: Tensor,
    /// The largest count that there may be.
    pub(crate) most: i64,
}

/// Attention of one query of each sequence, `[sequences, heads, head_dim]`, to its part of `keys` and
/// `values`, `[entries, kv_heads, head_dim]`. Keeps the queries' shape.
pub(crate) fn lengths(
    queries: &Tensor,
    [keys, values]: [&Tensor; 2],
    lengths: &Lengths,
    scale: f64,
) -> Result<Tensor, TchError> {
    let mut mixed = ptr::null_mut();
    // SAFETY: the tensors are alive, and the shim writes a new one.
    let done = unsafe {
        mlxbench_torch_flash_lengths(
            queries.as_ptr().cast(),
            keys.as_ptr().cast(),
            values.as_ptr().cast(),
            lengths.query_starts.as_ptr().cast(),
            lengths.starts.as_ptr().cast(),
            lengths.counts.as_ptr().cast(),
            lengths.most,
            scale,
            &mut mixed,
        )
    };
    taken(done, mixed)
}

fn taken(done: c_int, mixed: *mut c_void) -> Result<Tensor, TchError> {
    match done {
        // SAFETY: made by the shim with C++'s `new`, as tch makes its own, and nobody else has it.
        0 => Ok(unsafe { Tensor::from_ptr(mixed.cast()) }),
        _ => Err(TchError::Torch(
            "libtorch has no flash attention here".into(),
        )),
    }
}
