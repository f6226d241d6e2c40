//! Checkpoints in the Hugging Face layout: `config.json` beside one or more safetensors files.
//!
//! Files are mapped, not read, and every tensor's name, shape and dtype is checked against the
//! configuration before anything is loaded. [`Tensor`]s give their pages back when dropped, so a
//! model that is loaded tensor by tensor never holds its weights twice.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, UncheckedAdvice};
use safetensors::SafeTensors;
use safetensors::tensor::TensorInfo;

use crate::gemma::{GemmaConfig, TensorSpec};
use crate::{Dtype, Error, Result};

/// The name of a checkpoint's only file.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The name of the file that says which shard holds which tensor.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// How much of a tensor is converted before its pages are given back: a multiple of every element.
const RELEASE_BYTES: usize = 16 << 20;

/// Where checkpoints keep the text model: the prefix of its tensors and that of `lm_head`. Text
/// models, then multimodal ones as transformers 4 and as transformers 5 write them.
const PREFIXES: [(&str, &str); 3] = [
    ("model.", ""),
    ("language_model.model.", "language_model."),
    ("model.language_model.", ""),
];

/// A model folder, checked and mapped.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: GemmaConfig,
    files: Vec<MappedFile>,
    /// Canonical tensor name to its place.
    tensors: HashMap<String, Place>,
}

#[derive(Debug)]
struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

#[derive(Debug, Clone)]
struct Place {
    file: usize,
    dtype: Dtype,
    /// Bytes of the file.
    range: std::ops::Range<usize>,
}

impl Checkpoint {
    /// Opens and checks the model in `folder`.
    ///
    /// # Errors
    /// When `config.json` or the weights are missing, unreadable or not a supported Gemma; when a
    /// file is truncated or its header lies; when a tensor is missing or has another shape or
    /// dtype than the configuration asks for. The message names the file and the tensor.
    pub fn open(folder: &Path) -> Result<Self> {
        let config = read_config(folder)?;
        let mut files = Vec::new();
        let mut found = HashMap::new();
        for path in weight_files(folder)? {
            let file = File::open(&path).map_err(|error| Error::io(&path, error))?;
            // SAFETY: the usual bargain of mapped files: nobody truncates them while we run.
            let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::io(&path, error))?;
            for (name, info, start) in read_header(&path, &map)? {
                let range = start + info.data_offsets.0..start + info.data_offsets.1;
                found.insert(name, (files.len(), info, range));
            }
            files.push(MappedFile { path, map });
        }

        let specs = config.tensors();
        let prefix = PREFIXES
            .into_iter()
            .find(|prefix| found.contains_key(&stored_name(&specs[0].name, *prefix)))
            .unwrap_or(PREFIXES[0]);
        let mut tensors = HashMap::new();
        let mut missing = Vec::new();
        for spec in specs {
            match found.get(&stored_name(&spec.name, prefix)) {
                Some((file, info, range)) => {
                    let dtype = check_tensor(&files[*file].path, &spec, info)?;
                    tensors.insert(
                        spec.name,
                        Place {
                            file: *file,
                            dtype,
                            range: range.clone(),
                        },
                    );
                }
                None => missing.push(spec.name),
            }
        }
        if let Some(first) = missing.first() {
            let others = match missing.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            return Err(Error::model(
                folder,
                format!("tensor `{first}`{others} is missing: are all of the model's files here?"),
            ));
        }
        Ok(Self {
            folder: folder.to_owned(),
            config,
            files,
            tensors,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model's configuration.
    pub fn config(&self) -> &GemmaConfig {
        &self.config
    }

    /// The dtypes that the tensors are stored in.
    pub fn dtypes(&self) -> BTreeSet<Dtype> {
        self.tensors.values().map(|place| place.dtype).collect()
    }

    /// Bytes of the model's tensors as stored.
    pub fn stored_bytes(&self) -> u64 {
        self.tensors
            .values()
            .map(|place| place.range.len() as u64)
            .sum()
    }

    /// The tensor called `name` (of [`GemmaConfig::tensors`]), still in its file.
    ///
    /// # Panics
    /// When the configuration has no such tensor.
    pub fn tensor(&self, name: &str) -> Tensor<'_> {
        let place = self
            .tensors
            .get(name)
            .unwrap_or_else(|| panic!("no tensor `{name}`"));
        let file = &self.files[place.file];
        Tensor {
            map: &file.map,
            range: place.range.clone(),
            dtype: place.dtype,
        }
    }
}

/// The `config.json` of `folder`.
///
/// # Errors
/// When the folder or the file is missing, or the file is no supported Gemma's.
pub fn read_config(folder: &Path) -> Result<GemmaConfig> {
    if !folder.is_dir() {
        return Err(Error::model(
            folder,
            "no such folder: name a model folder, hf:owner/name or synthetic:PRESET",
        ));
    }
    let path = folder.join("config.json");
    if !path.is_file() {
        return Err(Error::model(
            folder,
            "no config.json in this folder: a model in the Hugging Face layout has one beside its \
             *.safetensors",
        ));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, error))?;
    let mut config =
        GemmaConfig::from_json(&text).map_err(|error| Error::model(&path, error.to_string()))?;
    add_generation_eos(folder, &mut config);
    Ok(config)
}

/// Instruction-tuned models name their end of turn in `generation_config.json` only.
fn add_generation_eos(folder: &Path, config: &mut GemmaConfig) {
    let text = std::fs::read_to_string(folder.join("generation_config.json")).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let ids = match &value["eos_token_id"] {
        serde_json::Value::Array(ids) => ids.clone(),
        id => vec![id.clone()],
    };
    let ids = ids.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok());
    config.eos_token_ids.extend(ids);
    config.eos_token_ids.sort_unstable();
    config.eos_token_ids.dedup();
}

/// The safetensors files of `folder`: the shards of its index, or its one file.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let index = folder.join(INDEX_FILE);
    if index.is_file() {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: HashMap<String, String>,
        }
        let text = std::fs::read_to_string(&index).map_err(|error| Error::io(&index, error))?;
        let parsed: Index = serde_json::from_str(&text)
            .map_err(|error| Error::model(&index, format!("not a safetensors index: {error}")))?;
        let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
        let missing = names.iter().find(|name| !folder.join(name).is_file());
        if let Some(name) = missing {
            return Err(Error::model(
                folder,
                format!("shard {name} is missing, though {INDEX_FILE} lists it"),
            ));
        }
        return Ok(names.into_iter().map(|name| folder.join(name)).collect());
    }
    let single = folder.join(SINGLE_FILE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    Err(Error::model(
        folder,
        format!("no weights: neither {SINGLE_FILE} nor {INDEX_FILE} is here"),
    ))
}

/// The tensors of a mapped file, each with the offset of the file's data section.
fn read_header(path: &Path, map: &Mmap) -> Result<Vec<(String, TensorInfo, usize)>> {
    let (length, metadata) = SafeTensors::read_metadata(map).map_err(|error| {
        Error::model(
            path,
            format!("not a whole safetensors file ({error}): is it truncated? fetch it again"),
        )
    })?;
    let start = length + size_of::<u64>();
    let tensors = metadata.tensors().into_iter();
    Ok(tensors
        .map(|(name, info)| (name, info.clone(), start))
        .collect())
}

fn stored_name(name: &str, (model, head): (&str, &str)) -> String {
    match name.strip_prefix("model.") {
        Some(rest) => format!("{model}{rest}"),
        None => format!("{head}{name}"),
    }
}

fn check_tensor(path: &Path, spec: &TensorSpec, info: &TensorInfo) -> Result<Dtype> {
    if info.shape != spec.shape {
        return Err(Error::model(
            path,
            format!(
                "tensor `{}` has shape {:?}, config.json asks for {:?}",
                spec.name, info.shape, spec.shape
            ),
        ));
    }
    match info.dtype {
        safetensors::Dtype::F32 => Ok(Dtype::F32),
        safetensors::Dtype::BF16 => Ok(Dtype::Bf16),
        safetensors::Dtype::F16 => Ok(Dtype::F16),
        other => Err(Error::model(
            path,
            format!(
                "tensor `{}` is stored as {other:?}: F32, F16 and BF16 are supported",
                spec.name
            ),
        )),
    }
}

/// A tensor in its mapped file. Dropping it tells the system that its pages may go.
#[derive(Debug)]
pub struct Tensor<'a> {
    map: &'a Mmap,
    range: std::ops::Range<usize>,
    dtype: Dtype,
}

impl Tensor<'_> {
    /// The dtype it is stored in.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its elements as stored, little-endian, row after row.
    pub fn bytes(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }

    /// [`Tensor::bytes`] in blocks of whole elements. The pages of a block go when the next one is
    /// asked for, so that a large tensor that is copied block by block isn't held twice.
    pub fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.range.clone().step_by(RELEASE_BYTES).map(|start| {
            self.release(self.range.start.max(start.saturating_sub(RELEASE_BYTES))..start);
            &self.map[start..self.range.end.min(start + RELEASE_BYTES)]
        })
    }

    /// Its elements converted to `T`, through f32 where the dtypes differ. Pages of the file go as
    /// soon as they are converted, so that a large tensor isn't held twice.
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        match self.dtype {
            Dtype::F32 => self.convert(f32::from_le_bytes),
            Dtype::Bf16 => self.convert(|b| half::bf16::from_le_bytes(b).to_f32()),
            Dtype::F16 => self.convert(|b| half::f16::from_le_bytes(b).to_f32()),
        }
    }

    fn convert<T: Element, const N: usize>(&self, f32_of: fn([u8; N]) -> f32) -> Vec<T> {
        let mut elements = Vec::with_capacity(self.range.len() / N);
        for block in self.blocks() {
            let chunks = block.as_chunks().0.iter();
            elements.extend(chunks.map(|chunk| T::from_f32(f32_of(*chunk))));
        }
        elements
    }

    /// Tells the system that the pages of these bytes of the file may go.
    fn release(&self, bytes: std::ops::Range<usize>) {
        // SAFETY: the map is a read-only view of a file, so dropped pages come back unchanged.
        // Failure costs memory and nothing else.
        let _ = unsafe {
            self.map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len())
        };
    }
}

impl Drop for Tensor<'_> {
    fn drop(&mut self) {
        self.release(self.range.clone());
    }
}

/// A number that weights convert to.
pub trait Element: Copy {
    /// Its name.
    const DTYPE: Dtype;

    /// The nearest number to `value`, ties to even. Exact for what came from this type.
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;

    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Element for half::bf16 {
    const DTYPE: Dtype = Dtype::Bf16;

    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Element for half::f16 {
    const DTYPE: Dtype = Dtype::F16;

    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }
}
