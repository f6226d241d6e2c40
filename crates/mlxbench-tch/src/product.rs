//! A product with a weight matrix alone, for probes.

use mlxbench_core::probe::ProductShape;
use mlxbench_core::{Dtype, Result, backend};
use tch::{Device, Kind, TchError, Tensor};

use crate::backend::{framework, synchronize};
use crate::inference::inference;
use crate::linear::{Linear, Weight};
use crate::weights;

/// Rows of random numbers, which repeat: more would take longer to make than to multiply.
const RANDOM_ROWS: i64 = 256;

/// An input and copies of weights, all random.
#[derive(Debug)]
pub struct Product {
    device: Device,
    /// Shape `[1, rows, in_features]`.
    input: Tensor,
    weights: Vec<Linear>,
}

impl Product {
    pub(crate) fn random(
        shape: ProductShape,
        copies: usize,
        dtype: Dtype,
        device: Device,
    ) -> Result<Self, TchError> {
        let matrix = |rows| random(rows as i64, shape.in_features as i64, dtype, device);
        let weights = (0..copies).map(|_| {
            let weight = Weight::Plain(matrix(shape.out_features)?);
            Ok(Linear::new(weight, None))
        });
        Ok(Self {
            device,
            input: matrix(shape.rows)?.f_unsqueeze(0)?,
            weights: weights.collect::<Result<_, TchError>>()?,
        })
    }
}

impl backend::Product for Product {
    fn multiply(&mut self, copy: usize) -> Result<()> {
        let product = inference(|| self.weights[copy].forward(&self.input));
        product.map(drop).map_err(framework)
    }

    fn synchronize(&mut self) -> Result<()> {
        synchronize(self.device)
    }
}

/// Shape `[rows, columns]`.
fn random(rows: i64, columns: i64, dtype: Dtype, device: Device) -> Result<Tensor, TchError> {
    let block = Tensor::f_randn([rows.min(RANDOM_ROWS), columns], (Kind::Float, device))?;
    let block = block.f_to_kind(weights::dtype(dtype))?;
    let times = (rows as u64).div_ceil(RANDOM_ROWS as u64) as i64;
    block
        .f_repeat([times, 1])?
        .f_narrow(0, 0, rows)?
        .f_contiguous()
}
