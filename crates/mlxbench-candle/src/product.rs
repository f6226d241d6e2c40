//! A product with a weight matrix alone, for probes.

use candle_core::{Device, Tensor};
use mlxbench_core::probe::ProductShape;
use mlxbench_core::{Dtype, Error, Result, backend};

use crate::linear::{Linear, Weight};
use crate::weights;

/// Rows of random numbers, which repeat: more would take longer to make than to multiply.
const RANDOM_ROWS: usize = 256;

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
        device: &Device,
    ) -> candle_core::Result<Self> {
        let matrix = |rows| random(rows, shape.in_features, dtype, device);
        let weight = || matrix(shape.out_features).map(Weight::Plain);
        let weights = (0..copies).map(|_| Ok(Linear::new(weight()?, None)));
        Ok(Self {
            device: device.clone(),
            input: matrix(shape.rows)?.unsqueeze(0)?,
            weights: weights.collect::<candle_core::Result<_>>()?,
        })
    }
}

impl backend::Product for Product {
    fn multiply(&mut self, copy: usize) -> Result<()> {
        let product = self.weights[copy].forward(&self.input);
        product.map(drop).map_err(Error::framework)
    }

    fn synchronize(&mut self) -> Result<()> {
        self.device.synchronize().map_err(Error::framework)
    }
}

/// Shape `[rows, columns]`.
fn random(
    rows: usize,
    columns: usize,
    dtype: Dtype,
    device: &Device,
) -> candle_core::Result<Tensor> {
    let block = Tensor::randn(0_f32, 1.0, (rows.min(RANDOM_ROWS), columns), device)?;
    let block = block.to_dtype(weights::dtype(dtype))?;
    let blocks = vec![block; rows.div_ceil(RANDOM_ROWS)];
    Tensor::cat(&blocks, 0)?.narrow(0, 0, rows)?.contiguous()
}
