//! A mixture of experts.

use mlxbench_core::gemma::{ExpertsSpec, LayerNames, parts, routes};
use tch::{Kind, TchError, Tensor};

use crate::framework::Torch;
use crate::linear::Linear;
use crate::mlp::gated;
use crate::weights::Weights;

/// The experts of a layer. The host picks them, as transformers' own loop does: products with matrices that the
/// device picks would have to copy those first. On a GPU every layer waits for its scores.
#[derive(Debug)]
pub struct Experts {
    spec: ExpertsSpec,
    hidden: i64,
    router: Linear,
    /// What each expert counts.
    factors: Vec<f32>,
    /// Those of all experts, one below the other.
    gate_up_proj: Linear,
    down_proj: Linear,
}

impl parts::Experts<Torch> for Experts {
    fn load(
        weights: &Weights<'_>,
        names: LayerNames,
        experts: &ExpertsSpec,
        hidden: usize,
    ) -> Result<Self, TchError> {
        let factors = weights.vector(&names.tensor("router.per_expert_scale"))?;
        let of_all = |name, columns| weights.experts(&names.tensor(name), columns);
        Ok(Self {
            spec: *experts,
            hidden: hidden as i64,
            router: weights.linear(names, &["router.proj"], hidden, false)?,
            factors: factors.f_to_kind(Kind::Float)?.try_into()?,
            gate_up_proj: of_all("experts.gate_up_proj", hidden)?,
            down_proj: of_all("experts.down_proj", experts.width)?,
        })
    }

    fn forward(&self, routed: &Tensor, x: &Tensor) -> Result<Tensor, TchError> {
        let scores = self.router.forward(routed)?;
        let scores = scores.f_to_kind(Kind::Float)?.f_reshape([-1])?;
        let scores: Vec<f32> = scores.try_into()?;
        let rows = x.f_reshape([-1, self.hidden])?;
        let mut sum = rows.f_zeros_like()?;
        for route in routes(&scores, &self.factors, self.spec.top_k) {
            let chosen: Vec<i64> = route.rows.iter().map(|&row| row.into()).collect();
            let chosen = Tensor::f_from_slice(&chosen)?.f_to_device(x.device())?;
            let shares = Tensor::f_from_slice(&route.shares)?.f_view([-1, 1])?;
            let shares = shares.f_to_device(x.device())?.f_to_kind(x.kind())?;
            let y = self.expert(route.expert as i64, &rows.f_index_select(0, &chosen)?)?;
            sum = sum.f_index_add_(0, &chosen, &y.f_mul(&shares)?)?;
        }
        sum.f_view_as(x)
    }
}

impl Experts {
    /// What an expert makes of `rows`, of shape `[rows, hidden]`.
    fn expert(&self, expert: i64, rows: &Tensor) -> Result<Tensor, TchError> {
        let (both, hidden) = (2 * self.spec.width as i64, self.hidden);
        let gate_up = self.gate_up_proj.rows(expert * both, both)?;
        let down = self.down_proj.rows(expert * hidden, hidden)?;
        let rows = rows.f_unsqueeze(0)?;
        down.forward(&gated(&gate_up.forward(&rows)?)?)?
            .f_squeeze_dim(0)
    }
}
