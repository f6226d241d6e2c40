//! A layer's parts, through which gradients pass. candle's fused kernels (`softmax_last_dim`, `rms_norm`, `rope`,
//! `sdpa`) and writes into a cache lose them without a word, so all is composed.

use candle_core::{D, DType, Error, Result, Tensor, Var};
use candle_nn::ops::rms_norm_slow;
use candle_nn::rotary_emb::rope_slow;
use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::parts::Heads;
use mlxbench_core::gemma::pass::Pass;
use mlxbench_core::gemma::train::{Differentiable, LowRank};

use crate::attention::Attention;
use crate::framework::{Candle, Place, mask_in_f32};
use crate::mlp::{Mlp, geglu};
use crate::norm::RmsNorm;
use crate::per_layer::PerLayerInput;
use crate::rope::Rope;

impl RmsNorm {
    /// As its forward, in separate steps.
    pub(super) fn with_gradient(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm_slow(x, &self.factor, self.eps)
    }
}

impl Differentiable for Candle {
    fn value_and_gradients(
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
        at: &[Tensor],
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let leaves: Vec<Var> = at.iter().map(Var::from_tensor).collect::<Result<_>>()?;
        let tensors: Vec<Tensor> = leaves.iter().map(|leaf| leaf.as_tensor().clone()).collect();
        let value = f(&tensors)?;
        let mut store = value.backward()?;
        let gradients = tensors.iter().enumerate().map(|(index, leaf)| {
            let gradient = store.remove(leaf).ok_or_else(|| {
                let (number, all) = (index + 1, at.len());
                Error::msg(format!("candle lost gradient {number} of {all}"))
            });
            Ok(gradient?.detach())
        });
        Ok((value.detach(), gradients.collect::<Result<_>>()?))
    }

    fn dot(x: &Tensor, y: &Tensor) -> Result<Tensor> {
        (x * y)?.sum_all()
    }

    fn mask_of_text(pass: &Pass, _: &AttentionSpec, place: &Place) -> Result<Option<Tensor>> {
        mask_in_f32(pass, place)
    }

    fn norm(norm: &RmsNorm, x: &Tensor) -> Result<Tensor> {
        norm.with_gradient(x)
    }

    fn rotate(rope: &Rope, x: &Tensor) -> Result<Tensor> {
        rope_slow(x, &rope.cos, &rope.sin)
    }

    fn project(attention: &Attention, x: &Tensor) -> Result<Heads<Tensor>> {
        attention.heads_of(&attention.qkv_proj.with_gradient(x)?)
    }

    fn split(attention: &Attention, x: &Tensor) -> Result<Tensor> {
        let heads = x.dim(D::Minus1)? / attention.spec.head_dim;
        attention.split(x, 0, heads)
    }

    fn attend(
        attention: &Attention,
        queries: &Tensor,
        [keys, values]: [&Tensor; 2],
        mask: &Option<Tensor>,
    ) -> Result<Tensor> {
        let mixed = attention.plain_by(queries, keys, values, mask.as_ref(), softmax)?;
        mixed.transpose(1, 2)?.flatten_from(2)
    }

    fn output(attention: &Attention, mixed: &Tensor) -> Result<Tensor> {
        attention.o_proj.with_gradient(mixed)
    }

    fn gate_up(mlp: &Mlp, x: &Tensor) -> Result<[Tensor; 2]> {
        let both = mlp.gate_up_proj.with_gradient(x)?;
        let half = |index| {
            both.narrow(D::Minus1, index * mlp.width, mlp.width)?
                .contiguous()
        };
        Ok([half(0)?, half(1)?])
    }

    fn gated(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        geglu(gate, up)
    }

    fn down(mlp: &Mlp, gated: &Tensor) -> Result<Tensor> {
        mlp.down_proj.with_gradient(gated)
    }

    fn per_layer_input(part: &PerLayerInput, x: &Tensor, input: &Tensor) -> Result<Tensor> {
        let gate = part.gate.with_gradient(x)?;
        part.projection.with_gradient(&geglu(&gate, input)?)
    }

    fn low_rank(adapter: &LowRank<Tensor>, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let rows = x.to_dtype(DType::F32)?.reshape((batch * tokens, width))?;
        let outer = rows.matmul(&adapter.a.t()?)?.matmul(&adapter.b.t()?)?;
        let outer = (outer * adapter.scale)?.to_dtype(x.dtype())?;
        outer.reshape((batch, tokens, ()))
    }

    fn sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
        x + y
    }

    fn scaled(x: &Tensor, by: &f64) -> Result<Tensor> {
        x * *by
    }
}

/// Over the last axis. The largest is taken off as a constant: its gradient is 0 whatever it is, and candle would
/// compute it.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    let largest = scores.max_keepdim(D::Minus1)?.detach();
    let powers = scores.broadcast_sub(&largest)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}
