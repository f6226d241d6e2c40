//! AdamW, written out: `mlxbench_core::lora::Update` has the formula.

use mlx_rs::error::Result;
use mlx_rs::ops::zeros_dtype;
use mlx_rs::{Array, Dtype};
use mlxbench_core::lora::{BETAS, EPS, Lora};

/// Running means for each matrix, in f32.
#[derive(Debug)]
pub(super) struct AdamW {
    steps: u32,
    /// Of gradients.
    means: Vec<Array>,
    /// Of their squares.
    squares: Vec<Array>,
}

impl AdamW {
    pub(super) fn new(matrices: &[Array]) -> Result<Self> {
        let zeros = || {
            let zeros = matrices.iter();
            let zeros = zeros.map(|matrix| zeros_dtype(matrix.shape(), Dtype::Float32));
            zeros.collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            steps: 0,
            means: zeros()?,
            squares: zeros()?,
        })
    }

    /// The running means, to be evaluated.
    pub(super) fn state(&self) -> impl Iterator<Item = &Array> {
        self.means.iter().chain(&self.squares)
    }

    /// One step of `matrices`.
    pub(super) fn update(
        &mut self,
        lora: &Lora,
        matrices: &mut [Array],
        gradients: &[Array],
    ) -> Result<()> {
        self.steps += 1;
        let update = lora.update(self.steps);
        let times = |x: &Array, by: f64| x.multiply(Array::from_f32(by as f32));
        let of_all = matrices.iter_mut().zip(gradients);
        let means = self.means.iter_mut().zip(&mut self.squares);
        for ((matrix, gradient), (mean, square)) in of_all.zip(means) {
            *mean = times(mean, BETAS[0])?.add(times(gradient, 1.0 - BETAS[0])?)?;
            let squared = gradient.square()?;
            *square = times(square, BETAS[1])?.add(times(&squared, 1.0 - BETAS[1])?)?;
            let root = times(&square.sqrt()?, update.root)?.add(Array::from_f32(EPS as f32))?;
            let step = times(mean, update.rate)?.divide(root)?;
            *matrix = times(matrix, update.keep)?.subtract(step)?;
        }
        Ok(())
    }
}
