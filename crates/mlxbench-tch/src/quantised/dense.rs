//! What codes stand for, as plain numbers.

use mlxbench_core::Scheme;
use tch::{Kind, TchError, Tensor};

use super::{BLOCK, Kernel, Quantised};

/// Weights that are dequantised at once: 2 MiB of them stay in a cache until they are multiplied.
pub(super) const AT_ONCE: i64 = 1 << 19;

/// Columns that are unpacked at once.
const COLUMNS_AT_ONCE: i64 = 512;

impl Quantised {
    /// All weights as the product takes them, in the dtype of activations. Shape `[rows, columns]`.
    pub(crate) fn dequantised(&self) -> Result<Tensor, TchError> {
        match self.kernel {
            Kernel::Int8Pack => {
                let mut codes = self.codes.f_to_kind(self.dtype)?;
                codes.f_mul_(&self.scales.f_view([-1, 1])?)
            }
            Kernel::Int4Pack | Kernel::Int4PackForCpu => self.unpacked(),
            Kernel::Dequantised(_) => {
                let rows = self.codes.size()[0];
                let place = (Kind::Float, self.device());
                let weights = Tensor::f_empty([rows, self.columns], place)?;
                for (first, count) in self.parts() {
                    let part = weights.f_narrow(0, first, count)?;
                    self.rows(first, count)?.dequantise(&part)?;
                }
                weights.f_to_kind(self.dtype)
            }
        }
    }

    /// The weights of libtorch's 4-bit layouts, which differ by device and CPU: the products of each column alone.
    fn unpacked(&self) -> Result<Tensor, TchError> {
        let place = (self.dtype, self.device());
        let parts = (0..self.columns).step_by(COLUMNS_AT_ONCE as usize);
        let parts = parts.map(|first| {
            let count = COLUMNS_AT_ONCE.min(self.columns - first);
            let ones = Tensor::f_zeros([count, self.columns], place)?;
            let _ = ones.f_narrow(1, first, count)?.f_fill_diagonal_(1, false)?;
            self.product(&ones)
        });
        let parts = parts.collect::<Result<Vec<_>, TchError>>()?;
        Tensor::f_cat(&parts, 0)?.f_transpose(0, 1)
    }

    /// The product of [`Kernel::Dequantised`].
    pub(super) fn dequantised_product(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let in_f32 = x.f_to_kind(Kind::Float)?;
        let at_once = self.rows_at_once();
        // One buffer for all: between results that stay, those of one call each would never be used again.
        let buffer = Tensor::f_empty([at_once, self.columns], (Kind::Float, x.device()))?;
        let parts = self.parts().map(|(first, count)| {
            let weights = buffer.f_narrow(0, 0, count)?;
            self.rows(first, count)?.dequantise(&weights)?;
            in_f32.f_linear(&weights, None::<&Tensor>)
        });
        let parts = parts.collect::<Result<Vec<_>, TchError>>()?;
        Tensor::f_cat(&parts, -1)?.f_to_kind(x.kind())
    }

    /// Rows of [`AT_ONCE`] weights.
    fn rows_at_once(&self) -> i64 {
        (AT_ONCE / self.columns).clamp(1, self.codes.size()[0])
    }

    /// The first row of each part of so many, and the rows in it.
    fn parts(&self) -> impl Iterator<Item = (i64, i64)> + use<> {
        let (rows, at_once) = (self.codes.size()[0], self.rows_at_once());
        let starts = (0..rows).step_by(at_once as usize);
        starts.map(move |first| (first, at_once.min(rows - first)))
    }

    /// Writes to `weights`, in f32, those that the codes of [`Kernel::Dequantised`] stand for, exactly.
    fn dequantise(&self, weights: &Tensor) -> Result<(), TchError> {
        let rows = self.codes.size()[0];
        if self.kernel.scheme() == Scheme::Q8 {
            let mut weights = weights.shallow_clone();
            weights.f_copy_(&self.codes)?;
            return weights.f_mul_(&self.scales).map(drop);
        }
        let pairs = self.codes.f_view([rows, -1, BLOCK / 2])?;
        let halves = weights.f_view([rows, -1, 2, BLOCK / 2])?;
        let half = |half| halves.f_select(2, half);
        half(0)?.f_copy_(&pairs.f_bitwise_and(15)?)?;
        half(1)?.f_copy_(&pairs.f_bitwise_right_shift_tensor_scalar(4)?)?;
        let mut blocks = weights.f_view([rows, -1, BLOCK])?;
        let scales = self.scales.f_unsqueeze(-1)?;
        blocks.f_sub_scalar_(8)?.f_mul_(&scales).map(drop)
    }
}
