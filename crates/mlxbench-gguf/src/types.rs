//! ggml's tensor types: their names, and the layout of those that can be read.
//!
//! Source: `enum ggml_type` in ggml's `ggml.h`, the numbers that were withdrawn included.

use candle_core::quantized::GgmlDType;

/// The type of a tensor, by ggml's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorType(pub u32);

/// How the values of a tensor that can be read are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// IEEE 754, 32 bits.
    F32,
    /// IEEE 754, 16 bits.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Blocks that candle dequantises.
    Candle(GgmlDType),
    /// Blocks of 32: a scale, and indices into a table of 16 values.
    Iq4Nl,
    /// Blocks of 256: a scale, a factor for every 32 values, and indices into the same table.
    Iq4Xs,
}

use Format::{Bf16, Candle, F16, F32, Iq4Nl, Iq4Xs};

/// Number, name, and the format where it can be read.
const TYPES: [(u32, &str, Option<Format>); 43] = [
    (0, "F32", Some(F32)),
    (1, "F16", Some(F16)),
    (2, "Q4_0", Some(Candle(GgmlDType::Q4_0))),
    (3, "Q4_1", Some(Candle(GgmlDType::Q4_1))),
    (4, "Q4_2", None),
    (5, "Q4_3", None),
    (6, "Q5_0", Some(Candle(GgmlDType::Q5_0))),
    (7, "Q5_1", Some(Candle(GgmlDType::Q5_1))),
    (8, "Q8_0", Some(Candle(GgmlDType::Q8_0))),
    (9, "Q8_1", None),
    (10, "Q2_K", Some(Candle(GgmlDType::Q2K))),
    (11, "Q3_K", Some(Candle(GgmlDType::Q3K))),
    (12, "Q4_K", Some(Candle(GgmlDType::Q4K))),
    (13, "Q5_K", Some(Candle(GgmlDType::Q5K))),
    (14, "Q6_K", Some(Candle(GgmlDType::Q6K))),
    (15, "Q8_K", None),
    (16, "IQ2_XXS", None),
    (17, "IQ2_XS", None),
    (18, "IQ3_XXS", None),
    (19, "IQ1_S", None),
    (20, "IQ4_NL", Some(Iq4Nl)),
    (21, "IQ3_S", None),
    (22, "IQ2_S", None),
    (23, "IQ4_XS", Some(Iq4Xs)),
    (24, "I8", None),
    (25, "I16", None),
    (26, "I32", None),
    (27, "I64", None),
    (28, "F64", None),
    (29, "IQ1_M", None),
    (30, "BF16", Some(Bf16)),
    (31, "Q4_0_4_4", None),
    (32, "Q4_0_4_8", None),
    (33, "Q4_0_8_8", None),
    (34, "TQ1_0", None),
    (35, "TQ2_0", None),
    (36, "IQ4_NL_4_4", None),
    (37, "IQ4_NL_4_8", None),
    (38, "IQ4_NL_8_8", None),
    (39, "MXFP4", None),
    (40, "NVFP4", None),
    (41, "Q1_0", None),
    (42, "Q2_0", None),
];

impl TensorType {
    /// How its values are stored, where they can be read.
    pub fn format(self) -> Option<Format> {
        TYPES.iter().find(|(number, ..)| *number == self.0)?.2
    }

    /// Its name in ggml.
    pub fn name(self) -> String {
        match TYPES.iter().find(|(number, ..)| *number == self.0) {
            Some((_, name, _)) => (*name).to_owned(),
            None => format!("ggml's type {}", self.0),
        }
    }

    /// The names of the types that can be read, separated by commas.
    pub fn readable() -> String {
        let names = TYPES.iter().filter(|(.., format)| format.is_some());
        names
            .map(|(_, name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Format {
    /// Values in a block.
    pub fn block_elements(self) -> usize {
        match self {
            F32 | F16 | Bf16 => 1,
            Candle(kind) => kind.block_size(),
            Iq4Nl => 32,
            Iq4Xs => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            F32 => 4,
            F16 | Bf16 => 2,
            Candle(kind) => kind.type_size(),
            Iq4Nl => 18,
            Iq4Xs => 136,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_stands_at_its_own_number() {
        for (place, (number, ..)) in TYPES.iter().enumerate() {
            assert_eq!(place as u32, *number);
        }
    }

    #[test]
    fn types_that_cannot_be_read_have_names_all_the_same() {
        assert_eq!(TensorType(39).name(), "MXFP4");
        assert_eq!(TensorType(39).format(), None);
        assert_eq!(TensorType(16).name(), "IQ2_XXS");
        assert_eq!(TensorType(4711).name(), "ggml's type 4711");
    }
}
