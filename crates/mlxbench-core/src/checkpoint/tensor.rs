//! One tensor in its mapped file, and what it converts to.

use memmap2::{Mmap, UncheckedAdvice};

use crate::quantise::Codes;
use crate::{Dtype, Scheme};

/// How much of a tensor is converted before its pages are given back: a multiple of every element.
const RELEASE_BYTES: usize = 16 << 20;

/// A tensor in its mapped file. Dropping it tells the system that its pages may go.
#[derive(Debug)]
pub struct Tensor<'a> {
    pub(super) bytes: Bytes<'a>,
    pub(super) dtype: Dtype,
}

/// Where the elements of a tensor are.
#[derive(Debug)]
pub(super) enum Bytes<'a> {
    /// In a mapped file.
    Mapped {
        map: &'a Mmap,
        /// Bytes of the file.
        range: std::ops::Range<usize>,
    },
    /// In memory: what is stored stands for them.
    Computed(Vec<u8>),
}

impl Tensor<'_> {
    /// The dtype of its elements: the one they are stored in, f32 where they are computed from it.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its elements, little-endian, row after row.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped { map, range } => &map[range.clone()],
            Bytes::Computed(bytes) => bytes,
        }
    }

    /// [`Tensor::bytes`] in blocks of whole elements. The pages of a block go when the next one is
    /// asked for, so that a large tensor that is copied block by block isn't held twice.
    pub fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks_of(1)
    }

    /// [`Tensor::blocks`] of whole rows of `columns` elements.
    pub fn row_blocks(&self, columns: usize) -> impl Iterator<Item = &[u8]> {
        self.blocks_of(columns)
    }

    /// Blocks of whole runs of so many elements.
    fn blocks_of(&self, elements: usize) -> impl Iterator<Item = &[u8]> {
        let size = block_bytes(elements.saturating_mul(self.element_bytes()));
        let bytes = self.bytes();
        (0..bytes.len()).step_by(size).map(move |start| {
            self.release(start.saturating_sub(size)..start);
            &bytes[start..bytes.len().min(start.saturating_add(size))]
        })
    }

    /// Its elements converted to `T`, through f32 where the dtypes differ. Pages of the file go as
    /// soon as they are converted, so that a large tensor isn't held twice.
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        let mut elements = Vec::with_capacity(self.bytes().len() / self.element_bytes());
        elements.extend(self.widened().map(T::from_f32));
        elements
    }

    /// Its elements in f32, one after another; pages go as with [`Tensor::blocks`].
    pub(super) fn widened(&self) -> impl Iterator<Item = f32> {
        self.blocks().flat_map(|block| widened(self.dtype, block))
    }

    fn element_bytes(&self) -> usize {
        self.dtype.size_bytes() as usize
    }

    /// Tells the system that the pages of these of its bytes may go.
    fn release(&self, bytes: std::ops::Range<usize>) {
        let Bytes::Mapped { map, range } = &self.bytes else {
            return;
        };
        // SAFETY: the map is a read-only view of a file, so dropped pages come back unchanged.
        // Failure costs memory and nothing else.
        let _ = unsafe {
            map.unchecked_advise_range(
                UncheckedAdvice::DontNeed,
                range.start + bytes.start,
                bytes.len(),
            )
        };
    }
}

impl<'a> Tensor<'a> {
    /// The codes of a matrix with rows of `columns`, in blocks of whole rows; pages go as with
    /// [`Tensor::blocks`], so that what is in a file is never whole in memory.
    ///
    /// # Errors
    /// As [`Codes::of`], for each block.
    pub(super) fn into_codes(
        self,
        scheme: Scheme,
        columns: usize,
    ) -> impl Iterator<Item = Result<Codes, String>> + 'a {
        let size = block_bytes(columns.saturating_mul(self.element_bytes()));
        let mut start = 0;
        std::iter::from_fn(move || {
            let bytes = self.bytes();
            let end = bytes.len().min(start + size);
            if start == end {
                return None;
            }
            let weights: Vec<f32> = widened(self.dtype, &bytes[start..end]).collect();
            self.release(start..end);
            start = end;
            Some(Codes::of(scheme, &weights, columns))
        })
    }
}

/// Stored elements in f32.
fn widened(dtype: Dtype, bytes: &[u8]) -> impl Iterator<Item = f32> {
    let chunks = bytes.chunks_exact(dtype.size_bytes() as usize);
    chunks.map(move |b| match dtype {
        Dtype::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        Dtype::Bf16 => half::bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        Dtype::F16 => half::f16::from_le_bytes([b[0], b[1]]).to_f32(),
    })
}

impl Drop for Tensor<'_> {
    fn drop(&mut self) {
        self.release(0..self.bytes().len());
    }
}

/// The size of blocks that hold whole units of `unit` bytes: as many as [`RELEASE_BYTES`] hold, or one.
fn block_bytes(unit: usize) -> usize {
    let unit = unit.max(1);
    (RELEASE_BYTES / unit).max(1).saturating_mul(unit)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_whole_rows() {
        assert_eq!(block_bytes(2), RELEASE_BYTES);
        // Rows of 5376 bf16: 1560 of them.
        assert_eq!(block_bytes(10_752), 1560 * 10_752);
        // A row that is larger than a block is one.
        assert_eq!(block_bytes(RELEASE_BYTES + 4), RELEASE_BYTES + 4);
    }
}
