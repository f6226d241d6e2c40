//! AdamW, written out: `mlxbench_core::lora::Update` has the formula.

use candle_core::{Result, Tensor};
use mlxbench_core::lora::{BETAS, EPS, Lora};

/// Running means for each matrix, in f32.
#[derive(Debug)]
pub(super) struct AdamW {
    steps: u32,
    /// Of gradients.
    means: Vec<Tensor>,
    /// Of their squares.
    squares: Vec<Tensor>,
}

impl AdamW {
    pub(super) fn new(matrices: &[Tensor]) -> Result<Self> {
        let zeros = || {
            let zeros = matrices.iter().map(|matrix| matrix.zeros_like());
            zeros.collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            steps: 0,
            means: zeros()?,
            squares: zeros()?,
        })
    }

    /// One step of `matrices`.
    pub(super) fn update(
        &mut self,
        lora: &Lora,
        matrices: &mut [Tensor],
        gradients: &[Tensor],
    ) -> Result<()> {
        self.steps += 1;
        let update = lora.update(self.steps);
        let of_all = matrices.iter_mut().zip(gradients);
        let means = self.means.iter_mut().zip(&mut self.squares);
        for ((matrix, gradient), (mean, square)) in of_all.zip(means) {
            *mean = ((&*mean * BETAS[0])? + (gradient * (1.0 - BETAS[0]))?)?;
            *square = ((&*square * BETAS[1])? + (gradient.sqr()? * (1.0 - BETAS[1]))?)?;
            let root = ((square.sqrt()? * update.root)? + EPS)?;
            let step = ((&*mean * update.rate)? / root)?;
            *matrix = ((&*matrix * update.keep)? - step)?;
        }
        Ok(())
    }
}
