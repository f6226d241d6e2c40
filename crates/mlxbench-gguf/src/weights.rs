//! Names, norms and values: GGUF's tensors to the Hugging Face layout's.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, ensure};
use mlxbench_core::Dtype;
use mlxbench_core::gemma::{Generation, TensorSpec, gguf_name};
use mlxbench_models::Error;

use crate::dequantise::dequantise;
use crate::header::StoredTensor;
use crate::types::{Format, TensorType};

/// How many values are in memory as f32 at a time: whole blocks of every format.
const CHUNK: usize = 1 << 20;
/// So many names are shown where there may be thousands.
const SHOWN: usize = 5;

/// The tensors of a model, dequantised one at a time.
#[derive(Debug)]
pub struct Weights<'m, 'a> {
    tensors: &'m BTreeMap<&'a str, StoredTensor<'a>>,
    generation: Generation,
    dtype: Dtype,
}

impl<'m, 'a> Weights<'m, 'a> {
    /// These tensors of a Gemma of `generation`, to be written in `dtype`.
    pub fn new(
        tensors: &'m BTreeMap<&'a str, StoredTensor<'a>>,
        generation: Generation,
        dtype: Dtype,
    ) -> Self {
        Self {
            tensors,
            generation,
            dtype,
        }
    }

    /// Checks that every tensor of `specs` is there, in its shape and in a type that can be read,
    /// and that there is no other, before anything is written.
    ///
    /// # Errors
    /// A message that names the tensor.
    pub fn check(&self, specs: &[TensorSpec]) -> anyhow::Result<()> {
        let mut expected = BTreeSet::new();
        for spec in specs {
            let name = gguf_name(&spec.name, self.generation);
            match self.tensors.get(name.as_str()) {
                None => bail!("tensor `{name}` is missing"),
                Some(tensor) if tensor.shape != spec.shape => bail!(
                    "tensor `{name}` has shape {:?}, the metadata ask for {:?}",
                    tensor.shape,
                    spec.shape
                ),
                Some(_) => expected.insert(name),
            };
        }
        // They may change the work: a bias, factors of RoPE, a vision tower's embeddings.
        let others = self
            .tensors
            .keys()
            .filter(|name| !expected.contains(**name));
        let others: Vec<String> = others.map(|name| format!("`{name}`")).collect();
        ensure!(
            others.is_empty(),
            "{} of the file's tensors are none of a {:?} text model's: {}",
            others.len(),
            self.generation,
            first_of(&others)
        );
        let unread = self.tensors.iter();
        let unread: Vec<_> = unread.filter(|(_, tensor)| tensor.data.is_none()).collect();
        if let [(name, tensor), ..] = unread.as_slice() {
            bail!(
                "tensor `{name}` is stored as {}, which can't be read ({} of {} tensors are in \
                 such types): take a file of this model in {}",
                tensor.kind.name(),
                unread.len(),
                self.tensors.len(),
                TensorType::readable()
            );
        }
        Ok(())
    }

    /// The bytes of `spec`'s tensor in the dtype asked for.
    ///
    /// # Errors
    /// When a value isn't finite in that dtype, or candle can't dequantise the tensor.
    ///
    /// # Panics
    /// When [`Weights::check`] doesn't hold for `spec`.
    pub fn tensor(&self, spec: &TensorSpec) -> Result<Vec<u8>, Error> {
        let name = gguf_name(&spec.name, self.generation);
        let failed = |why: &str| Error::Invalid(format!("tensor `{name}`: {why}"));
        let tensor = &self.tensors[name.as_str()];
        let readable = tensor.kind.format().zip(tensor.data);
        let (format, data): (Format, &[u8]) = readable.expect("checked before");
        let blocks = CHUNK / format.block_elements();
        let mut bytes = Vec::with_capacity((spec.elements() * self.dtype.size_bytes()) as usize);
        for chunk in data.chunks(blocks * format.block_bytes()) {
            let values = dequantise(format, chunk);
            let mut values = values.map_err(|error| failed(&error.to_string()))?;
            if spec.is_norm() {
                // GGUF stores the factor 1 + w, Hugging Face w.
                values.iter_mut().for_each(|value| *value -= 1.0);
            }
            if !values.iter().all(|value| value.abs() <= self.largest()) {
                let dtype = self.dtype;
                return Err(failed(&format!(
                    "it has values that aren't finite in {dtype}: is the file whole?"
                )));
            }
            self.append(&values, &mut bytes);
        }
        Ok(bytes)
    }

    fn largest(&self) -> f32 {
        match self.dtype {
            Dtype::F32 => f32::MAX,
            Dtype::Bf16 => half::bf16::MAX.to_f32(),
            Dtype::F16 => half::f16::MAX.to_f32(),
        }
    }

    fn append(&self, values: &[f32], bytes: &mut Vec<u8>) {
        let values = values.iter();
        match self.dtype {
            Dtype::F32 => bytes.extend(values.flat_map(|x| x.to_le_bytes())),
            Dtype::Bf16 => {
                bytes.extend(values.flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()));
            }
            Dtype::F16 => bytes.extend(values.flat_map(|x| half::f16::from_f32(*x).to_le_bytes())),
        }
    }
}

fn first_of(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
