//! Rotary position embeddings.

use std::ops::Range;

use mlxbench_core::gemma::{AttentionSpec, parts, rope};
use tch::{TchError, Tensor};

use crate::framework::{Place, Torch};

/// Cosines and sines of a range of positions.
#[derive(Debug)]
pub struct Rope {
    /// Shape `[positions, head_dim]`: the halves are alike.
    cos: Tensor,
    /// Shape `[positions, head_dim]`: the first half is negative.
    sin: Tensor,
}

impl parts::Rope<Torch> for Rope {
    /// Formed in f32 on the host and rounded to the model's dtype.
    fn new(attention: &AttentionSpec, positions: usize, place: &Place) -> Result<Self, TchError> {
        let tables = rope::tables(attention, 0..positions);
        let half = [positions as i64, (attention.head_dim / 2) as i64];
        let tensor = |table: &[f32]| Tensor::f_from_slice(table)?.f_view(half);
        let whole = |first: Tensor, second: Tensor| {
            Tensor::f_cat(&[first, second], -1)?
                .f_to_device(place.device)?
                .f_to_kind(place.dtype)
        };
        let (cos, sin) = (tensor(&tables.cos)?, tensor(&tables.sin)?);
        Ok(Self {
            cos: whole(cos.shallow_clone(), cos)?,
            sin: whole(sin.f_neg()?, sin)?,
        })
    }

    fn at(&self, positions: Range<usize>) -> Result<Self, TchError> {
        let rows =
            |table: &Tensor| table.f_narrow(0, positions.start as i64, positions.len() as i64);
        Ok(Self {
            cos: rows(&self.cos)?,
            sin: rows(&self.sin)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let swapped = x.f_roll([self.cos.size()[1] / 2], [3])?;
        x.f_mul(&self.cos)?.f_addcmul_(&swapped, &self.sin)
    }

    /// Together where they come from one product without norms between, and where a copy costs less than
    /// more kernels: for a single token.
    fn both(&self, queries: &Tensor, keys: &Tensor) -> Result<[Tensor; 2], TchError> {
        let both = match side_by_side(queries, keys)? {
            Some(both) => both,
            None if queries.size()[2] == 1 => Tensor::f_cat(&[queries, keys], 1)?,
            None => return Ok([self.forward(queries)?, self.forward(keys)?]),
        };
        let (heads, kv_heads) = (queries.size()[1], keys.size()[1]);
        let rotated = self.forward(&both)?;
        Ok([
            rotated.f_narrow(1, 0, heads)?,
            rotated.f_narrow(1, heads, kv_heads)?,
        ])
    }
}

impl Rope {
    /// As its forward, and writes nothing in place.
    pub(crate) fn with_gradient(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let swapped = x.f_roll([self.cos.size()[1] / 2], [3])?;
        x.f_mul(&self.cos)?.f_addcmul(&swapped, &self.sin)
    }

    /// The rotations of the position that the device knows, of shape `[1]`.
    pub(crate) fn gather(&self, position: &Tensor) -> Result<Self, TchError> {
        Ok(Self {
            cos: self.cos.f_index_select(0, position)?,
            sin: self.sin.f_index_select(0, position)?,
        })
    }
}

/// All heads of both as one tensor, where each token's keys lie behind its queries.
fn side_by_side(queries: &Tensor, keys: &Tensor) -> Result<Option<Tensor>, TchError> {
    let (batch, heads, tokens, head_dim) = queries.size4()?;
    let (strides, all) = (queries.stride(), heads + keys.size()[1]);
    // A token's row that is wide enough for both is no queries' alone: both are views of one product.
    let of_one_product = strides == keys.stride()
        && strides[1] == head_dim
        && strides[2] >= all * head_dim
        && (queries.data_ptr() as usize
            + queries.kind().elt_size_in_bytes() * (heads * head_dim) as usize)
            == keys.data_ptr() as usize;
    let both = || queries.f_as_strided([batch, all, tokens, head_dim], &strides[..], None::<i64>);
    of_one_product.then(both).transpose()
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::parts::Rope as _;
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn rotated_together_or_one_after_the_other_is_the_same() {
        let random = |shape: [i64; 4]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
        let table = |tokens| random([1, 1, tokens, 8]).view([tokens, 8]);
        for tokens in [1, 3] {
            let (cos, sin) = (table(tokens), table(tokens));
            let rope = Rope { cos, sin };
            let product = random([2, tokens, 5, 8]);
            let heads = |first, count| product.narrow(2, first, count).transpose(1, 2);
            let (queries, keys) = (heads(0, 3), heads(3, 2));
            for [queries, keys] in [
                [queries.shallow_clone(), keys.shallow_clone()],
                [queries.contiguous(), keys.contiguous()],
            ] {
                let both = rope.both(&queries, &keys).unwrap();
                let [q, k] = [&queries, &keys].map(|x| rope.forward(x).unwrap());
                assert_eq!(both, [q, k]);
            }
        }
    }

    #[test]
    fn only_views_of_one_product_are_side_by_side() {
        let product = Tensor::arange(2 * 3 * 24, (Kind::Float, Device::Cpu)).view([2, 3, 6, 4]);
        let heads = |first, count| product.narrow(2, first, count).transpose(1, 2);
        let (queries, keys) = (heads(0, 4), heads(4, 1));
        let both = side_by_side(&queries, &keys).unwrap().unwrap();
        assert_eq!(both, heads(0, 5));
        for others in [heads(5, 1), keys.contiguous(), keys.copy()] {
            assert!(side_by_side(&queries, &others).unwrap().is_none());
        }
        let apart = [&queries, &keys].map(|x| x.contiguous());
        assert!(side_by_side(&apart[0], &apart[1]).unwrap().is_none());
    }
}
