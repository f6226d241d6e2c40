//! A model folder in the Hugging Face layout, written tensor by tensor: whole, or not at all.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use mlxbench_core::Dtype;
use mlxbench_core::checkpoint::{INDEX_FILE, SINGLE_FILE};
use mlxbench_core::gemma::TensorSpec;
use safetensors::tensor::View;

use crate::disk::has_room;
use crate::partial::PartialFolder;
use crate::{Error, Result};

/// Shards hold at most this much, unless one tensor is larger.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// What goes into a model folder.
#[derive(Debug)]
pub struct Contents<'a> {
    /// The text of `config.json`.
    pub config: &'a str,
    /// The tensors.
    pub tensors: &'a [TensorSpec],
    /// Their dtype.
    pub dtype: Dtype,
    /// Shards hold at most this much: [`SHARD_BYTES`].
    pub shard_bytes: u64,
}

/// Writes `contents` to `folder`, which must be new or empty. `produce` gives a tensor's elements
/// as little-endian bytes; it is called once a tensor, and only one is in memory at a time.
///
/// Everything goes to a folder beside it first, so that a killed or failed write leaves nothing
/// that looks whole. `finish` may add files before the folder gets its name.
///
/// # Errors
/// When the folder has something in it, when it can't be written, or what `produce` and `finish`
/// return.
pub fn model(
    folder: &Path,
    contents: &Contents<'_>,
    produce: impl Fn(&TensorSpec) -> Result<Vec<u8>>,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = std::path::absolute(folder).map_err(|error| Error::io(folder, error))?;
    if std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::Invalid(format!(
            "{} is not empty: name a new folder, or remove this one",
            folder.display()
        )));
    }
    let sizes = contents
        .tensors
        .iter()
        .map(|spec| bytes(spec, contents.dtype));
    has_room(&folder, sizes.fold(0, u64::saturating_add))?;
    let parent = folder.parent().unwrap_or(&folder);
    std::fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;
    let partial = PartialFolder::new_in(parent).map_err(|error| Error::io(parent, error))?;

    let config = partial.path().join("config.json");
    std::fs::write(&config, contents.config).map_err(|error| Error::io(&config, error))?;
    weights(partial.path(), contents, produce)?;
    finish(partial.path())?;

    partial
        .keep_as(&folder)
        .map_err(|error| Error::io(folder, error))
}

fn weights(
    folder: &Path,
    contents: &Contents<'_>,
    produce: impl Fn(&TensorSpec) -> Result<Vec<u8>>,
) -> Result<()> {
    let shards = shards(contents);
    let mut index = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => SINGLE_FILE.to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        index.extend(shard.iter().map(|spec| (spec.name.clone(), name.clone())));
        write_shard(&folder.join(name), shard, contents.dtype, &produce)?;
    }
    if shards.len() > 1 {
        let total: u64 = contents
            .tensors
            .iter()
            .map(|spec| bytes(spec, contents.dtype))
            .sum();
        let index = serde_json::json!({"metadata": {"total_size": total}, "weight_map": index});
        let path = folder.join(INDEX_FILE);
        std::fs::write(&path, format!("{index:#}\n")).map_err(|error| Error::io(&path, error))?;
    }
    Ok(())
}

fn bytes(spec: &TensorSpec, dtype: Dtype) -> u64 {
    spec.elements() * dtype.size_bytes()
}

/// The tensors in their order, cut where the next one would exceed a shard.
fn shards<'a>(contents: &Contents<'a>) -> Vec<Vec<&'a TensorSpec>> {
    let mut shards = vec![Vec::new()];
    let mut filled = 0;
    for spec in contents.tensors {
        let size = bytes(spec, contents.dtype);
        if filled > 0 && filled + size > contents.shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += size;
        shards.last_mut().expect("never empty").push(spec);
    }
    shards
}

fn write_shard(
    path: &Path,
    shard: &[&TensorSpec],
    dtype: Dtype,
    produce: &impl Fn(&TensorSpec) -> Result<Vec<u8>>,
) -> Result<()> {
    let failure = RefCell::new(None);
    let views = shard.iter().map(|spec| {
        (
            &spec.name,
            Lazy {
                spec,
                dtype,
                produce,
                failure: &failure,
            },
        )
    });
    // Transformers refuses files that don't name the framework's format.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let written = safetensors::serialize_to_file(views, Some(metadata), path);
    if let Some(error) = failure.into_inner() {
        return Err(error);
    }
    written.map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => Error::io(path, source),
        other => mlxbench_core::Error::model(path, other.to_string()).into(),
    })?;
    // safetensors makes files that their owner alone may read; config.json has the user's umask.
    std::fs::metadata(path.with_file_name("config.json"))
        .and_then(|config| std::fs::set_permissions(path, config.permissions()))
        .map_err(|error| Error::io(path, error))
}

/// A tensor that is made when it is written.
struct Lazy<'a, F> {
    spec: &'a TensorSpec,
    dtype: Dtype,
    produce: &'a F,
    /// The first failure: the trait has no room for one.
    failure: &'a RefCell<Option<Error>>,
}

impl<F: Fn(&TensorSpec) -> Result<Vec<u8>>> View for Lazy<'_, F> {
    fn dtype(&self) -> safetensors::Dtype {
        match self.dtype {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::Bf16 => safetensors::Dtype::BF16,
            Dtype::F16 => safetensors::Dtype::F16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.spec.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if self.failure.borrow().is_some() {
            return Cow::Borrowed(&[]);
        }
        match (self.produce)(self.spec) {
            Ok(bytes) => Cow::Owned(bytes),
            Err(error) => {
                *self.failure.borrow_mut() = Some(error);
                Cow::Borrowed(&[])
            }
        }
    }

    fn data_len(&self) -> usize {
        bytes(self.spec, self.dtype) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlxbench_core::{Checkpoint, GemmaConfig};

    const TINY: &str = r#"{"model_type": "gemma", "vocab_size": 8, "hidden_size": 4,
        "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 1,
        "num_key_value_heads": 1, "head_dim": 2}"#;

    fn write(folder: &Path, shard_bytes: u64, fail: bool) -> Result<()> {
        let tensors = GemmaConfig::from_json(TINY).unwrap().tensors();
        let contents = Contents {
            config: TINY,
            tensors: &tensors,
            dtype: Dtype::Bf16,
            shard_bytes,
        };
        let produce = |spec: &TensorSpec| match fail && spec.name.contains("layers.1") {
            true => Err(Error::Invalid("as planned".into())),
            false => Ok(vec![1; bytes(spec, Dtype::Bf16) as usize]),
        };
        model(folder, &contents, produce, |_| Ok(()))
    }

    #[test]
    fn a_large_model_is_sharded_and_opens() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("model");
        write(&folder, 100, false).unwrap();
        assert!(folder.join(INDEX_FILE).is_file());
        assert!(!folder.join(SINGLE_FILE).exists());
        assert!(Checkpoint::open(&folder).is_ok());
    }

    #[test]
    fn weights_can_be_read_by_whom_the_configuration_can() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("model");
        write(&folder, SHARD_BYTES, false).unwrap();
        let permissions = |name| folder.join(name).metadata().unwrap().permissions();
        assert_eq!(permissions(SINGLE_FILE), permissions("config.json"));
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let parent = tempfile::tempdir().unwrap();
        let error = write(&parent.path().join("model"), SHARD_BYTES, true).unwrap_err();
        assert_eq!(error.to_string(), "as planned");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mine"), "").unwrap();
        let error = write(folder.path(), SHARD_BYTES, false).unwrap_err();
        assert!(error.to_string().contains("is not empty"), "{error}");
    }
}
