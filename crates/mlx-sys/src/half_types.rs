//! The 16-bit float types of mlx-c's `half.h`, in the form that bindgen gives them on Arm, and
//! their accessors: MLX reads an element's bytes as the type that it is asked for, so the functions
//! for `uint16` do the work.

use crate::{mlx_array, mlx_array_data_uint16, mlx_array_item_uint16};

/// IEEE 754 binary16, as its bits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct float16_t(pub u16);

/// bfloat16, as its bits.
pub type bfloat16_t = u16;

/// Reads the value of a binary16 scalar.
///
/// # Safety
/// As for [`mlx_array_item_uint16`].
pub unsafe fn mlx_array_item_float16(res: *mut float16_t, arr: mlx_array) -> i32 {
    // SAFETY: the caller's, and `float16_t` is a transparent u16.
    unsafe { mlx_array_item_uint16(res.cast(), arr) }
}

/// Reads the value of a bfloat16 scalar.
///
/// # Safety
/// As for [`mlx_array_item_uint16`].
pub unsafe fn mlx_array_item_bfloat16(res: *mut bfloat16_t, arr: mlx_array) -> i32 {
    // SAFETY: the caller's.
    unsafe { mlx_array_item_uint16(res, arr) }
}

/// The elements of a binary16 array.
///
/// # Safety
/// As for [`mlx_array_data_uint16`].
pub unsafe fn mlx_array_data_float16(arr: mlx_array) -> *const float16_t {
    // SAFETY: the caller's, and `float16_t` is a transparent u16.
    unsafe { mlx_array_data_uint16(arr).cast() }
}

/// The elements of a bfloat16 array.
///
/// # Safety
/// As for [`mlx_array_data_uint16`].
pub unsafe fn mlx_array_data_bfloat16(arr: mlx_array) -> *const bfloat16_t {
    // SAFETY: the caller's.
    unsafe { mlx_array_data_uint16(arr) }
}
