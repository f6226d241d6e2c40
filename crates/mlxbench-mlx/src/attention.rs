//! Grouped-query attention.

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlx_rs::fast::{ScaledDotProductAttentionMask, scaled_dot_product_attention};
use mlx_rs::ops::softmax_axis;
use mlxbench_core::gemma::parts::{self, Cache, Heads, Span};
use mlxbench_core::gemma::{AttentionSpec, LayerNames};

use crate::cache::KvCache;
use crate::framework::Mlx;
use crate::fused::SoftCap;
use crate::linear::Linear;
use crate::weights::Weights;

/// Which of the entries read a token sees.
#[derive(Debug)]
pub enum Mask {
    /// All of them.
    None,
    /// Those that aren't later.
    Causal,
    /// As this additive mask says, of shape `[tokens, read]`, in the model's dtype.
    Additive(Array),
}

/// The attention of one layer.
#[derive(Debug)]
pub struct Attention {
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    scale: f32,
    softcap: Option<SoftCap>,
    qkv_proj: Projections,
    o_proj: Linear,
}

/// The products to queries, and to keys and values of the layer's own.
#[derive(Debug)]
enum Projections {
    /// On the CPU: OpenBLAS has a fast path for small products, which one over all would miss.
    Apart(Vec<Linear>),
    /// On a GPU, where each product is a launch.
    Stacked {
        all: Linear,
        keys_values: Linear,
        query_width: i32,
    },
}

impl Projections {
    fn stacked(all: Linear, query_width: i32) -> Result<Self> {
        Ok(Self::Stacked {
            keys_values: all.outputs_from(query_width)?,
            all,
            query_width,
        })
    }

    /// Queries, and keys and values, each of `kv_width`, of `x`.
    fn forward(&self, x: &Array, kv_width: i32) -> Result<Vec<Array>> {
        match self {
            Self::Apart(each) => each.iter().map(|linear| linear.forward(x)).collect(),
            Self::Stacked {
                all, query_width, ..
            } => parted(&all.forward(x)?, *query_width, kv_width),
        }
    }

    /// Keys and values of `x` alone.
    fn keys_values(&self, x: &Array, kv_width: i32) -> Result<Vec<Array>> {
        match self {
            Self::Apart(each) => each[1..].iter().map(|linear| linear.forward(x)).collect(),
            Self::Stacked { keys_values, .. } => {
                parted(&keys_values.forward(x)?, kv_width, kv_width)
            }
        }
    }
}

/// The parts of the last axis of `x`, one of width `first` and others of `width`, each in memory of its own: as views
/// they gave wrong numbers on CUDA where no norm stands before the rotation. Those of a single token in a
/// single row aren't copied.
fn parted(x: &Array, first: i32, width: i32) -> Result<Vec<Array>> {
    let starts: Vec<i32> = (first..x.dim(-1)).step_by(width as usize).collect();
    let parts = match starts.is_empty() {
        true => vec![x.clone()],
        false => x.split_at_indices(&starts, -1)?,
    };
    parts.iter().map(Array::contiguous).collect()
}

impl parts::Attention<Mlx> for Attention {
    fn load(
        weights: &Weights<'_>,
        names: LayerNames,
        attention: &AttentionSpec,
        hidden: usize,
    ) -> Result<Self> {
        let linear =
            |modules: &[&str], columns| weights.linear(names, modules, columns, attention.bias);
        let modules = attention.keys_values.projections();
        // One product alone has nothing to be stacked on.
        let qkv_proj = match weights.gpu && modules.len() > 1 {
            true => Projections::stacked(linear(modules, hidden)?, attention.query_width() as i32)?,
            false => {
                let each = modules.iter().map(|module| linear(&[module], hidden));
                Projections::Apart(each.collect::<Result<_>>()?)
            }
        };
        Ok(Self {
            heads: attention.heads as i32,
            kv_heads: attention.kv_heads as i32,
            head_dim: attention.head_dim as i32,
            scale: attention.scale() as f32,
            softcap: attention.softcap.map(SoftCap::new),
            qkv_proj,
            o_proj: linear(&["self_attn.o_proj"], attention.query_width())?,
        })
    }

    fn project(&self, x: &Array) -> Result<Heads<Array>> {
        let parts = self.qkv_proj.forward(x, self.kv_width())?;
        Ok(Heads {
            queries: self.split(&parts[0])?,
            keys_values: match &parts[1..] {
                [] => None,
                own => Some(self.split_keys_values(own)?),
            },
        })
    }

    fn project_keys_values(&self, x: &Array) -> Result<[Array; 2]> {
        self.split_keys_values(&self.qkv_proj.keys_values(x, self.kv_width())?)
    }

    fn attend(&self, heads: &Heads<Array>, span: &Span<Mlx>, cache: &mut KvCache) -> Result<Array> {
        let (keys, values) = match &heads.keys_values {
            Some([keys, values]) => cache.append(&span.append, keys, values)?,
            None => cache.read(&span.append)?,
        };
        self.mixed(
            &heads.queries,
            [&keys, &values],
            &span.mask,
            SoftCap::forward,
        )
    }

    fn output(&self, mixed: &Array) -> Result<Array> {
        self.o_proj.forward(mixed)
    }
}

impl Attention {
    /// What queries make of keys and values, of shape `[batch, tokens, heads * head_dim]`; `capped` is scores with
    /// their soft-cap.
    pub(crate) fn mixed(
        &self,
        queries: &Array,
        [keys, values]: [&Array; 2],
        mask: &Mask,
        capped: impl Fn(&SoftCap, &Array) -> Result<Array>,
    ) -> Result<Array> {
        let (batch, tokens) = (queries.dim(0), queries.dim(2));
        let mixed = match &self.softcap {
            Some(softcap) => {
                let capped = |scores: &Array| capped(softcap, scores);
                self.capped(capped, queries, [keys, values], mask)?
            }
            None => {
                let mask = match mask {
                    Mask::None => None,
                    Mask::Causal => Some(ScaledDotProductAttentionMask::Causal),
                    Mask::Additive(mask) => Some(ScaledDotProductAttentionMask::Array(mask)),
                };
                scaled_dot_product_attention(queries, keys, values, self.scale, mask, None)?
            }
        };
        let mixed = match tokens {
            1 => mixed,
            _ => mixed.transpose_axes(&[0, 2, 1, 3])?,
        };
        mixed.reshape(&[batch, tokens, self.heads * self.head_dim])
    }

    fn kv_width(&self) -> i32 {
        self.kv_heads * self.head_dim
    }

    /// The heads of keys and values, which may be of one projection.
    fn split_keys_values(&self, own: &[Array]) -> Result<[Array; 2]> {
        let keys = self.split(&own[0])?;
        let values = match own.get(1) {
            Some(values) => self.split(values)?,
            None => keys.clone(),
        };
        Ok([keys, values])
    }

    /// The heads of `x`, of shape `[batch, tokens, heads * head_dim]`. Those of a single token are in
    /// order as they are, and MLX's norm copies what was transposed.
    pub(crate) fn split(&self, x: &Array) -> Result<Array> {
        let (batch, tokens) = (x.dim(0), x.dim(1));
        match tokens {
            1 => x.reshape(&[batch, -1, 1, self.head_dim]),
            _ => x
                .reshape(&[batch, tokens, -1, self.head_dim])?
                .transpose_axes(&[0, 2, 1, 3]),
        }
    }

    /// Attention with a soft-cap before the mask, which MLX's fused attention doesn't know. The
    /// softmax works in f32 inside.
    fn capped(
        &self,
        capped: impl Fn(&Array) -> Result<Array>,
        queries: &Array,
        [keys, values]: [&Array; 2],
        mask: &Mask,
    ) -> Result<Array> {
        let (shape, dtype) = (queries.shape(), queries.dtype());
        // The queries that share a key and value head stand below one another, so neither is
        // repeated.
        let group = self.heads / self.kv_heads * shape[2];
        let grouped = queries.reshape(&[shape[0], self.kv_heads, group, self.head_dim])?;
        let scale = Array::from_f32(self.scale).as_dtype(dtype)?;
        let scores = grouped.multiply(scale)?.matmul(keys.swap_axes(2, 3)?)?;
        let mut scores = capped(&scores)?;
        if let Mask::Additive(mask) = mask {
            let by_head = [shape[0], self.heads, shape[2], keys.dim(2)];
            scores = scores.reshape(&by_head)?.add(mask)?;
        }
        let weights = softmax_axis(&scores, -1, true)?;
        let weights = weights.reshape(&[shape[0], self.kv_heads, group, keys.dim(2)])?;
        weights.matmul(values)?.reshape(shape)
    }
}

#[cfg(test)]
mod tests {
    use mlx_rs::ops::concatenate;
    use mlx_rs::{Stream, random, with_stream};

    use super::*;
    use crate::linear::Weight;

    const HIDDEN: i32 = 6;
    const WIDTHS: [i32; 3] = [8, 4, 4];

    fn random(shape: &[i32]) -> Array {
        random::normal::<f32>(shape, None, None, None).unwrap()
    }

    /// The same products, apart and stacked.
    fn both(bias: bool) -> [Projections; 2] {
        let weights = WIDTHS.map(|width| random(&[width, HIDDEN]));
        let biases = WIDTHS.map(|width| random(&[width]));
        let stack = |arrays: &[Array; 3]| concatenate(arrays, 0).unwrap();
        let linear = |weight: &Array, of: &Array| {
            Linear::new(Weight::plain(weight.clone()), bias.then(|| of.clone()))
        };
        let all = linear(&stack(&weights), &stack(&biases));
        let apart = [0, 1, 2].map(|index| linear(&weights[index], &biases[index]));
        [
            Projections::Apart(apart.into()),
            Projections::stacked(all, WIDTHS[0]).unwrap(),
        ]
    }

    fn assert_same(apart: &[Array], stacked: &[Array]) {
        for (a, b) in apart.iter().zip(stacked) {
            assert_eq!(a.shape(), b.shape());
            assert!(a.all_close(b, 1e-5, 1e-5, None).unwrap(), "{a} {b}");
        }
    }

    #[test]
    fn stacked_projections_are_the_three_products() {
        with_stream(&Stream::cpu(), || {
            for (bias, tokens) in [(false, 1), (false, 3), (true, 1), (true, 3)] {
                let [apart, stacked] = both(bias);
                let x = random(&[2, tokens, HIDDEN]);
                let of = |projections: &Projections| projections.forward(&x, WIDTHS[1]).unwrap();
                assert_same(&of(&apart), &of(&stacked));
                let of =
                    |projections: &Projections| projections.keys_values(&x, WIDTHS[1]).unwrap();
                assert_same(&of(&apart), &of(&stacked));
            }
        });
    }
}
