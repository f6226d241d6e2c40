//! The files of a model: one, or the parts that `llama-gguf-split` made of it.
//!
//! Such parts are called `NAME-00001-of-00003.gguf` and so on; each is a GGUF file with some of the
//! tensors, and the metadata stand in the first.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use memmap2::Mmap;
use mlxbench_core::checkpoint::zeros::{Stretch, Zeros, cut_short};

use crate::header::{Header, StoredTensor};
use crate::metadata::Metadata;
use crate::value::Value;

/// The keys that say which part of a model a file is, and of how many.
const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
/// More parts than any model has.
const TOO_MANY_PARTS: u64 = 1 << 16;

/// A model's files, mapped.
#[derive(Debug)]
pub struct Parts {
    files: Vec<(PathBuf, Mmap)>,
}

/// What the files of a model hold together.
#[derive(Debug)]
pub struct Model<'a> {
    /// The metadata.
    pub metadata: Metadata<'a>,
    /// The tensors by name.
    pub tensors: BTreeMap<&'a str, StoredTensor<'a>>,
}

impl Parts {
    /// Maps `file`, and the other parts beside it when it is one of several.
    ///
    /// # Errors
    /// When a file can't be read, isn't GGUF, or a part is missing.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        let map = mapped(file)?;
        let split = Header::read(&map)
            .and_then(|header| Split::of(&header.metadata))
            .with_context(|| file.display().to_string())?;
        let Some(split) = split else {
            let files = vec![(file.to_owned(), map)];
            return Ok(Self { files });
        };
        let paths = split.paths(file)?;
        let files = paths.into_iter().map(|path| {
            let map = mapped(&path)?;
            Ok((path, map))
        });
        let files = files.collect::<anyhow::Result<_>>()?;
        Ok(Self { files })
    }

    /// What they hold together.
    ///
    /// # Errors
    /// When a file isn't whole or the parts aren't of one model.
    pub fn model(&self) -> anyhow::Result<Model<'_>> {
        let headers = self.files.iter().map(|(path, map)| {
            let header = Header::read(map).with_context(|| path.display().to_string())?;
            Ok((path.as_path(), header))
        });
        Model::join(headers.collect::<anyhow::Result<_>>()?)
    }

    /// Checks that no file holds zeros where weights of `model`, which they hold, should be.
    ///
    /// # Errors
    /// When one looks as if its download was cut short. The message names the file and a tensor.
    pub fn check_whole(&self, model: &Model<'_>) -> anyhow::Result<()> {
        for (path, map) in &self.files {
            let all = model.tensors.iter();
            let tensors: Vec<Stretch<'_>> = all
                .filter_map(|(name, tensor)| stretch(name, tensor, map))
                .collect();
            if let Some(message) = cut_short(&tensors) {
                bail!("{}: {message}", path.display());
            }
        }
        Ok(())
    }
}

/// The tensor as a part of `map`, if it lies there.
fn stretch<'a>(name: &'a str, tensor: &StoredTensor<'a>, map: &Mmap) -> Option<Stretch<'a>> {
    let bytes = tensor.data?;
    let file = map.as_ptr_range();
    if !file.contains(&bytes.as_ptr()) {
        return None;
    }
    let zeros = match tensor.shape.as_slice() {
        // Norms are stored as the factor: zeros would silence a layer.
        [_] if name.contains("norm") => Zeros::NotHalf,
        [] | [_] => Zeros::Legal,
        _ if ["token_embd.weight", "output.weight"].contains(&name) => Zeros::NotHalf,
        [rows, ..]
            if ["attn_output.weight", "ffn_down.weight"]
                .iter()
                .any(|end| name.ends_with(end)) =>
        {
            Zeros::NoRowAtEnd(bytes.len() / rows)
        }
        [rows, ..] => Zeros::NoRow(bytes.len() / rows),
    };
    Some(Stretch {
        name,
        bytes,
        start: bytes.as_ptr().addr() - file.start.addr(),
        zeros,
    })
}

impl<'a> Model<'a> {
    /// The model of these files: one, or all parts in their order.
    ///
    /// # Errors
    /// When the parts aren't those of one model. The message names the file.
    pub fn join(headers: Vec<(&Path, Header<'a>)>) -> anyhow::Result<Self> {
        let count = headers.len() as u64;
        let mut metadata = BTreeMap::new();
        let mut tensors = BTreeMap::new();
        let mut expected = None;
        for (number, (path, header)) in headers.into_iter().enumerate() {
            let file = path.display();
            match Split::of(&header.metadata).with_context(|| file.to_string())? {
                None => ensure!(count == 1, "{file}: this is no part of a split model"),
                Some(split) => {
                    ensure!(
                        (split.number, split.count) == (number as u64, count),
                        "{file}: by its own `{NUMBER}` and `{COUNT}` this is part {} of {}, by its \
                         name part {} of {count}",
                        split.number + 1,
                        split.count,
                        number + 1
                    );
                    expected = expected.or(split.tensors);
                }
            }
            for (key, value) in header.metadata {
                if [NUMBER, COUNT, TENSORS].contains(&key) {
                    continue;
                }
                if !metadata.entry(key).or_insert(value).is_same(&value) {
                    bail!("{file}: metadata `{key}` is another than in the parts before");
                }
            }
            for (name, tensor) in header.tensors {
                if tensors.insert(name, tensor).is_some() {
                    bail!("{file}: tensor `{name}` is in an earlier part too");
                }
            }
        }
        if let Some(expected) = expected
            && expected != tensors.len() as u64
        {
            bail!(
                "`{TENSORS}` says {expected} tensors, the parts have {}",
                tensors.len()
            );
        }
        Ok(Self {
            metadata: Metadata::new(metadata),
            tensors,
        })
    }
}

/// A part's place among the parts.
struct Split {
    /// From 0.
    number: u64,
    count: u64,
    /// Tensors of all parts.
    tensors: Option<u64>,
}

impl Split {
    /// `None` for a file that holds a whole model.
    fn of(metadata: &BTreeMap<&str, Value<'_>>) -> anyhow::Result<Option<Self>> {
        let read = |key| match metadata.get(key) {
            None => Ok(None),
            Some(Value::Integer(number)) => {
                let number = u64::try_from(*number).ok();
                let number = number.with_context(|| format!("metadata `{key}` is negative"));
                number.map(Some)
            }
            Some(_) => bail!("metadata `{key}` is no integer"),
        };
        let (number, count) = (read(NUMBER)?, read(COUNT)?);
        let Some(count) = count.filter(|&count| count > 1) else {
            return Ok(None);
        };
        ensure!(
            count < TOO_MANY_PARTS,
            "metadata `{COUNT}` says {count} parts"
        );
        let number = number.with_context(|| format!("the file has no metadata `{NUMBER}`"))?;
        ensure!(
            number < count,
            "metadata `{NUMBER}` is {number}, counted from 0, of {count} parts"
        );
        Ok(Some(Self {
            number,
            count,
            tensors: read(TENSORS)?,
        }))
    }

    /// The paths of all parts, of which `file` is one.
    fn paths(&self, file: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let (number, count) = (self.number + 1, self.count);
        let ending = format!("-{number:05}-of-{count:05}.gguf");
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let prefix = name.strip_suffix(&ending).with_context(|| {
            format!(
                "{}: this is part {number} of {count} of a model. So that the others are found, \
                 its name must end in {ending}",
                file.display()
            )
        })?;
        let path = |number| file.with_file_name(format!("{prefix}-{number:05}-of-{count:05}.gguf"));
        let (found, missing): (Vec<_>, Vec<_>) =
            (1..=count).map(path).partition(|path| path.is_file());
        if let [first, others @ ..] = missing.as_slice() {
            let more = match others.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            bail!(
                "{}: this is part {number} of {count} of a model, and {}{more} isn't beside it: \
                 fetch all parts",
                file.display(),
                first.display()
            );
        }
        Ok(found)
    }
}

fn mapped(path: &Path) -> anyhow::Result<Mmap> {
    let open = || {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("not a file"));
        }
        // SAFETY: the usual bargain of mapped files: nobody truncates them while we run.
        unsafe { Mmap::map(&file) }
    };
    open().with_context(|| path.display().to_string())
}
