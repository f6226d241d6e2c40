//! Blocks of a GGUF file as they are, for models that were imported from one.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Result};
use mlxbench_core::gemma::{Generation, gguf_name};
use mlxbench_core::{Checkpoint, Error};

use crate::quantised::Quantised;

/// A GGUF file that is being read. The import has checked it.
#[derive(Debug)]
pub(crate) struct Gguf {
    path: PathBuf,
    file: RefCell<BufReader<File>>,
    content: Content,
    generation: Generation,
}

impl Gguf {
    /// The file that the model of `checkpoint` was imported from.
    ///
    /// # Errors
    /// When there is none, it isn't there any more, or its matrices have other shapes than the model's.
    pub(crate) fn open(checkpoint: &Checkpoint) -> mlxbench_core::Result<Self> {
        let path = checkpoint.gguf_file().ok_or_else(|| {
            Error::Unsupported(
                "candle takes the blocks of GGUF files as they are, and this model comes from none: write \
                 f32 or bf16, or name gguf:FILE"
                    .into(),
            )
        })?;
        let file = File::open(path).map_err(|error| {
            let message =
                format!("the model was imported from it, and its blocks are asked for: {error}");
            Error::model(path, message)
        })?;
        let mut file = BufReader::new(file);
        let content = Content::read(&mut file);
        let content = content.map_err(|error| Error::model(path, error.to_string()))?;
        let generation = checkpoint.config().generation;
        let gguf = Self {
            path: path.to_owned(),
            file: RefCell::new(file),
            content,
            generation,
        };
        gguf.check(checkpoint)?;
        Ok(gguf)
    }

    /// Checks that the file has every matrix, in its shape and in blocks.
    fn check(&self, checkpoint: &Checkpoint) -> mlxbench_core::Result<()> {
        for spec in checkpoint.config().tensors() {
            let name = gguf_name(&spec.name, self.generation);
            let wrong = match self.content.tensor_infos.get(&name) {
                _ if spec.columns().is_none() => continue,
                None => {
                    "isn't in it: is it a part of a split file, or another model by now?".to_owned()
                }
                Some(info) if info.shape.dims() != spec.shape => format!(
                    "has shape {:?}, not {:?}: is it another model by now?",
                    info.shape.dims(),
                    spec.shape
                ),
                // Nothing would be rounded to 8 bits, and CUDA has no such product.
                Some(info) if info.ggml_dtype.block_size() == 1 => format!(
                    "is plain {:?}, and candle multiplies by blocks here: write f32, bf16 or f16",
                    info.ggml_dtype
                ),
                Some(_) => continue,
            };
            return Err(Error::model(&self.path, format!("tensor `{name}` {wrong}")));
        }
        Ok(())
    }

    /// The rows of all matrices called `names`, on `device`: below one another where they are of one type, else
    /// apart, as in files such as Q4_K_M.
    pub(crate) fn matrices(
        &self,
        names: &[impl AsRef<str>],
        columns: usize,
        device: &Device,
    ) -> Result<Vec<Quantised>> {
        let mut parts: Vec<(GgmlDType, Vec<u8>)> = Vec::new();
        for name in names {
            let name = gguf_name(name.as_ref(), self.generation);
            let file = &mut *self.file.borrow_mut();
            let tensor = self.content.tensor(file, &name, &Device::Cpu)?;
            let blocks = tensor.data()?;
            match parts.last_mut() {
                Some((kind, bytes)) if *kind == tensor.dtype() => bytes.extend_from_slice(&blocks),
                _ => parts.push((tensor.dtype(), blocks.into_owned())),
            }
        }
        let parts = parts.into_iter().map(|(kind, bytes)| {
            let rows = bytes.len() / kind.type_size() * kind.block_size() / columns;
            let storage = QStorage::from_data(Cow::Owned(bytes), device, kind)?;
            Ok(Quantised::new(
                QTensor::new(storage, (rows, columns))?,
                rows,
            ))
        });
        parts.collect()
    }
}
