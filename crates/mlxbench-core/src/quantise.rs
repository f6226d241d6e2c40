//! Weight matrices as codes with scales: what `q8` and `q4` mean, the same in every framework. An
//! adapter lays the codes out as its framework wants them and changes none.
//!
//! Symmetric and per block of a row: `w = scale * code`. The scale is a number that bf16, f16 and f32 all
//! hold, so that the weights which the codes stand for are the same whatever a framework keeps scales in.
//! Both are llama.cpp's rules with longer blocks (`quantize_row_q8_0_ref` and `quantize_row_q4_0_ref` in
//! ggml's `ggml-quants.c`):
//! - `q8`: one block a row, `scale = max |w| / 127`, codes -127 to 127;
//! - `q4`: blocks of 64, `scale = m / -8` where `m` is the first weight of the largest magnitude, codes -8 to
//!   7, so that `m` itself is kept nearly exactly.
//!
//! Codes are rounded to the nearest, ties to even, with division in f32.

use half::{bf16, f16};

use crate::Scheme;

/// Weights that share a scale in [`Scheme::Q4`].
pub const Q4_BLOCK: usize = 64;

/// Weights from which on threads are worth their start.
const MANY: usize = 1 << 20;

/// The largest finite number of both bf16 and f16.
const LARGEST_SCALE: f32 = 65280.0;

impl Scheme {
    /// Weights of a row of `columns` that share a scale; the last block of a row may be shorter.
    pub fn block(self, columns: usize) -> usize {
        match self {
            Self::Q8 => columns.max(1),
            Self::Q4 => Q4_BLOCK,
        }
    }

    /// What the tensor called `name` is quantised to: tables, with a row for each token, and routers to
    /// [`Scheme::Q8`].
    pub fn of_tensor(self, name: &str) -> Self {
        match crate::gemma::has_8_bits(name) {
            true => Self::Q8,
            false => self,
        }
    }

    /// The scale of a block and what follows from it.
    fn scale(self, block: &[f32]) -> bf16 {
        let larger = |most: f32, &w: &f32| match w.abs() > most.abs() {
            true => w,
            false => most,
        };
        let most = block.iter().fold(0.0, larger);
        representable(match self {
            Self::Q8 => most.abs() / 127.0,
            Self::Q4 => most / -8.0,
        })
    }

    /// Smallest and largest code.
    fn codes(self) -> (f32, f32) {
        match self {
            Self::Q8 => (-127.0, 127.0),
            Self::Q4 => (-8.0, 7.0),
        }
    }
}

/// `scale` rounded to bf16, and to f16 where that is coarser: below 2^-17.
fn representable(scale: f32) -> bf16 {
    let scale = bf16::from_f32(scale.clamp(-LARGEST_SCALE, LARGEST_SCALE));
    bf16::from_f32(f16::from_f32(scale.to_f32()).to_f32())
}

/// Whole rows of a matrix as codes and scales.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    /// Of what kind.
    pub scheme: Scheme,
    /// Weights of a row.
    pub columns: usize,
    /// Of shape `[rows, columns]`, signed: -127 to 127, or -8 to 7.
    pub codes: Vec<i8>,
    /// Of shape `[rows, blocks]`, where a row has `ceil(columns / block)` blocks.
    pub scales: Vec<bf16>,
}

impl Codes {
    /// The codes of `weights`, of shape `[rows, columns]`, on all of the machine's threads where they are many.
    ///
    /// # Errors
    /// What is wrong with the weights: they aren't all finite.
    pub fn of(scheme: Scheme, weights: &[f32], columns: usize) -> Result<Self, String> {
        let columns = columns.max(1);
        if weights.len() < MANY {
            return Self::of_part(scheme, weights, columns);
        }
        let threads = std::thread::available_parallelism().map_or(1, Into::into);
        let rows = (weights.len() / columns).div_ceil(threads);
        let parts: Result<Vec<Self>, String> = std::thread::scope(|scope| {
            let part = |part| scope.spawn(move || Self::of_part(scheme, part, columns));
            let parts: Vec<_> = weights.chunks(rows.max(1) * columns).map(part).collect();
            let joined = parts.into_iter().map(|part| part.join());
            joined
                .map(|part| part.expect("quantising doesn't panic"))
                .collect()
        });
        let parts = parts?;
        Ok(Self {
            scheme,
            columns,
            codes: parts.iter().flat_map(|part| &part.codes).copied().collect(),
            scales: parts
                .iter()
                .flat_map(|part| &part.scales)
                .copied()
                .collect(),
        })
    }

    fn of_part(scheme: Scheme, weights: &[f32], columns: usize) -> Result<Self, String> {
        let mut codes = Vec::with_capacity(weights.len());
        let mut scales = Vec::new();
        let (least, most) = scheme.codes();
        for row in weights.chunks(columns) {
            for block in row.chunks(scheme.block(columns)) {
                if let Some(wrong) = block.iter().find(|w| !w.is_finite()) {
                    return Err(format!("a weight is {wrong}"));
                }
                let scale = scheme.scale(block);
                let divisor = scale.to_f32();
                scales.push(scale);
                codes.extend(block.iter().map(|w| match divisor {
                    0.0 => 0,
                    divisor => (w / divisor).round_ties_even().clamp(least, most) as i8,
                }));
            }
        }
        Ok(Self {
            scheme,
            columns,
            codes,
            scales,
        })
    }

    /// Rows of it.
    pub fn rows(&self) -> usize {
        self.codes.len() / self.columns.max(1)
    }

    /// Scales of a row.
    pub fn blocks(&self) -> usize {
        self.columns.div_ceil(self.scheme.block(self.columns))
    }

    /// The weights that the codes stand for, exactly, row after row.
    pub fn dequantised(&self) -> impl Iterator<Item = f32> {
        let rows = self.codes.chunks(self.columns.max(1));
        let scales = self.scales.chunks(self.blocks().max(1));
        let block = self.scheme.block(self.columns);
        rows.zip(scales).flat_map(move |(codes, scales)| {
            let blocks = codes.chunks(block).zip(scales);
            blocks.flat_map(|(codes, scale)| {
                let scale = scale.to_f32();
                codes.iter().map(move |&code| scale * f32::from(code))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(scheme: Scheme, weights: &[f32], columns: usize) -> Vec<f32> {
        let codes = Codes::of(scheme, weights, columns).unwrap();
        codes.dequantised().collect()
    }

    #[test]
    fn a_row_of_codes_is_given_back_exactly() {
        let weights: Vec<f32> = (-127..=127).map(|code| 0.5 * code as f32).collect();
        assert_eq!(back(Scheme::Q8, &weights, 255), weights);
        let weights: Vec<f32> = (0..64).map(|at| 0.25 * (at % 16 - 8) as f32).collect();
        assert_eq!(back(Scheme::Q4, &weights, 64), weights);
    }

    #[test]
    fn the_largest_weight_of_a_block_of_q4_takes_the_longer_side() {
        for largest in [-2.0, 2.0] {
            let mut weights = vec![0.0; 64];
            weights[7] = largest;
            weights[9] = -largest;
            let codes = Codes::of(Scheme::Q4, &weights, 64).unwrap();
            assert_eq!((codes.codes[7], codes.codes[9]), (-8, 7), "{largest}");
            assert_eq!(codes.scales[0].to_f32(), largest / -8.0);
        }
    }

    #[test]
    fn the_last_block_of_a_row_may_be_short() {
        let weights: Vec<f32> = (0..2 * 70).map(|at| at as f32 - 60.0).collect();
        let codes = Codes::of(Scheme::Q4, &weights, 70).unwrap();
        assert_eq!(
            (codes.rows(), codes.blocks(), codes.scales.len()),
            (2, 2, 4)
        );
        let worst = codes.dequantised().zip(&weights);
        let worst = worst.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 80.0 / 8.0, "{worst}");
    }

    #[test]
    fn many_weights_have_the_codes_of_a_few_at_a_time() {
        let columns = 1000;
        let weights: Vec<f32> = (0..MANY as u32 + 3000)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e7 - 0.8)
            .collect();
        let weights = &weights[..weights.len() / columns * columns];
        for scheme in [Scheme::Q8, Scheme::Q4] {
            let all = Codes::of(scheme, weights, columns).unwrap();
            let rows = weights.chunks(columns).enumerate();
            for (row, weights) in rows.step_by(97) {
                let one = Codes::of(scheme, weights, columns).unwrap();
                let of_row = |n: usize| row * n..(row + 1) * n;
                assert_eq!(one.codes, all.codes[of_row(columns)], "{row}");
                assert_eq!(one.scales, all.scales[of_row(one.blocks())], "{row}");
            }
            assert_eq!(all.rows(), weights.len() / columns);
        }
    }

    #[test]
    fn zeros_stay_zeros_and_what_is_not_finite_is_refused() {
        for scheme in [Scheme::Q8, Scheme::Q4] {
            assert_eq!(back(scheme, &[0.0; 70], 70), [0.0; 70]);
            for wrong in [f32::NAN, f32::INFINITY] {
                let message = Codes::of(scheme, &[0.0, wrong], 2).unwrap_err();
                assert!(message.starts_with("a weight is "), "{message}");
            }
        }
    }

    #[test]
    fn scales_are_the_same_in_every_dtype() {
        let mut scale = 1e-12_f32;
        while scale < 1e12 {
            for signed in [scale, -scale] {
                let kept = representable(signed);
                assert_eq!(
                    f16::from_f32(kept.to_f32()).to_f32(),
                    kept.to_f32(),
                    "{signed}"
                );
            }
            scale *= 1.01;
        }
    }
}
