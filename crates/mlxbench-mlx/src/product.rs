//! A product with a weight matrix alone, for probes.

use mlx_rs::error::Result as MlxResult;
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::tile;
use mlx_rs::transforms::eval;
use mlx_rs::{Array, Stream, random, with_stream};
use mlxbench_core::probe::ProductShape;
use mlxbench_core::{Dtype, Result, backend};

use crate::backend::framework;
use crate::linear::{Linear, Weight};
use crate::weights;

/// Rows of random numbers, which repeat: more would take longer to make than to multiply.
const RANDOM_ROWS: usize = 256;

/// An input and copies of weights, all random, on a stream.
#[derive(Debug)]
pub struct Product {
    stream: Stream,
    /// Shape `[1, rows, in_features]`.
    input: Array,
    weights: Vec<Linear>,
    /// Products that were asked for and not waited for.
    pending: Vec<Array>,
}

impl Product {
    pub(crate) fn random(
        shape: ProductShape,
        copies: usize,
        dtype: Dtype,
        stream: Stream,
    ) -> MlxResult<Self> {
        let matrix = |rows| matrix(rows, shape.in_features, dtype);
        let weight = || matrix(shape.out_features).map(Weight::plain);
        let weights = (0..copies).map(|_| Ok(Linear::new(weight()?, None)));
        let weights = weights.collect::<MlxResult<_>>()?;
        let input = matrix(shape.rows)?.expand_dims(0)?;
        Ok(Self {
            stream,
            input,
            weights,
            pending: Vec::new(),
        })
    }
}

impl backend::Product for Product {
    fn multiply(&mut self, copy: usize) -> Result<()> {
        let product = with_stream(&self.stream, || self.weights[copy].forward(&self.input));
        self.pending.push(product.map_err(framework)?);
        Ok(())
    }

    fn synchronize(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        with_stream(&self.stream, || eval(&pending)).map_err(framework)
    }
}

/// Shape `[rows, columns]`, computed.
fn matrix(rows: usize, columns: usize, dtype: Dtype) -> MlxResult<Array> {
    let shape = [rows.min(RANDOM_ROWS) as i32, columns as i32];
    let block = random::normal::<f32>(&shape, None, None, None)?.as_dtype(weights::dtype(dtype))?;
    let blocks = tile(&block, &[rows.div_ceil(RANDOM_ROWS) as i32, 1])?;
    // A view of the first rows would keep all of them.
    let matrix = blocks.try_index(..rows as i32)?;
    matrix.eval()?;
    Ok(matrix)
}
