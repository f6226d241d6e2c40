//! A mixture of experts.

use mlx_rs::error::Result;
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::{argpartition_axis, argsort_axis, softmax_axis};
use mlx_rs::{Array, Dtype};
use mlxbench_core::gemma::{ExpertsSpec, LayerNames, parts};

use crate::framework::Mlx;
use crate::fused::Fused;
use crate::linear::{Gathered, Linear};
use crate::weights::Weights;

/// From so many choices of tokens on they are sorted by expert first, so that products find rows of one expert
/// together: as mlx-lm does it.
const SORTED_FROM: i32 = 64;

/// The experts of a layer. The device picks them, and multiplies by those alone.
#[derive(Debug)]
pub struct Experts {
    top_k: i32,
    router: Linear,
    /// What each expert counts, of shape `[experts]`, in f32.
    factors: Array,
    gate_up_proj: Gathered,
    down_proj: Gathered,
    geglu: Fused,
}

impl parts::Experts<Mlx> for Experts {
    fn load(
        weights: &Weights<'_>,
        names: LayerNames,
        experts: &ExpertsSpec,
        hidden: usize,
    ) -> Result<Self> {
        let of_each =
            |name, columns| weights.experts(&names.tensor(name), [experts.count, columns]);
        let factors = weights.vector(&names.tensor("router.per_expert_scale"))?;
        Ok(Self {
            top_k: experts.top_k as i32,
            router: weights.linear(names, &["router.proj"], hidden, false)?,
            factors: factors.as_dtype(Dtype::Float32)?,
            gate_up_proj: of_each("experts.gate_up_proj", hidden)?,
            down_proj: of_each("experts.down_proj", experts.width)?,
            geglu: Fused::geglu(),
        })
    }

    fn forward(&self, routed: &Array, x: &Array) -> Result<Array> {
        let rows = x.reshape(&[-1, x.dim(-1)])?;
        let (chosen, shares) = self.route(&routed.reshape(rows.shape())?)?;
        let y = match chosen.size() as i32 >= SORTED_FROM {
            true => self.sorted(&rows, &chosen)?,
            false => {
                let rows = rows.expand_dims_axes(&[1, 2])?;
                self.mlps(&rows, &chosen, false)?.squeeze_axes(&[2])?
            }
        };
        let shares = shares.as_dtype(x.dtype())?.expand_dims(-1)?;
        y.multiply(shares)?.sum_axis(1, false)?.reshape(x.shape())
    }
}

impl Experts {
    /// The experts that each of `rows` goes through and what they count, both of shape `[rows, top_k]`, the latter in
    /// f32.
    fn route(&self, rows: &Array) -> Result<(Array, Array)> {
        let scores = self.router.forward(rows)?.as_dtype(Dtype::Float32)?;
        let chosen = match self.top_k < scores.dim(1) {
            true => argpartition_axis(&scores, -self.top_k, -1)?,
            false => argsort_axis(&scores, -1)?,
        };
        let chosen = chosen.try_index((.., -self.top_k..))?;
        let shares = softmax_axis(scores.take_along_axis(&chosen, -1)?, -1, true)?;
        let factors = self.factors.take_axis(&chosen, 0)?;
        Ok((chosen, shares.multiply(factors)?))
    }

    /// What the experts `chosen` make of `rows`, of shape `[rows, hidden]`, in the order of experts meanwhile. Shape
    /// `[rows, top_k, hidden]`.
    fn sorted(&self, rows: &Array, chosen: &Array) -> Result<Array> {
        let flat = chosen.flatten(None, None)?;
        let order = argsort_axis(&flat, 0)?;
        let back = argsort_axis(&order, 0)?;
        let of_rows = order.floor_divide(Array::from_int(self.top_k).as_dtype(order.dtype())?)?;
        let x = rows.take_axis(of_rows, 0)?.expand_dims(1)?;
        let y = self.mlps(&x, &flat.take_axis(&order, 0)?, true)?;
        y.take_axis(back, 0)?
            .reshape(&[rows.dim(0), self.top_k, rows.dim(1)])
    }

    /// The MLPs `chosen` of `x`, as [`Gathered::product`] takes both.
    fn mlps(&self, x: &Array, chosen: &Array, sorted: bool) -> Result<Array> {
        let gate_up = self.gate_up_proj.product(x, chosen, sorted)?;
        let [gate, up] = &gate_up.split_equal(2, -1)?[..] else {
            unreachable!("split in two");
        };
        let gated = self.geglu.forward(gate, up)?;
        self.down_proj.product(&gated, chosen, sorted)
    }
}
