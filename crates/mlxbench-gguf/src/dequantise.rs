//! Blocks of stored values to f32.
//!
//! candle has the classic and the K types. The two that it lacks and that Gemma's files use are
//! here; their layout follows `block_iq4_nl` and `block_iq4_xs` in ggml's `ggml-common.h`.

use std::borrow::Cow;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::{bf16, f16};

use crate::types::Format;

/// The values of the sixteen indices of IQ4_NL and IQ4_XS, in units of a block's scale.
const TABLE: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// The values of whole blocks in `format`.
///
/// # Errors
/// Candle's own.
///
/// # Panics
/// When `bytes` doesn't end with a block.
pub fn dequantise(format: Format, bytes: &[u8]) -> candle_core::Result<Vec<f32>> {
    assert!(bytes.len().is_multiple_of(format.block_bytes()));
    Ok(match format {
        Format::F32 => numbers(bytes, f32::from_le_bytes),
        Format::F16 => numbers(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Format::Bf16 => numbers(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Format::Candle(kind) => candle(kind, bytes)?,
        Format::Iq4Nl => blocks(bytes, format, iq4_nl),
        Format::Iq4Xs => blocks(bytes, format, iq4_xs),
    })
}

fn numbers<const N: usize>(bytes: &[u8], f32_of: fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32_of(*b)).collect()
}

fn blocks<const N: usize>(
    bytes: &[u8],
    format: Format,
    values_of: fn(&[u8; N], &mut Vec<f32>),
) -> Vec<f32> {
    let mut values = Vec::with_capacity(bytes.len() / N * format.block_elements());
    for block in bytes.as_chunks().0 {
        values_of(block, &mut values);
    }
    values
}

fn candle(kind: GgmlDType, bytes: &[u8]) -> candle_core::Result<Vec<f32>> {
    let count = bytes.len() / kind.type_size() * kind.block_size();
    // A copy: candle wants its blocks aligned, which a part of a file needn't be.
    let storage = QStorage::from_data(Cow::Owned(bytes.to_vec()), &Device::Cpu, kind)?;
    QTensor::new(storage, count)?
        .dequantize(&Device::Cpu)?
        .to_vec1()
}

/// IQ4_NL: the scale in f16, then 16 bytes, whose lower halves index the block's first 16 values
/// and whose upper halves index the other 16.
fn iq4_nl(block: &[u8; 18], values: &mut Vec<f32>) {
    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
    indexed(&block[2..], scale, values);
}

/// IQ4_XS: the scale in f16, then the eight 6-bit factors of 32 values each, less 32, their upper
/// two bits in one u16 and their lower four in 4 bytes, then the indices of all as in IQ4_NL.
fn iq4_xs(block: &[u8; 136], values: &mut Vec<f32>) {
    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
    let upper = u16::from_le_bytes([block[2], block[3]]);
    let lower = &block[4..8];
    for (group, indices) in block[8..].chunks(16).enumerate() {
        let low = (lower[group / 2] >> (4 * (group % 2))) & 0xf;
        let high = ((upper >> (2 * group)) & 3) as u8;
        let factor = i16::from(low | (high << 4)) - 32;
        indexed(indices, scale * f32::from(factor), values);
    }
}

/// 32 values of the table by the halves of 16 bytes.
fn indexed(indices: &[u8], scale: f32, values: &mut Vec<f32>) {
    let value = |index: u8| scale * f32::from(TABLE[usize::from(index)]);
    values.extend(indices.iter().map(|byte| value(byte & 0xf)));
    values.extend(indices.iter().map(|byte| value(byte >> 4)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iq4_nl_takes_lower_halves_first() {
        let mut block = [0; 18];
        block[..2].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        block[2] = 0xf0;
        block[17] = 0x87;
        let values = dequantise(Format::Iq4Nl, &block).unwrap();
        assert_eq!(values.len(), 32);
        assert_eq!((values[0], values[16]), (-63.5, 56.5));
        assert_eq!((values[15], values[31]), (-5.0, 0.5));
        assert_eq!(values[1], -63.5, "index 0 is the table's least");
    }

    #[test]
    fn iq4_xs_puts_its_factors_together_from_two_places() {
        let mut block = [0; 136];
        block[..2].copy_from_slice(&f16::from_f32(2.0).to_le_bytes());
        // Groups 0, 3 and 7: 0b10_0011 - 32 = 3, 0b11_1111 - 32 = 31 and 0b01_0000 - 32 = -16.
        let upper: u16 = 0b10 | (0b11 << 6) | (0b01 << 14);
        block[2..4].copy_from_slice(&upper.to_le_bytes());
        block[4] = 0x03;
        block[5] = 0xf0;
        block[8] = 0x98;
        block[8 + 3 * 16 + 15] = 0xb8;
        block[8 + 7 * 16] = 0x9a;
        let values = dequantise(Format::Iq4Xs, &block).unwrap();
        assert_eq!(values.len(), 256);
        assert_eq!((values[0], values[16]), (2.0 * 3.0, 2.0 * 3.0 * 13.0));
        assert_eq!(
            (values[3 * 32 + 15], values[3 * 32 + 31]),
            (2.0 * 31.0, 2.0 * 31.0 * 38.0)
        );
        assert_eq!(
            (values[7 * 32], values[7 * 32 + 16]),
            (2.0 * -16.0 * 25.0, 2.0 * -16.0 * 13.0)
        );
        assert_eq!(values[32], 2.0 * -32.0 * -127.0, "a factor of 0 means -32");
    }

    #[test]
    fn plain_numbers_are_read_as_they_are() {
        let f32s = [1.5f32, -0.25].map(f32::to_le_bytes).concat();
        assert_eq!(dequantise(Format::F32, &f32s).unwrap(), [1.5, -0.25]);
        let halves = [1.5, -0.25]
            .map(|x| f16::from_f32(x).to_le_bytes())
            .concat();
        assert_eq!(dequantise(Format::F16, &halves).unwrap(), [1.5, -0.25]);
        let halves = [1.5, -0.25]
            .map(|x| bf16::from_f32(x).to_le_bytes())
            .concat();
        assert_eq!(dequantise(Format::Bf16, &halves).unwrap(), [1.5, -0.25]);
    }
}
