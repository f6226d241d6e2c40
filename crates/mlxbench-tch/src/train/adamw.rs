//! AdamW, written out: `mlxbench_core::lora::Update` has the formula.

use mlxbench_core::lora::{BETAS, EPS, Lora};
use tch::{TchError, Tensor, no_grad};

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
    pub(super) fn new(matrices: &[Tensor]) -> Result<Self, TchError> {
        let zeros = || {
            let zeros = matrices.iter().map(Tensor::f_zeros_like);
            no_grad(|| zeros.collect::<Result<Vec<_>, _>>())
        };
        Ok(Self {
            steps: 0,
            means: zeros()?,
            squares: zeros()?,
        })
    }

    /// One step of `matrices`, in place.
    pub(super) fn update(
        &mut self,
        lora: &Lora,
        matrices: &mut [Tensor],
        gradients: &[Tensor],
    ) -> Result<(), TchError> {
        self.steps += 1;
        let update = lora.update(self.steps);
        let of_all = matrices.iter_mut().zip(gradients);
        let means = self.means.iter_mut().zip(&mut self.squares);
        no_grad(|| {
            for ((matrix, gradient), (mean, square)) in of_all.zip(means) {
                let _ = mean
                    .f_mul_scalar_(BETAS[0])?
                    .f_add_(&gradient.f_mul_scalar(1.0 - BETAS[0])?)?;
                let _ = square
                    .f_mul_scalar_(BETAS[1])?
                    .f_add_(&gradient.f_square()?.f_mul_scalar_(1.0 - BETAS[1])?)?;
                let root = square
                    .f_sqrt()?
                    .f_mul_scalar_(update.root)?
                    .f_add_scalar_(EPS)?;
                let step = mean.f_mul_scalar(update.rate)?.f_div_(&root)?;
                let _ = matrix.f_mul_scalar_(update.keep)?.f_sub_(&step)?;
            }
            Ok(())
        })
    }
}
