//! Matrices as mlx-lm packs them: words of codes, with a scale and a bias for each group of weights.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Weights;
use super::form::Region;
use super::header::Expected;
use super::tensor::Tensor;
use crate::gemma::TensorSpec;
use crate::gemma::hf::mlx::{Affine, MlxPacking};
use crate::{Error, Result};

/// The endings of what lies beside a packed matrix.
const BESIDE: [&str; 2] = [".scales", ".biases"];

/// Whether `name` is a packed matrix's scales or biases.
pub(super) fn is_beside_packed(name: &str, stored: &BTreeSet<&str>) -> bool {
    let stem = BESIDE.iter().find_map(|ending| name.strip_suffix(ending));
    stem.is_some_and(|stem| stored.contains(format!("{stem}.weight").as_str()))
}

/// Where a packed matrix is.
#[derive(Debug, Clone)]
pub(super) struct PackedRegions {
    affine: Affine,
    columns: usize,
    words: Region,
    pub(super) scales: Region,
    biases: Region,
}

impl PackedRegions {
    pub(super) fn bytes(&self) -> usize {
        let regions = [&self.words, &self.scales, &self.biases];
        regions.map(|region| region.range.len()).iter().sum()
    }
}

/// A matrix as mlx-lm packs it.
#[derive(Debug)]
pub struct Packed<'a> {
    /// Bits and groups.
    pub affine: Affine,
    /// Weights of a row.
    pub columns: usize,
    /// Words of 32 bits, little-endian, of shape `[rows, columns * bits / 32]`. As a tensor they count as f32,
    /// which they are not.
    pub words: Tensor<'a>,
    /// Of shape `[rows, columns / group_size]`.
    pub scales: Tensor<'a>,
    /// Of the same shape.
    pub biases: Tensor<'a>,
}

impl Packed<'_> {
    /// How many weights it has.
    pub(super) fn len(&self) -> usize {
        self.scales.len() * self.affine.group_size
    }

    /// The weights that the codes of some whole rows stand for, `scale * code + bias` in f32. Their pages go.
    pub(super) fn dequantised(&self, weights: Range<usize>) -> Vec<f32> {
        let Affine { bits, group_size } = self.affine;
        let of_groups = weights.start / group_size..weights.end / group_size;
        let [scales, biases] = [&self.scales, &self.biases].map(|t| t.widened(of_groups.clone()));
        let groups = self.columns / group_size;
        let of_words = weights.start * bits / 32..weights.end * bits / 32;
        let words = self.words.bytes_of(of_words.clone());
        let rows = words.chunks_exact(self.columns * bits / 8);
        let rows = rows.zip(scales.chunks_exact(groups).zip(biases.chunks_exact(groups)));
        let rows = rows.flat_map(|(words, (scales, biases))| {
            let codes = self.affine.codes(words, self.columns).enumerate();
            codes.map(move |(column, code)| {
                let group = column / group_size;
                scales[group] * code as f32 + biases[group]
            })
        });
        let weights = rows.collect();
        self.words.release(of_words);
        weights
    }
}

impl Weights {
    /// Where the matrix `spec`, stored as `name`, is in words, scales and biases, once these are checked.
    /// `None` where it is plain: who stores scales has packed it, unless `packing` says no.
    ///
    /// # Errors
    /// When a part is missing or has another shape or type. The message names it.
    pub(super) fn packed_regions(
        &self,
        spec: &TensorSpec,
        name: &str,
        packing: &MlxPacking,
    ) -> Result<Option<PackedRegions>> {
        let Some(path) = name.strip_suffix(".weight") else {
            return Ok(None);
        };
        let [scales, biases] = BESIDE.map(|ending| format!("{path}{ending}"));
        let (Some(affine), Some(columns)) = (packing.of(path), spec.columns()) else {
            return Ok(None);
        };
        let Some(found) = self.found.get(&scales) else {
            return Ok(None);
        };
        let wrong = |message: String| Error::model(&self.files[found.file].path, message);
        let Affine { bits, group_size } = affine;
        if !columns.is_multiple_of(group_size) {
            return Err(wrong(format!(
                "tensor `{name}` has rows of {columns}, which isn't whole groups of {group_size}"
            )));
        }
        if !self.found.contains_key(&biases) {
            return Err(wrong(format!(
                "tensor `{biases}` is missing, though `{scales}` is here"
            )));
        }
        // But for the columns the shape is the matrix's own.
        let with_columns = |columns| {
            let mut shape = spec.shape.clone();
            shape.pop();
            shape.push(columns);
            shape
        };
        let groups = with_columns(columns / group_size);
        Ok(Some(PackedRegions {
            affine,
            columns,
            words: self.region(name, &with_columns(columns * bits / 32), Expected::Words)?,
            scales: self.region(&scales, &groups, Expected::Numbers)?,
            biases: self.region(&biases, &groups, Expected::Numbers)?,
        }))
    }

    pub(super) fn packed(&self, regions: &PackedRegions) -> Packed<'_> {
        Packed {
            affine: regions.affine,
            columns: regions.columns,
            words: self.tensor(&regions.words),
            scales: self.tensor(&regions.scales),
            biases: self.tensor(&regions.biases),
        }
    }
}
