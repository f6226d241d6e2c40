//! How a tensor is stored: as numbers, as mlx-lm packs it, or in parts.

use std::ops::Range;

use super::Weights;
use super::header::Expected;
use super::packed::PackedRegions;
use super::tensor::Tensor;
use crate::gemma::TensorSpec;
use crate::gemma::hf::mlx::MlxPacking;
use crate::{Dtype, Error, Result};

/// How a tensor is stored.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// As numbers.
    Plain(Region),
    /// As mlx-lm packs a matrix.
    Packed(PackedRegions),
    /// In several that are one below the other for each expert: gate and up, as mlx-lm keeps them.
    Experts(Vec<Form>),
}

impl Form {
    /// What is stored: itself, or each of several.
    pub(super) fn stored(&self) -> &[Form] {
        match self {
            Self::Experts(parts) => parts,
            one => std::slice::from_ref(one),
        }
    }

    /// The dtype that it is stored in; of packed ones, of their scales.
    pub(super) fn dtypes(&self) -> Vec<Dtype> {
        match self {
            Self::Plain(region) => vec![region.dtype],
            Self::Packed(regions) => vec![regions.scales.dtype],
            Self::Experts(parts) => parts.iter().flat_map(Self::dtypes).collect(),
        }
    }

    /// Bytes as stored.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Plain(region) => region.range.len(),
            Self::Packed(regions) => regions.bytes(),
            Self::Experts(parts) => parts.iter().map(Self::bytes).sum(),
        }
    }
}

/// Bytes of a file, and the dtype of the elements.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) file: usize,
    pub(super) dtype: Dtype,
    pub(super) range: Range<usize>,
}

impl Weights {
    /// The form of the tensor `spec`, stored as `names`.
    pub(super) fn form(
        &self,
        spec: &TensorSpec,
        names: &[String],
        packing: Option<&MlxPacking>,
    ) -> Result<Form> {
        let [first, .., last] = names else {
            return self.form_of_one(spec, &names[0], packing);
        };
        let mut part = spec.clone();
        part.shape[1] /= names.len();
        let forms = names
            .iter()
            .map(|name| self.form_of_one(&part, name, packing));
        let forms = forms.collect::<Result<Vec<_>>>()?;
        let mut packed = forms.iter().map(|form| matches!(form, Form::Packed(_)));
        if packed.clone().any(|is| is) && !packed.all(|is| is) {
            return Err(Error::model(
                &self.files[self.found[first].file].path,
                format!("of `{first}` and `{last}` only one is packed"),
            ));
        }
        Ok(Form::Experts(forms))
    }

    fn form_of_one(
        &self,
        spec: &TensorSpec,
        name: &str,
        packing: Option<&MlxPacking>,
    ) -> Result<Form> {
        let packed = packing.map(|packing| self.packed_regions(spec, name, packing));
        Ok(match packed.transpose()?.flatten() {
            Some(regions) => Form::Packed(regions),
            None => Form::Plain(self.region(name, &spec.shape, Expected::Numbers)?),
        })
    }

    /// The tensor `spec`, stored in this form; packed matrices as the weights that they stand for.
    pub(super) fn open_form(&self, form: &Form, spec: &TensorSpec) -> Tensor<'_> {
        match form {
            Form::Plain(region) => self.tensor(region),
            Form::Packed(regions) => Tensor::unpacked(self.packed(regions)),
            Form::Experts(parts) => {
                let of_expert = spec.shape[1..].iter().product::<usize>();
                let run = of_expert / parts.len();
                let columns = spec.columns().unwrap_or(1);
                let parts = parts.iter().map(|part| self.open_form(part, spec));
                Tensor::in_turns(parts.collect(), run, columns)
            }
        }
    }
}
