//! What a safetensors file says of its tensors.

use std::path::Path;

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::TensorInfo;

use crate::{Dtype, Error, Result};

/// The tensors of a mapped file, each with the offset of the file's data section.
pub(super) fn read_header(path: &Path, map: &Mmap) -> Result<Vec<(String, TensorInfo, usize)>> {
    let (length, metadata) = SafeTensors::read_metadata(map).map_err(|error| {
        let message = match map.starts_with(b"version https://git-lfs") {
            true => "a pointer of Git LFS, not the weights: run `git lfs pull`, or fetch it again"
                .to_owned(),
            false => {
                format!("not a whole safetensors file ({error}): is it truncated? fetch it again")
            }
        };
        Error::model(path, message)
    })?;
    let start = length + size_of::<u64>();
    let tensors = metadata.tensors().into_iter();
    Ok(tensors
        .map(|(name, info)| (name, info.clone(), start))
        .collect())
}

/// What a tensor should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Floating-point numbers.
    Numbers,
    /// Packed words of 32 bits.
    Words,
}

/// The dtype of the tensor called `name`, of shape `shape`, once its header's entry is checked. Words count
/// as elements of 4 bytes.
pub(super) fn check_tensor(
    path: &Path,
    name: &str,
    shape: &[usize],
    expected: Expected,
    info: &TensorInfo,
) -> Result<Dtype> {
    let dtype = match (info.dtype, expected) {
        (safetensors::Dtype::U32, Expected::Words) => Dtype::F32,
        (safetensors::Dtype::F32, Expected::Numbers) => Dtype::F32,
        (safetensors::Dtype::BF16, Expected::Numbers) => Dtype::Bf16,
        (safetensors::Dtype::F16, Expected::Numbers) => Dtype::F16,
        (other, Expected::Words) => {
            let message = format!("tensor `{name}` is stored as {other:?}: packed words are U32");
            return Err(Error::model(path, message));
        }
        (other, Expected::Numbers) => {
            let packed = match other {
                safetensors::Dtype::F64 => "",
                _ => ", so the weights are quantised",
            };
            let message = format!(
                "tensor `{name}` is stored as {other:?}{packed}: F32, F16 and BF16 are supported"
            );
            return Err(Error::model(path, message));
        }
    };
    if info.shape != shape {
        let message = format!(
            "tensor `{name}` has shape {:?}, config.json asks for {shape:?}",
            info.shape
        );
        return Err(Error::model(path, message));
    }
    Ok(dtype)
}
