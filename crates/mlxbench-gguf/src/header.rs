//! The header of a GGUF file, checked against the file before anything in it is used.
//!
//! Source: the GGUF specification (`docs/gguf.md` of ggml), versions 1 to 3.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};

use crate::types::TensorType;
use crate::value::{BYTE_SPLIT, Cursor, Value, slice};

/// Data begins at a multiple of this where the file doesn't say another.
const DEFAULT_ALIGNMENT: u64 = 32;
/// More dimensions than ggml's tensors have.
const TOO_MANY_DIMENSIONS: u32 = 5;

/// What a file says of itself.
#[derive(Debug)]
pub struct Header<'a> {
    /// The metadata by key.
    pub metadata: BTreeMap<&'a str, Value<'a>>,
    /// The tensors by name.
    pub tensors: BTreeMap<&'a str, StoredTensor<'a>>,
}

/// A tensor of a file.
#[derive(Debug)]
pub struct StoredTensor<'a> {
    /// How it is stored.
    pub kind: TensorType,
    /// Its shape, the slowest dimension first (GGUF has the fastest first).
    pub shape: Vec<usize>,
    /// Its blocks; `None` when they can't be read, since their size isn't known.
    pub data: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// Reads the header of a file's `bytes`.
    ///
    /// # Errors
    /// When the bytes are no GGUF file of a known version, a key or a tensor is there twice, or
    /// the file ends before its header or before one of its tensors. The message says how to join
    /// the parts of a file that was split by bytes.
    pub fn read(bytes: &'a [u8]) -> anyhow::Result<Self> {
        if bytes.is_empty() {
            bail!("the file is empty");
        }
        if !bytes.starts_with(b"GGUF") {
            let start = bytes[..bytes.len().min(8)].escape_ascii();
            bail!(
                "not a GGUF file, which begins with `GGUF`: this begins with `{start}`; {BYTE_SPLIT}"
            );
        }
        let mut cursor = Cursor::new(bytes, true);
        cursor.take(4)?;
        let version = cursor.u32()?;
        match version {
            1..=3 => {}
            _ if (1..=3).contains(&version.swap_bytes()) => {
                bail!("a big-endian GGUF file: little-endian ones can be read")
            }
            _ => bail!("GGUF version {version}: versions 1 to 3 can be read"),
        }
        let mut cursor = Cursor::new(bytes, version > 1);
        cursor.take(8)?;
        Self::entries(bytes, &mut cursor)
    }

    fn entries(bytes: &'a [u8], cursor: &mut Cursor<'a>) -> anyhow::Result<Self> {
        let tensor_count = cursor.length()?;
        let metadata_count = cursor.length()?;
        let mut metadata = BTreeMap::new();
        for number in 1..=metadata_count {
            let of = || format!("key {number} of {metadata_count}");
            let key = cursor.name().with_context(of)?;
            let value = cursor
                .typed_value()
                .with_context(|| format!("metadata `{key}`"))?;
            if metadata.insert(key, value).is_some() {
                bail!("metadata `{key}` is there twice");
            }
        }
        let mut infos = Vec::new();
        for number in 1..=tensor_count {
            let info = Info::read(cursor);
            infos.push(info.with_context(|| format!("tensor {number} of {tensor_count}"))?);
        }
        let alignment = alignment(&metadata)?;
        let data_start = (cursor.at() as u64).next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        let mut places = Vec::new();
        for info in infos {
            let stored = info.locate(bytes, data_start, alignment);
            let stored = stored.with_context(|| format!("tensor `{}`", info.name))?;
            if let Some(data) = stored.data {
                places.push((info.offset, info.offset + data.len() as u64, info.name));
            }
            if tensors.insert(info.name, stored).is_some() {
                bail!("tensor `{}` is there twice", info.name);
            }
        }
        places.sort_unstable();
        for pair in places.windows(2) {
            let ((_, end, first), (start, _, second)) = (pair[0], pair[1]);
            ensure!(
                end <= start,
                "tensors `{first}` and `{second}` lie at the same bytes"
            );
        }
        Ok(Self { metadata, tensors })
    }
}

fn alignment(metadata: &BTreeMap<&str, Value<'_>>) -> anyhow::Result<u64> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Integer(n @ 8..=0x1000_0000)) if n.count_ones() == 1 => Ok(*n as u64),
        Some(_) => bail!("metadata `general.alignment` is no power of 2 from 8 to 2^28"),
    }
}

/// A tensor as the header states it.
struct Info<'a> {
    name: &'a str,
    shape: Vec<usize>,
    kind: TensorType,
    offset: u64,
}

impl<'a> Info<'a> {
    fn read(cursor: &mut Cursor<'a>) -> anyhow::Result<Self> {
        let name = cursor.name()?;
        let dimensions = cursor.u32()?;
        ensure!(
            (1..TOO_MANY_DIMENSIONS).contains(&dimensions),
            "`{name}` has {dimensions} dimensions, not 1 to 4"
        );
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = cursor.length()?;
            ensure!(size > 0, "`{name}` has a dimension of 0");
            shape.push(usize::try_from(size)?);
        }
        shape.reverse();
        Ok(Self {
            name,
            shape,
            kind: TensorType(cursor.u32()?),
            offset: cursor.u64()?,
        })
    }

    /// The tensor with its data, which must lie in the file.
    fn locate(
        &self,
        bytes: &'a [u8],
        data_start: u64,
        alignment: u64,
    ) -> anyhow::Result<StoredTensor<'a>> {
        let data = match self.kind.format() {
            None => None,
            Some(format) => {
                let (per_block, row) = (format.block_elements(), self.shape[self.shape.len() - 1]);
                ensure!(
                    row.is_multiple_of(per_block),
                    "rows of {row} values can't be stored as {}, in blocks of {per_block}",
                    self.kind.name()
                );
                ensure!(
                    self.offset.is_multiple_of(alignment),
                    "it begins at no multiple of {alignment}"
                );
                let sizes = self.shape.iter().map(|&size| size as u64);
                let elements = sizes.fold(1, u64::saturating_mul);
                // Beyond any file where it would overflow.
                let size =
                    (elements / per_block as u64).saturating_mul(format.block_bytes() as u64);
                Some(slice(bytes, data_start.saturating_add(self.offset), size)?)
            }
        };
        Ok(StoredTensor {
            kind: self.kind,
            shape: self.shape.clone(),
            data,
        })
    }
}
