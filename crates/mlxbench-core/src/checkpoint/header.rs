//! What a safetensors file says of its tensors.

use std::path::Path;

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::TensorInfo;

use crate::gemma::TensorSpec;
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

/// The dtype of the tensor `spec`, once its header's entry is checked.
pub(super) fn check_tensor(path: &Path, spec: &TensorSpec, info: &TensorInfo) -> Result<Dtype> {
    let dtype = match info.dtype {
        safetensors::Dtype::F32 => Dtype::F32,
        safetensors::Dtype::BF16 => Dtype::Bf16,
        safetensors::Dtype::F16 => Dtype::F16,
        other => {
            let packed = match other {
                safetensors::Dtype::F64 => "",
                _ => ", so the weights are quantised",
            };
            return Err(Error::model(
                path,
                format!(
                    "tensor `{}` is stored as {other:?}{packed}: F32, F16 and BF16 are supported",
                    spec.name
                ),
            ));
        }
    };
    if info.shape != spec.shape {
        return Err(Error::model(
            path,
            format!(
                "tensor `{}` has shape {:?}, config.json asks for {:?}",
                spec.name, info.shape, spec.shape
            ),
        ));
    }
    Ok(dtype)
}
