//! Rotary position embeddings: inverse frequencies and tables, in f32 as the reference has them.
//!
//! Source: Su et al., "RoFormer" (arXiv 2104.09864); the half-split form and the rounding follow
//! `Gemma3RotaryEmbedding` in transformers' `modeling_gemma3.py`.

use std::ops::Range;

use crate::gemma::AttentionSpec;

/// `factor^-1 * theta^(-2i / head_dim)` for `i` in `0..head_dim / 2`, and 0 for those that aren't rotated.
pub fn inverse_frequencies(attention: &AttentionSpec) -> Vec<f32> {
    let factor = attention.rope.linear_factor as f32;
    powers(attention)
        .map(|power| 1.0 / power / factor)
        .collect()
}

/// What [`inverse_frequencies`] are the inverse of: positions in a radian, infinite for those that aren't rotated.
pub fn periods(attention: &AttentionSpec) -> Vec<f32> {
    let factor = attention.rope.linear_factor as f32;
    powers(attention).map(|power| power * factor).collect()
}

/// `theta^(2i / head_dim)` for `i` in `0..head_dim / 2`, and infinity for those that aren't rotated.
fn powers(attention: &AttentionSpec) -> impl Iterator<Item = f32> {
    let (half, dim) = (attention.head_dim / 2, attention.head_dim as f32);
    let theta = attention.rope.theta as f32;
    let rotated = (attention.rope.rotated * half as f64) as usize;
    (0..half).map(move |i| match i < rotated {
        true => theta.powf(2.0 * i as f32 / dim),
        false => f32::INFINITY,
    })
}

/// Cosines and sines of the angles at `positions`, each of shape `[positions, head_dim / 2]`.
///
/// Angles are formed in f32: bf16 would turn position 257 into 256.
pub fn tables(attention: &AttentionSpec, positions: Range<usize>) -> RopeTables {
    let frequencies = inverse_frequencies(attention);
    let angles = positions.flat_map(|position| {
        frequencies
            .iter()
            .map(move |frequency| position as f32 * frequency)
    });
    let (cos, sin) = angles.map(|angle| (angle.cos(), angle.sin())).unzip();
    RopeTables { cos, sin }
}

/// RoPE's cosines and sines, each of shape `[positions, head_dim / 2]`, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTables {
    /// Cosines.
    pub cos: Vec<f32>,
    /// Sines.
    pub sin: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemma::preset;

    #[test]
    fn proportional_rope_leaves_the_lowest_frequencies_alone() {
        let layers = preset("gemma-4-e2b").unwrap().config().layers;
        let of = |layer: usize| inverse_frequencies(&layers[layer].attention);
        let (local, global) = (of(0), of(4));
        assert_eq!((local.len(), global.len()), (128, 256));
        assert!(local.iter().all(|&frequency| frequency > 0.0));
        // A quarter of the width of a head, with exponents over all of it.
        assert!(global[..64].iter().all(|&frequency| frequency > 0.0));
        assert!(global[64..].iter().all(|&frequency| frequency == 0.0));
        assert_eq!(global[1], 1.0 / 1e6_f32.powf(2.0 / 512.0));
    }
}
