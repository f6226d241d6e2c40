//! A layer's parts, through which gradients pass: nothing that a backward pass needs is written in place, and weights
//! are such as autograd may keep.

use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::parts::Heads;
use mlxbench_core::gemma::pass::{Mask, Pass};
use mlxbench_core::gemma::train::{Differentiable, LowRank};
use tch::{Kind, TchError, Tensor};

use crate::attention::{Attention, Form};
use crate::forms;
use crate::framework::{Place, Torch};
use crate::mask;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::per_layer::PerLayerInput;
use crate::rope::Rope;

type Result<T> = std::result::Result<T, TchError>;

impl Differentiable for Torch {
    fn value_and_gradients(
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
        at: &[Tensor],
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let leaves = at.iter().map(|at| at.f_detach()?.f_set_requires_grad(true));
        let leaves: Vec<Tensor> = leaves.collect::<Result<_>>()?;
        let value = f(&leaves)?;
        let gradients = Tensor::f_run_backward(&[&value], &leaves, false, false)?;
        Ok((value.f_detach()?, gradients))
    }

    fn dot(x: &Tensor, y: &Tensor) -> Result<Tensor> {
        x.f_mul(y)?.f_sum(None::<Kind>)
    }

    /// As for running a model, but for flash attention by its own entry, which has no gradient.
    fn mask_of_text(pass: &Pass, attention: &AttentionSpec, place: &Place) -> Result<Form> {
        let group = attention.queries_per_kv() as i64;
        match place.kernels.form(pass, attention)? {
            Form::Flash(_) if pass.mask == Mask::Causal => Ok(Form::Causal),
            Form::Flash(_) => {
                let mask = mask::of_pass(pass, group, (place.dtype, place.device))?;
                Ok(Form::Grouped(mask))
            }
            form => Ok(form),
        }
    }

    fn norm(norm: &RmsNorm, x: &Tensor) -> Result<Tensor> {
        norm.with_gradient(x)
    }

    fn rotate(rope: &Rope, x: &Tensor) -> Result<Tensor> {
        rope.with_gradient(x)
    }

    fn project(attention: &Attention, x: &Tensor) -> Result<Heads<Tensor>> {
        attention.heads_of(&attention.qkv_proj.with_gradient(x)?)
    }

    fn split(attention: &Attention, x: &Tensor) -> Result<Tensor> {
        let heads = x.size3()?.2 / attention.head_dim;
        attention.split(x, 0, heads)
    }

    fn attend(
        attention: &Attention,
        queries: &Tensor,
        keys_values: [&Tensor; 2],
        mask: &Form,
    ) -> Result<Tensor> {
        let (batch, _, tokens, _) = queries.size4()?;
        let scale = attention.scale;
        let mixed = match mask {
            Form::Causal => forms::causal(queries, keys_values, scale)?,
            Form::Grouped(mask) => forms::grouped(queries, keys_values, mask.as_ref(), scale)?,
            Form::Plain(mask) => plain(attention, queries, keys_values, mask.as_ref())?,
            Form::Flash(_) | Form::OnDevice(_) => {
                return Err(TchError::Torch("no gradient passes this attention".into()));
            }
        };
        let mixed = mixed.f_transpose(1, 2)?;
        mixed.f_reshape([batch, tokens, attention.heads * attention.head_dim])
    }

    fn output(attention: &Attention, mixed: &Tensor) -> Result<Tensor> {
        attention.o_proj.with_gradient(mixed)
    }

    fn gate_up(mlp: &Mlp, x: &Tensor) -> Result<[Tensor; 2]> {
        let halves = mlp.gate_up_proj.with_gradient(x)?.f_chunk(2, -1)?;
        <[Tensor; 2]>::try_from(halves)
            .map_err(|parts| TchError::Shape(format!("{} parts of two", parts.len())))
    }

    fn gated(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        gate.f_gelu("tanh")?.f_mul(up)
    }

    fn down(mlp: &Mlp, gated: &Tensor) -> Result<Tensor> {
        mlp.down_proj.with_gradient(gated)
    }

    fn per_layer_input(part: &PerLayerInput, x: &Tensor, input: &Tensor) -> Result<Tensor> {
        let gate = part.gate.with_gradient(x)?;
        part.projection.with_gradient(&Self::gated(&gate, input)?)
    }

    fn low_rank(adapter: &LowRank<Tensor>, x: &Tensor) -> Result<Tensor> {
        let none = None::<&Tensor>;
        let inner = x.f_to_kind(Kind::Float)?.f_linear(&adapter.a, none)?;
        let outer = inner.f_linear(&adapter.b, none)?;
        outer.f_mul_scalar(adapter.scale)?.f_to_kind(x.kind())
    }

    fn sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
        x.f_add(y)
    }

    fn scaled(x: &Tensor, by: &f64) -> Result<Tensor> {
        x.f_mul_scalar(*by)
    }
}

/// [`forms::plain`], with nothing written in place.
fn plain(
    attention: &Attention,
    queries: &Tensor,
    [keys, values]: [&Tensor; 2],
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let scores = forms::group(queries, keys)?.f_matmul(&keys.f_transpose(2, 3)?)?;
    let scores = scores.f_mul_scalar(attention.scale)?;
    let scores = match attention.softcap {
        Some(cap) => scores.f_div_scalar(cap)?.f_tanh()?.f_mul_scalar(cap)?,
        None => scores,
    };
    let scores = scores.f_to_kind(Kind::Float)?;
    let scores = match mask {
        Some(mask) => scores.f_add(mask)?,
        None => scores,
    };
    let weights = scores
        .f_softmax(-1, Kind::Float)?
        .f_to_kind(queries.kind())?;
    weights.f_matmul(values)?.f_reshape(queries.size())
}
