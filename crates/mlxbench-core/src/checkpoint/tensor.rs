//! One tensor of a checkpoint, as it is stored or computed from that, and what it converts to.

use std::borrow::Cow;
use std::ops::Range;

use memmap2::{Mmap, UncheckedAdvice};

use super::packed::Packed;
use crate::quantise::Codes;
use crate::{Dtype, Scheme};

/// How much of a tensor is converted before its pages are given back: a multiple of every element.
const RELEASE_BYTES: usize = 16 << 20;

/// A tensor. Dropping it tells the system that its pages may go.
#[derive(Debug)]
pub struct Tensor<'a> {
    pub(super) elements: Elements<'a>,
    pub(super) dtype: Dtype,
}

/// Where the elements of a tensor are.
#[derive(Debug)]
pub(super) enum Elements<'a> {
    /// In a mapped file.
    Mapped {
        map: &'a Mmap,
        /// Bytes of the file.
        range: Range<usize>,
    },
    /// In mlx-lm's codes, which stand for them. In f32.
    Packed(Box<Packed<'a>>),
    /// In the codes that `scheme` makes of `stored`, rows of `columns` weights, all of them finite. In f32.
    Dequantised {
        stored: Box<Tensor<'a>>,
        scheme: Scheme,
        columns: usize,
    },
    /// In `parts`, of which each gives `run` elements in turn, whole rows of `columns`. In f32.
    InTurns {
        parts: Vec<Tensor<'a>>,
        run: usize,
        columns: usize,
    },
}

impl<'a> Tensor<'a> {
    /// What the codes of `scheme` stand for that are made of `stored`, rows of `columns` finite weights.
    pub(super) fn dequantised(stored: Tensor<'a>, scheme: Scheme, columns: usize) -> Self {
        Self {
            elements: Elements::Dequantised {
                stored: Box::new(stored),
                scheme,
                columns,
            },
            dtype: Dtype::F32,
        }
    }

    /// The elements of `parts` in turns, `run` of each, whole rows of `columns`.
    pub(super) fn in_turns(parts: Vec<Tensor<'a>>, run: usize, columns: usize) -> Self {
        Self {
            elements: Elements::InTurns {
                parts,
                run,
                columns,
            },
            dtype: Dtype::F32,
        }
    }

    /// What mlx-lm's codes stand for.
    pub(super) fn unpacked(packed: Packed<'a>) -> Self {
        Self {
            elements: Elements::Packed(Box::new(packed)),
            dtype: Dtype::F32,
        }
    }
}

impl Tensor<'_> {
    /// The dtype of its elements: the one they are stored in, f32 where they are computed from it.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// How many elements it has.
    pub(super) fn len(&self) -> usize {
        match &self.elements {
            Elements::Mapped { range, .. } => range.len() / self.element_bytes(),
            Elements::Packed(packed) => packed.len(),
            Elements::Dequantised { stored, .. } => stored.len(),
            Elements::InTurns { parts, .. } => parts.iter().map(Self::len).sum(),
        }
    }

    /// Its elements, little-endian, row after row: a view of the file, or computed, and then whole in memory.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        self.bytes_of(0..self.len())
    }

    /// [`Tensor::bytes`] in blocks of whole elements. The pages of a block go when the next one is
    /// asked for, and what is computed is computed block by block, so that a large tensor that is copied so isn't held
    /// twice.
    pub fn blocks(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        self.row_blocks(1)
    }

    /// [`Tensor::blocks`] of whole rows of `columns` elements.
    pub fn row_blocks(&self, columns: usize) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let mut before = 0..0;
        self.ranges(columns).map(move |range| {
            self.release(std::mem::replace(&mut before, range.clone()));
            self.bytes_of(range)
        })
    }

    /// [`Tensor::row_blocks`] converted to `T`, through f32 where the dtypes differ.
    pub fn row_vecs<T: Element>(&self, columns: usize) -> impl Iterator<Item = Vec<T>> {
        let blocks = self.row_blocks(columns);
        blocks.map(|block| widened(self.dtype, &block).map(T::from_f32).collect())
    }

    /// All of its elements converted to `T`, through f32 where the dtypes differ.
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        let mut elements = Vec::with_capacity(self.len());
        elements.extend(self.row_vecs::<T>(1).flatten());
        elements
    }

    /// Its elements in f32, in blocks; as with [`Tensor::blocks`].
    pub(super) fn widened_blocks(&self) -> impl Iterator<Item = Vec<f32>> {
        self.ranges(1).map(|range| self.widened(range))
    }

    /// Some of its elements in f32, whole rows where they are computed. Their pages go.
    pub(super) fn widened(&self, range: Range<usize>) -> Vec<f32> {
        match &self.elements {
            Elements::Mapped { .. } => {
                let elements = widened(self.dtype, &self.bytes_of(range.clone())).collect();
                self.release(range);
                elements
            }
            Elements::Packed(packed) => packed.dequantised(range),
            Elements::Dequantised {
                stored,
                scheme,
                columns,
            } => {
                let codes = Codes::of(*scheme, &stored.widened(range), *columns);
                let codes = codes.expect("weights that were looked at");
                codes.dequantised().collect()
            }
            Elements::InTurns { parts, run, .. } => {
                let mut elements = Vec::with_capacity(range.len());
                let mut at = range.start;
                while at < range.end {
                    let (turn, within) = (at / run, at % run);
                    let count = (run - within).min(range.end - at);
                    let first = turn / parts.len() * run + within;
                    elements.extend(parts[turn % parts.len()].widened(first..first + count));
                    at += count;
                }
                elements
            }
        }
    }

    /// Its elements in blocks of whole rows, of `columns` and of what they are computed by.
    fn ranges(&self, columns: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        // Vectors are never computed, and a matrix has one width.
        let row = columns.max(self.computed_columns()).max(1);
        let size = (RELEASE_BYTES / self.element_bytes() / row)
            .max(1)
            .saturating_mul(row);
        let len = self.len();
        let starts = (0..len).step_by(size);
        starts.map(move |start| start..len.min(start.saturating_add(size)))
    }

    /// Elements that can only be computed together.
    fn computed_columns(&self) -> usize {
        match &self.elements {
            Elements::Mapped { .. } => 1,
            Elements::Packed(packed) => packed.columns,
            Elements::Dequantised { columns, .. } | Elements::InTurns { columns, .. } => *columns,
        }
    }

    pub(super) fn bytes_of(&self, elements: Range<usize>) -> Cow<'_, [u8]> {
        match &self.elements {
            Elements::Mapped { map, range } => {
                let bytes = self.of_file(range, &elements);
                Cow::Borrowed(&map[bytes])
            }
            _ => {
                let weights = self.widened(elements).into_iter();
                Cow::Owned(weights.flat_map(f32::to_le_bytes).collect())
            }
        }
    }

    /// The bytes of the file, of which the tensor's are `range`, that hold these elements.
    fn of_file(&self, range: &Range<usize>, elements: &Range<usize>) -> Range<usize> {
        let at = |element: usize| range.start + element * self.element_bytes();
        at(elements.start)..at(elements.end)
    }

    fn element_bytes(&self) -> usize {
        self.dtype.size_bytes() as usize
    }

    /// Tells the system that the pages of these elements may go.
    pub(super) fn release(&self, elements: Range<usize>) {
        let Elements::Mapped { map, range } = &self.elements else {
            return;
        };
        let bytes = self.of_file(range, &elements);
        // SAFETY: the map is a read-only view of a file, so dropped pages come back unchanged.
        // Failure costs memory and nothing else.
        let _ = unsafe {
            map.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len())
        };
    }
}

impl<'a> Tensor<'a> {
    /// The codes of a matrix with rows of `columns`, in blocks of whole rows; as with [`Tensor::blocks`], what is
    /// stored or computed is never whole in memory.
    ///
    /// # Errors
    /// As [`Codes::of`], for each block.
    pub(super) fn into_codes(
        self,
        scheme: Scheme,
        columns: usize,
    ) -> impl Iterator<Item = Result<Codes, String>> + 'a {
        let ranges = self.ranges(columns);
        ranges.map(move |range| Codes::of(scheme, &self.widened(range), columns))
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
        self.release(0..self.len());
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A file of so many numbers in f32. Pages of a map without one would be lost when they are given back.
    fn map(count: usize) -> Mmap {
        let mut file = tempfile::tempfile().unwrap();
        let bytes = crate::numbers(1).take(count).flat_map(f32::to_le_bytes);
        file.write_all(&bytes.collect::<Vec<u8>>()).unwrap();
        // SAFETY: nobody else has the file.
        unsafe { Mmap::map(&file) }.unwrap()
    }

    fn of(map: &Mmap) -> Tensor<'_> {
        Tensor {
            elements: Elements::Mapped {
                map,
                range: 0..map.len(),
            },
            dtype: Dtype::F32,
        }
    }

    #[test]
    fn blocks_hold_whole_rows() {
        // Three rows a block, the last one less; a row that is larger than a block is one.
        for (rows, columns, expected) in [
            (7, RELEASE_BYTES / 13, vec![3, 3, 1]),
            (2, RELEASE_BYTES / 4 + 1, vec![1, 1]),
        ] {
            let map = map(rows * columns);
            let tensor = of(&map);
            let blocks = tensor
                .row_blocks(columns)
                .map(|block| block.len() / 4 / columns);
            assert_eq!(blocks.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_is_computed_is_computed_in_blocks_and_the_same_as_in_one() {
        let columns = 1 << 16;
        let map = map(200 * columns);
        for scheme in [Scheme::Q8, Scheme::Q4] {
            let weights = of(&map).to_vec::<f32>();
            let whole = Codes::of(scheme, &weights, columns).unwrap();
            let tensor = Tensor::dequantised(of(&map), scheme, columns);
            let blocks = tensor.blocks().map(|block| block.len());
            assert!(blocks.max().unwrap() <= RELEASE_BYTES);
            assert_eq!(tensor.blocks().count(), 4);
            assert!(
                tensor.to_vec::<f32>().into_iter().eq(whole.dequantised()),
                "{scheme:?}"
            );
        }
    }

    #[test]
    fn parts_take_turns() {
        let map = map(24);
        let half = |range| Tensor {
            elements: Elements::Mapped { map: &map, range },
            dtype: Dtype::F32,
        };
        let tensor = Tensor::in_turns(vec![half(0..48), half(48..96)], 4, 2);
        let all = of(&map).to_vec::<f32>();
        let turns = [0, 12, 4, 16, 8, 20].map(|start| &all[start..start + 4]);
        let expected = turns.concat();
        assert_eq!(tensor.to_vec::<f32>(), expected);
        assert_eq!(tensor.widened(2..14), expected[2..14]);
    }
}
