//! The shape of a product with a weight matrix, and what such a product reads and multiplies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Dtype;

/// `x W^T` with `x` of shape `[rows, in_features]`, `W` of shape `[out_features, in_features]`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ProductShape {
    /// Rows of the input: tokens.
    pub rows: usize,
    /// Columns of input and weights.
    pub in_features: usize,
    /// Rows of the weights.
    pub out_features: usize,
}

impl ProductShape {
    /// Elements of the weights.
    pub fn elements(&self) -> u64 {
        (self.in_features as u64).saturating_mul(self.out_features as u64)
    }

    /// Bytes of the weights, all of which a product reads. Input and output aren't counted.
    pub fn weight_bytes(&self, dtype: Dtype) -> u64 {
        self.elements().saturating_mul(dtype.size_bytes())
    }

    /// Multiplications and additions.
    pub fn operations(&self) -> u64 {
        (2 * self.rows as u64).saturating_mul(self.elements())
    }
}
