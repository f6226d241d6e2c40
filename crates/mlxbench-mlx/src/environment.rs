//! What has to stand in the environment before MLX does anything.

use std::env;

use crate::blas;

/// Prepares the process for MLX. Call it first in `main`, before any thread is started: it starts the
/// program anew where OpenBLAS takes the place of MLX's own BLAS.
pub fn prepare() {
    // MLX multiplies f32 in TF32 where the hardware can, unless this says otherwise when it first
    // multiplies. Results say f32, so it goes before what a user has set.
    // SAFETY: `main` has started no other thread.
    unsafe { env::set_var("MLX_ENABLE_TF32", "0") };
    blas::prefer_openblas();
}
