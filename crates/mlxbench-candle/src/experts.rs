//! A mixture of experts.

use candle_core::{DType, Result, Tensor};
use mlxbench_core::gemma::{ExpertsSpec, LayerNames, parts, routes};

use crate::framework::Candle;
use crate::linear::Linear;
use crate::mlp::gated;
use crate::weights::Weights;

/// The experts of a layer. candle has no product with matrices that the device picks, so the host picks them: on a
/// GPU every layer waits for its scores.
#[derive(Debug)]
pub struct Experts {
    spec: ExpertsSpec,
    router: Linear,
    /// What each expert counts.
    factors: Vec<f32>,
    /// Of each expert.
    gate_up_proj: Vec<Linear>,
    down_proj: Vec<Linear>,
}

impl parts::Experts<Candle> for Experts {
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
            spec: *experts,
            router: weights.linear(names, &["router.proj"], hidden, false)?,
            factors: factors.to_dtype(DType::F32)?.to_vec1()?,
            gate_up_proj: of_each("experts.gate_up_proj", hidden)?,
            down_proj: of_each("experts.down_proj", experts.width)?,
        })
    }

    fn forward(&self, routed: &Tensor, x: &Tensor) -> Result<Tensor> {
        let scores = self.router.forward(routed)?.to_dtype(DType::F32)?;
        let scores = scores.flatten_all()?.to_vec1::<f32>()?;
        let rows = x.flatten_to(1)?;
        let mut sum = rows.zeros_like()?;
        for route in routes(&scores, &self.factors, self.spec.top_k) {
            let count = route.rows.len();
            let chosen = Tensor::from_vec(route.rows, count, x.device())?;
            let shares = Tensor::from_vec(route.shares, (count, 1), x.device())?;
            let y = self.expert(route.expert, &rows.index_select(&chosen, 0)?)?;
            let y = y.broadcast_mul(&shares.to_dtype(x.dtype())?)?;
            sum = sum.index_add(&chosen, &y, 0)?;
        }
        sum.reshape(x.shape())
    }
}

impl Experts {
    /// What an expert makes of `rows`, of shape `[rows, hidden]`.
    fn expert(&self, expert: usize, rows: &Tensor) -> Result<Tensor> {
        let (gate_up, down) = (&self.gate_up_proj[expert], &self.down_proj[expert]);
        let gated = gated(&gate_up.forward(&rows.unsqueeze(0)?)?, self.spec.width)?;
        down.forward(&gated)?.squeeze(0)
    }
}
