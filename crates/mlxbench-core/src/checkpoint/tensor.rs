//! One tensor in its mapped file, and what it converts to.

use memmap2::{Mmap, UncheckedAdvice};

use crate::Dtype;

/// How much of a tensor is converted before its pages are given back: a multiple of every element.
const RELEASE_BYTES: usize = 16 << 20;

/// A tensor in its mapped file. Dropping it tells the system that its pages may go.
#[derive(Debug)]
pub struct Tensor<'a> {
    pub(super) map: &'a Mmap,
    /// Bytes of the file.
    pub(super) range: std::ops::Range<usize>,
    pub(super) dtype: Dtype,
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
        self.blocks_of(1)
    }

    /// [`Tensor::blocks`] of whole rows of `columns` elements.
    pub fn row_blocks(&self, columns: usize) -> impl Iterator<Item = &[u8]> {
        self.blocks_of(columns)
    }

    /// Blocks of whole runs of so many elements.
    fn blocks_of(&self, elements: usize) -> impl Iterator<Item = &[u8]> {
        let size = block_bytes(elements.saturating_mul(self.dtype.size_bytes() as usize));
        self.range.clone().step_by(size).map(move |start| {
            self.release(self.range.start.max(start.saturating_sub(size))..start);
            &self.map[start..self.range.end.min(start.saturating_add(size))]
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

    /// Its elements in f32, one after another; pages go as with [`Tensor::blocks`].
    pub(super) fn widened(&self) -> Box<dyn Iterator<Item = f32> + '_> {
        fn of<'a, const N: usize>(
            tensor: &'a Tensor<'_>,
            f32_of: fn([u8; N]) -> f32,
        ) -> Box<dyn Iterator<Item = f32> + 'a> {
            let chunks = tensor.blocks().flat_map(|block| block.as_chunks().0.iter());
            Box::new(chunks.map(move |chunk| f32_of(*chunk)))
        }
        match self.dtype {
            Dtype::F32 => of(self, f32::from_le_bytes),
            Dtype::Bf16 => of(self, |b| half::bf16::from_le_bytes(b).to_f32()),
            Dtype::F16 => of(self, |b| half::f16::from_le_bytes(b).to_f32()),
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
