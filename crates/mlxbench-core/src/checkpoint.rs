//! Checkpoints in the Hugging Face layout: `config.json` beside one or more safetensors files.
//!
//! Files are mapped, not read, and every tensor's name, shape and dtype is checked against the
//! configuration before anything is loaded. [`Tensor`]s give their pages back when dropped, so a
//! model that is loaded tensor by tensor never holds its weights twice.
//!
//! | module | its subject |
//! |---|---|
//! | `config` | `config.json` of a folder |
//! | `json` | text of small files, and what is wrong with it |
//! | `sets` | which files hold the weights |
//! | `names` | which of their tensors are the model's |
//! | `plain` | whether they are weights that can be read |
//! | `form` | how a tensor is stored |
//! | `packed` | matrices as mlx-lm packs them |
//! | `header` | what a safetensors file says of its tensors |
//! | `head` | which output head counts |
//! | `tensor` | one tensor's elements |
//! | [`zeros`] | what a download leaves behind that was cut short |

mod config;
mod form;
mod head;
mod header;
pub(crate) mod json;
mod names;
mod packed;
mod plain;
mod sets;
mod tensor;
pub mod zeros;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::TensorInfo;

use crate::gemma::{ConfigFile, Fact, GemmaConfig, TensorSpec};
use crate::quantise::Codes;
use crate::{Dtype, Error, Result, Scheme};
use form::{Form, Region};
use header::{Expected, check_tensor, read_header};
use names::{EMBEDDINGS, HEAD, Names, are_whole};
use plain::check_plain;
use tensor::Elements;
use zeros::{Stretch, Zeros};

pub use crate::gemma::hf::mlx::Affine;
pub use crate::gemma::hf::quantised::files_aside;
pub use config::{ADAPTER_CONFIG, GGUF_FILE, read_config, read_config_file};
pub use json::read_text;
pub use packed::Packed;
pub use sets::{INDEX_FILE, NoWeights, SINGLE_FILE, WeightSet, WeightSets, is_shard, weight_sets};
pub use tensor::{Element, Tensor};

/// A model folder, checked and mapped.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    file: ConfigFile,
    weights: Weights,
    /// Canonical tensor name to its place.
    tensors: HashMap<String, Place>,
    /// In whose codes matrices are given back, where they are.
    dequantised: Option<Scheme>,
}

#[derive(Debug, Clone)]
struct Place {
    spec: TensorSpec,
    form: Form,
}

/// Whether files with tensors of these names hold the whole model of `folder`'s `config.json`.
///
/// # Errors
/// As [`read_config_file`].
pub fn is_whole_model(folder: &Path, names: &BTreeSet<&str>) -> Result<bool> {
    let file = read_config_file(folder)?;
    Ok(are_whole(&file, names))
}

/// Checks the names of tensors that are to be fetched to `folder`, whose `config.json` is there.
///
/// # Errors
/// When they show weights in a format that can't be run, or an adapter that isn't merged into its model.
pub fn check_names(folder: &Path, names: &BTreeSet<&str>) -> Result<(), String> {
    let packing = read_config_file(folder).ok().and_then(|file| file.packing);
    check_plain(names, packing.is_some())
}

impl Checkpoint {
    /// Opens and checks the model in `folder`.
    ///
    /// # Errors
    /// When `config.json` or the weights are missing, unreadable or not a supported Gemma; when a
    /// file is truncated or its header lies; when a tensor is missing or has another shape or
    /// dtype than the configuration asks for. The message names the file and the tensor.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut file = read_config_file(folder)?;
        let (weights, names) = Weights::open(folder, &mut file)?;
        let mut tensors = HashMap::new();
        for (spec, stored) in names.all() {
            let place = Place {
                spec: spec.clone(),
                form: weights.form(spec, stored, file.packing.as_ref())?,
            };
            tensors.insert(spec.name.clone(), place);
        }
        weights.check_whole(&names)?;
        let mut checkpoint = Self {
            folder: folder.to_owned(),
            file,
            weights,
            tensors,
            dequantised: None,
        };
        checkpoint.decide_head()?;
        Ok(checkpoint)
    }

    /// Settles which head counts, and lets go of the table that isn't used.
    fn decide_head(&mut self) -> Result<()> {
        let open = |name: &str| self.tensors.get(name).map(|place| self.open_place(place));
        let head = open(HEAD);
        // Without a head they aren't looked at.
        let embeddings = head.as_ref().and_then(|_| open(EMBEDDINGS));
        let decided = head::decide(&self.file.head, embeddings.as_ref(), head.as_ref())
            .map_err(|message| Error::model(&self.folder, message))?;
        drop((embeddings, head));
        self.file.config.tie_word_embeddings = decided.tied;
        decided.fact.replace(&mut self.file.facts);
        self.file.warnings.extend(decided.warning);
        if decided.tied
            && let Some(table) = self.tensors.remove(HEAD)
        {
            self.tensors.entry(EMBEDDINGS.to_owned()).or_insert(table);
        }
        Ok(())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model's configuration: what `config.json` says, but for the output head, where the
    /// weights have the last word.
    pub fn config(&self) -> &GemmaConfig {
        &self.file.config
    }

    /// What was derived from `config.json` and the weights, and from which keys.
    pub fn facts(&self) -> &[Fact] {
        &self.file.facts
    }

    /// The keys of `config.json` that nothing was derived from.
    pub fn unused_keys(&self) -> &[String] {
        &self.file.unused
    }

    /// What a user should know before believing that this is the model that was meant: a sentence
    /// each. Whoever opens a checkpoint for a user shows them, once.
    pub fn warnings(&self) -> &[String] {
        &self.file.warnings
    }

    /// The dtypes that the tensors are stored in; of packed ones, their scales.
    pub fn dtypes(&self) -> BTreeSet<Dtype> {
        let places = self.tensors.values();
        places.flat_map(|place| place.form.dtypes()).collect()
    }

    /// Bytes of the model's tensors as stored.
    pub fn stored_bytes(&self) -> u64 {
        let places = self.tensors.values();
        places.map(|place| place.form.bytes() as u64).sum()
    }

    /// The same model with the weights that `scheme`'s codes stand for in place of those stored: what a
    /// quantised model is held against.
    ///
    /// # Errors
    /// When a weight isn't finite; the message names its tensor.
    pub fn dequantised(mut self, scheme: Scheme) -> Result<Self> {
        let matrices = self.tensors.iter();
        let matrices = matrices.filter(|(_, place)| place.spec.columns().is_some());
        for (name, _) in matrices {
            let stored = self.stored(name);
            let mut weights = stored.widened_blocks().flatten();
            if let Some(wrong) = weights.find(|w| !w.is_finite()) {
                return Err(self.no_codes(name, &format!("a weight is {wrong}")));
            }
        }
        self.dequantised = Some(scheme);
        Ok(self)
    }

    /// The tensor called `name` (of [`GemmaConfig::tensors`]), still in its file; a matrix of
    /// [`Checkpoint::dequantised`], or one that is stored as codes, in f32 and computed as it is read.
    ///
    /// # Panics
    /// When the configuration has no such tensor.
    pub fn tensor(&self, name: &str) -> Tensor<'_> {
        let stored = self.stored(name);
        match (self.dequantised, self.place(name).spec.columns()) {
            (Some(scheme), Some(columns)) => {
                Tensor::dequantised(stored, scheme.of_tensor(name), columns)
            }
            _ => stored,
        }
    }

    /// The codes of the matrix called `name` in a model quantised by `scheme`, in blocks of whole rows.
    ///
    /// # Errors
    /// When a weight isn't finite; the message names the tensor.
    ///
    /// # Panics
    /// When the configuration has no such tensor, and when it is no matrix.
    pub fn codes(&self, name: &str, scheme: Scheme) -> impl Iterator<Item = Result<Codes>> {
        let columns = self.place(name).spec.columns().expect("a matrix");
        let stored = self.stored(name);
        let scheme = scheme.of_tensor(name);
        stored
            .into_codes(scheme, columns)
            .map(move |block| block.map_err(|why| self.no_codes(name, &why)))
    }

    fn no_codes(&self, name: &str, why: &str) -> Error {
        let message = format!("tensor `{name}` can't be quantised: {why}");
        Error::model(&self.folder, message)
    }

    fn stored(&self, name: &str) -> Tensor<'_> {
        self.open_place(self.place(name))
    }

    fn place(&self, name: &str) -> &Place {
        let place = self.tensors.get(name);
        place.unwrap_or_else(|| panic!("no tensor `{name}`"))
    }

    /// How many elements the tensor called `name` has.
    ///
    /// # Panics
    /// When the configuration has no such tensor.
    pub fn elements(&self, name: &str) -> usize {
        self.place(name).spec.elements() as usize
    }

    /// The matrix called `name` as mlx-lm packed it: of experts' `gate_up_proj` two, which are one below the other
    /// for each expert. None where it is stored as numbers.
    ///
    /// # Panics
    /// When the configuration has no such tensor.
    pub fn packed(&self, name: &str) -> Vec<Packed<'_>> {
        let stored = self.place(name).form.stored().iter();
        let packed = stored.filter_map(|form| match form {
            Form::Packed(regions) => Some(self.weights.packed(regions)),
            _ => None,
        });
        packed.collect()
    }

    /// Whether the model is stored quantised: mlx-lm packed a matrix of it, or it comes from a GGUF file.
    pub fn is_quantised(&self) -> bool {
        self.is_packed() || self.gguf_file().is_some()
    }

    /// Whether mlx-lm packed a matrix of the model.
    pub fn is_packed(&self) -> bool {
        let mut stored = self.tensors.values().flat_map(|place| place.form.stored());
        stored.any(|form| matches!(form, Form::Packed(_)))
    }

    /// The GGUF file that the model was imported from.
    pub fn gguf_file(&self) -> Option<&Path> {
        self.file.gguf.as_deref()
    }

    /// What is stored at `place`, packed matrices as the weights that they stand for.
    fn open_place(&self, place: &Place) -> Tensor<'_> {
        self.weights.open_form(&place.form, &place.spec)
    }
}

/// The mapped files of a set of weights.
#[derive(Debug)]
struct Weights {
    files: Vec<MappedFile>,
    /// Stored name to its place.
    found: HashMap<String, Stored>,
}

#[derive(Debug)]
struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

/// A tensor as a file's header states it.
#[derive(Debug)]
struct Stored {
    file: usize,
    info: TensorInfo,
    /// Where the data section of its file begins.
    start: usize,
}

impl Stored {
    /// The tensor in its file. One that isn't `used` may hold anything.
    fn stretch<'a>(&self, name: &'a str, map: &'a Mmap, used: bool) -> Stretch<'a> {
        use safetensors::Dtype::{BF16, F16, F32};
        let (start, end) = self.info.data_offsets;
        let zeros = match self.info.dtype {
            BF16 | F16 if used => Zeros::of(name, &self.info.shape, 2),
            F32 if used => Zeros::of(name, &self.info.shape, 4),
            _ => Zeros::Legal,
        };
        Stretch {
            name,
            bytes: &map[self.start + start..self.start + end],
            start,
            zeros,
        }
    }
}

impl Weights {
    /// The set of weights of `folder` that holds the whole model, and the names of its tensors.
    fn open(folder: &Path, file: &mut ConfigFile) -> Result<(Self, Names)> {
        let sets = of_folder(folder)?;
        let mut weights = Self::map(folder, &sets.first)?;
        let mut warning = sets.warning;
        let names = match (weights.names(file), &sets.other) {
            (Ok(names), _) => names,
            (Err(message), None) => return Err(Error::model(folder, message)),
            (Err(message), Some(other)) => {
                // Not a whole model: then it isn't the set that was meant.
                weights = Self::map(folder, other)?;
                warning = Some(format!(
                    "two sets of weights are here: {SINGLE_FILE} isn't a whole model, so the \
                     shards of {INDEX_FILE} are used"
                ));
                let names = weights.names(file);
                names.map_err(|_| Error::model(folder, message))?
            }
        };
        file.warnings.extend(warning);
        if !names.unused.is_empty() {
            file.warnings.push(format!(
                "config.json doesn't ask for {} of the text model's stored tensors, so not used: `{}`{}",
                names.unused.len(),
                names.unused[0],
                if names.unused.len() > 1 { ", ..." } else { "" }
            ));
        }
        Ok((weights, names))
    }

    fn names(&self, file: &ConfigFile) -> Result<Names, String> {
        let stored = self.found.keys().map(String::as_str).collect();
        let packed = file.packing.is_some();
        names::find(&file.config, file.head.tied, packed, &stored)
    }

    /// Maps the files of `set` and reads their headers.
    fn map(folder: &Path, set: &WeightSet) -> Result<Self> {
        let mut weights = Self {
            files: Vec::new(),
            found: HashMap::new(),
        };
        for file_name in &set.files {
            let path = folder.join(file_name);
            let file = File::open(&path).map_err(|error| Error::io(&path, error))?;
            // SAFETY: the usual bargain of mapped files: nobody truncates them while we run.
            let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::io(&path, error))?;
            let file = weights.files.len();
            for (name, info, start) in read_header(&path, &map)? {
                // Of a tensor that two shards hold, the one counts that the index names.
                let named = set.index.get(&name).is_some_and(|named| named == file_name);
                if named || !weights.found.contains_key(&name) {
                    weights.found.insert(name, Stored { file, info, start });
                }
            }
            weights.files.push(MappedFile { path, map });
        }
        Ok(weights)
    }

    /// Checks that no file holds zeros where weights should be.
    fn check_whole(&self, names: &Names) -> Result<()> {
        let used = names.all().flat_map(|(_, stored)| stored);
        let used: HashSet<&str> = used.map(String::as_str).collect();
        for (number, file) in self.files.iter().enumerate() {
            let found = self.found.iter();
            let tensors: Vec<Stretch<'_>> = found
                .filter(|(_, stored)| stored.file == number)
                .map(|(name, stored)| stored.stretch(name, &file.map, used.contains(name.as_str())))
                .collect();
            if let Some(message) = zeros::cut_short(&tensors) {
                return Err(Error::model(&file.path, message));
            }
        }
        Ok(())
    }

    /// Where the tensor stored as `name` is, once it is checked.
    fn region(&self, name: &str, shape: &[usize], expected: Expected) -> Result<Region> {
        let Stored { file, info, start } = &self.found[name];
        let dtype = check_tensor(&self.files[*file].path, name, shape, expected, info)?;
        Ok(Region {
            file: *file,
            dtype,
            range: start + info.data_offsets.0..start + info.data_offsets.1,
        })
    }

    fn tensor(&self, region: &Region) -> Tensor<'_> {
        Tensor {
            elements: Elements::Mapped {
                map: &self.files[region.file].map,
                range: region.range.clone(),
            },
            dtype: region.dtype,
        }
    }
}

/// The sets of weights of `folder`.
fn of_folder(folder: &Path) -> Result<WeightSets> {
    let index = folder.join(INDEX_FILE);
    let text = match index.is_file() {
        true => Some(read_text(&index)?),
        false => None,
    };
    let sets = weight_sets(text.as_deref(), |name| folder.join(name).is_file());
    sets.map_err(|problem| match problem {
        NoWeights::Absent => Error::model(folder, without_weights(folder)),
        NoWeights::BadIndex(why) => Error::model(&index, format!("not a safetensors index: {why}")),
        NoWeights::ShardMissing(name) => Error::model(
            folder,
            format!("shard {name} is missing, though {INDEX_FILE} lists it"),
        ),
    })
}

/// What is said of a folder without weights: what it has instead.
fn without_weights(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .escape_debug()
            .to_string()
    });
    let weights = |name: &String| {
        [".safetensors", ".gguf", ".bin", ".pth", ".npz"]
            .iter()
            .any(|ending| name.ends_with(ending))
    };
    let mut found: Vec<String> = names.filter(weights).collect();
    found.sort_unstable();
    let instead = match found.as_slice() {
        [] => String::new(),
        [one] => format!(", only {one}"),
        [one, ..] => format!(", only {one} and {} more", found.len() - 1),
    };
    let advice = match is_shard(&found) {
        true => ": these are shards, so fetch their index, too",
        false => "",
    };
    format!("no weights: neither {SINGLE_FILE} nor {INDEX_FILE} is here{instead}{advice}")
}
