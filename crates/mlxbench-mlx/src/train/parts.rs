//! A layer's parts, through which gradients pass. MLX's own kernels have gradients, those of quantised products for
//! what is multiplied; only chains that were compiled for running a model are composed anew.

use mlx_rs::error::Result;
use mlx_rs::transforms::{async_eval, value_and_grad_with_argnums};
use mlx_rs::{Array, Dtype};
use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::parts::Attention as _;
use mlxbench_core::gemma::parts::{Framework, Heads, Mlp as _, Norm, Rope as _};
use mlxbench_core::gemma::pass::Pass;
use mlxbench_core::gemma::train::{Differentiable, LowRank};

use crate::attention::{Attention, Mask};
use crate::framework::{Mlx, Place};
use crate::fused::{geglu, soft_cap};
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::per_layer::PerLayerInput;
use crate::rope::Rope;

impl Differentiable for Mlx {
    fn value_and_gradients(
        f: impl Fn(&[Array]) -> Result<Array>,
        at: &[Array],
    ) -> Result<(Array, Vec<Array>)> {
        let all: Vec<i32> = (0..at.len() as i32).collect();
        let value = |at: &[Array]| f(at).map(|value| vec![value]);
        let (mut values, gradients) = value_and_grad_with_argnums(value, &all[..])(at)?;
        Ok((values.swap_remove(0), gradients))
    }

    fn dot(x: &Array, y: &Array) -> Result<Array> {
        x.multiply(y)?.sum(None)
    }

    fn settle(tensors: &[Array]) -> Result<()> {
        async_eval(tensors)
    }

    fn mask_of_text(pass: &Pass, attention: &AttentionSpec, place: &Place) -> Result<Mask> {
        Self::mask(pass, attention, place)
    }

    fn norm(norm: &RmsNorm, x: &Array) -> Result<Array> {
        norm.forward(x)
    }

    fn rotate(rope: &Rope, x: &Array) -> Result<Array> {
        rope.forward(x)
    }

    fn project(attention: &Attention, x: &Array) -> Result<Heads<Array>> {
        attention.project(x)
    }

    fn split(attention: &Attention, x: &Array) -> Result<Array> {
        attention.split(x)
    }

    fn attend(
        attention: &Attention,
        queries: &Array,
        keys_values: [&Array; 2],
        mask: &Mask,
    ) -> Result<Array> {
        attention.mixed(queries, keys_values, mask, |softcap, scores| {
            soft_cap(scores, softcap.cap())
        })
    }

    fn output(attention: &Attention, mixed: &Array) -> Result<Array> {
        attention.output(mixed)
    }

    fn gate_up(mlp: &Mlp, x: &Array) -> Result<[Array; 2]> {
        halves(&mlp.gate_up(x)?)
    }

    fn gated(gate: &Array, up: &Array) -> Result<Array> {
        geglu(gate, up)
    }

    fn down(mlp: &Mlp, gated: &Array) -> Result<Array> {
        mlp.down(gated)
    }

    fn per_layer_input(part: &PerLayerInput, x: &Array, input: &Array) -> Result<Array> {
        let gate = part.gate.forward(x)?;
        part.projection.forward(&geglu(&gate, input)?)
    }

    fn low_rank(adapter: &LowRank<Array>, x: &Array) -> Result<Array> {
        let inner = x.as_dtype(Dtype::Float32)?.matmul(adapter.a.t())?;
        let outer = inner.matmul(adapter.b.t())?;
        let scale = Array::from_f32(adapter.scale as f32);
        outer.multiply(scale)?.as_dtype(x.dtype())
    }

    fn sum(x: &Array, y: &Array) -> Result<Array> {
        x.add(y)
    }

    fn scaled(x: &Array, by: &Array) -> Result<Array> {
        x.multiply(by)
    }
}

fn halves(both: &Array) -> Result<[Array; 2]> {
    let [first, second] = &both.split_equal(2, -1)?[..] else {
        unreachable!("split in two");
    };
    Ok([first.clone(), second.clone()])
}
