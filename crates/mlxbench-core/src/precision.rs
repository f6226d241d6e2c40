//! In which numbers a model is kept and computed: the format of its weights and the dtype of everything
//! else.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::quantise::Q4_BLOCK;
use crate::{Dtype, Error};

/// What weight matrices are kept in: `bf16`, `q4`, `native`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WeightFormat {
    /// Numbers of a dtype.
    Plain(Dtype),
    /// Codes with scales.
    Quantised(Scheme),
    /// As the checkpoint has quantised them, without quantising again.
    Native,
}

/// How weights are turned into codes: symmetric, with scales that are exact in every dtype. The rules
/// stand in [`crate::quantise`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Codes of 8 bits, a scale for each row.
    Q8,
    /// Codes of 4 bits, a scale for each 64 weights of a row; embedding table and output
    /// projection in [`Scheme::Q8`].
    Q4,
}

/// Bytes of a scale.
const SCALE_BYTES: u64 = 2;

impl WeightFormat {
    const ALL: [Self; 6] = [
        Self::Plain(Dtype::F32),
        Self::Plain(Dtype::Bf16),
        Self::Plain(Dtype::F16),
        Self::Quantised(Scheme::Q8),
        Self::Quantised(Scheme::Q4),
        Self::Native,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain(dtype) => dtype.name(),
            Self::Quantised(scheme) => scheme.name(),
            Self::Native => "native",
        }
    }

    /// Bytes of a matrix of `rows` x `columns`, scales included.
    pub fn matrix_bytes(self, rows: u64, columns: u64) -> u64 {
        match self {
            Self::Plain(dtype) => rows * columns * dtype.size_bytes(),
            Self::Quantised(Scheme::Q8) => rows * (columns + SCALE_BYTES),
            Self::Quantised(Scheme::Q4) => {
                rows * (columns.div_ceil(2) + SCALE_BYTES * columns.div_ceil(Q4_BLOCK as u64))
            }
            // At most, until the checkpoint is known.
            Self::Native => rows * columns,
        }
    }
}

impl Scheme {
    /// Its name, as precisions begin with it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }
}

/// Weights x compute: what matrices are kept in, and the dtype of activations, of the KV cache, and of all
/// weights that are no matrix.
///
/// Written `bf16` where weights are kept in the dtype that is computed in, `q4-bf16` and `q8-f32` where they
/// are quantised when they are loaded, `native-bf16` where they are as a quantised checkpoint stores them.
/// Unquantised weights of another dtype than the computation's don't exist: a product would
/// first have to make a copy of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Precision {
    weights: WeightFormat,
    compute: Dtype,
}

impl Precision {
    /// Every precision, in the order of reports.
    pub const ALL: [Self; 12] = [
        Self::plain(Dtype::F32),
        Self::plain(Dtype::Bf16),
        Self::plain(Dtype::F16),
        Self::quantised(Scheme::Q8, Dtype::F32),
        Self::quantised(Scheme::Q8, Dtype::Bf16),
        Self::quantised(Scheme::Q8, Dtype::F16),
        Self::quantised(Scheme::Q4, Dtype::F32),
        Self::quantised(Scheme::Q4, Dtype::Bf16),
        Self::quantised(Scheme::Q4, Dtype::F16),
        Self::native(Dtype::F32),
        Self::native(Dtype::Bf16),
        Self::native(Dtype::F16),
    ];

    /// Weights and computation in `dtype`.
    pub const fn plain(dtype: Dtype) -> Self {
        Self {
            weights: WeightFormat::Plain(dtype),
            compute: dtype,
        }
    }

    /// Weights in the codes of `scheme`, all else in `compute`.
    pub const fn quantised(scheme: Scheme, compute: Dtype) -> Self {
        Self {
            weights: WeightFormat::Quantised(scheme),
            compute,
        }
    }

    /// Weights as a quantised checkpoint stores them, all else in `compute`.
    pub const fn native(compute: Dtype) -> Self {
        Self {
            weights: WeightFormat::Native,
            compute,
        }
    }

    /// What the matrices of layers are kept in.
    pub fn weights(self) -> WeightFormat {
        self.weights
    }

    /// What embedding table and output projection are kept in: [`Scheme::Q8`] where weights are quantised.
    pub fn table(self) -> WeightFormat {
        match self.weights {
            WeightFormat::Plain(_) | WeightFormat::Native => self.weights,
            WeightFormat::Quantised(_) => WeightFormat::Quantised(Scheme::Q8),
        }
    }

    /// The dtype of activations, and of all weights that are no matrix: norms and biases.
    pub fn compute(self) -> Dtype {
        self.compute
    }

    /// The dtype of keys and values in the cache.
    pub fn kv_cache(self) -> Dtype {
        self.compute
    }

    /// Whether weights are kept as codes.
    pub fn is_quantised(self) -> bool {
        !matches!(self.weights, WeightFormat::Plain(_))
    }

    /// By which scheme weights are quantised when they are loaded, where they are.
    pub fn scheme(self) -> Option<Scheme> {
        match self.weights {
            WeightFormat::Plain(_) | WeightFormat::Native => None,
            WeightFormat::Quantised(scheme) => Some(scheme),
        }
    }
}

impl From<Dtype> for Precision {
    fn from(dtype: Dtype) -> Self {
        Self::plain(dtype)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.weights.name();
        match self.is_quantised() {
            false => f.pad(name),
            true => f.pad(&format!("{name}-{}", self.compute.name())),
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let known = Self::ALL
            .into_iter()
            .find(|precision| precision.to_string() == s);
        known.ok_or_else(|| Error::Invalid(format!("unknown dtype `{s}`: {}", instead_of(s))))
    }
}

/// What to write instead of `s`, which is no precision.
fn instead_of(s: &str) -> String {
    let lower = s.to_lowercase();
    let (weights, compute) = lower
        .split_once('-')
        .map_or((lower.as_str(), None), |(weights, compute)| {
            (weights, Some(compute))
        });
    match (meant(weights), compute.map(meant)) {
        (Some(WeightFormat::Plain(dtype)), None) => format!("write {dtype}"),
        (Some(WeightFormat::Quantised(scheme)), Some(Some(WeightFormat::Plain(compute)))) => {
            format!("write {}", Precision::quantised(scheme, compute))
        }
        (Some(WeightFormat::Native), Some(Some(WeightFormat::Plain(compute)))) => {
            format!("write {}", Precision::native(compute))
        }
        (Some(quantised @ (WeightFormat::Quantised(_) | WeightFormat::Native)), compute) => {
            let name = quantised.name();
            match compute {
                None => format!("{name} needs a compute dtype: write {}", with_each(name)),
                Some(_) => format!("write {}", with_each(name)),
            }
        }
        (Some(WeightFormat::Plain(weights)), Some(Some(WeightFormat::Plain(compute))))
            if weights == compute =>
        {
            format!("write {compute}")
        }
        (Some(WeightFormat::Plain(weights)), Some(Some(WeightFormat::Plain(compute)))) => {
            format!(
                "weights that aren't quantised are kept in the dtype that is computed in: write \
                 {weights} or {compute}"
            )
        }
        _ => {
            "write f32, bf16 or f16, or q8-bf16, q4-bf16 and the like for quantised weights".into()
        }
    }
}

/// `q4-f32, q4-bf16 or q4-f16`.
fn with_each(scheme: &str) -> String {
    let [f32, bf16, f16] = Dtype::ALL;
    format!("{scheme}-{f32}, {scheme}-{bf16} or {scheme}-{f16}")
}

/// The format that a name stands for, ours or one that others use for it.
fn meant(name: &str) -> Option<WeightFormat> {
    let ours = match name {
        "float32" | "fp32" | "float" | "single" => "f32",
        "bfloat16" | "bf" => "bf16",
        "float16" | "fp16" | "half" => "f16",
        "int8" | "i8" | "8bit" | "q8_0" => "q8",
        "int4" | "i4" | "4bit" | "q4_0" => "q4",
        ours => ours,
    };
    let mut all = WeightFormat::ALL.into_iter();
    all.find(|format| format.name() == ours)
}

impl TryFrom<String> for WeightFormat {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|format| format.name() == name);
        found.ok_or_else(|| Error::Invalid(format!("unknown format of weights `{name}`")))
    }
}

impl From<WeightFormat> for String {
    fn from(format: WeightFormat) -> Self {
        format.name().to_owned()
    }
}

impl JsonSchema for WeightFormat {
    fn schema_name() -> Cow<'static, str> {
        "WeightFormat".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What weight matrices are kept in.",
            "type": "string",
            "enum": Self::ALL.map(Self::name),
        })
    }
}

impl TryFrom<String> for Precision {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<Precision> for String {
    fn from(precision: Precision) -> Self {
        precision.to_string()
    }
}

impl JsonSchema for Precision {
    fn schema_name() -> Cow<'static, str> {
        "Precision".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Weights and compute: `bf16` where weights are kept in the dtype that is \
                            computed in, `q4-bf16` where they are quantised.",
            "type": "string",
            "enum": Self::ALL.map(String::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precision_reads_as_it_is_written() {
        for precision in Precision::ALL {
            let name = precision.to_string();
            assert_eq!(name.parse::<Precision>().unwrap(), precision);
            let json = serde_json::to_string(&precision).unwrap();
            assert_eq!(json, format!("{name:?}"));
            assert_eq!(serde_json::from_str::<Precision>(&json).unwrap(), precision);
        }
        let [f32, .., q4_bf16, _, _, _, _] = Precision::ALL;
        assert_eq!(format!("{f32:<5}|{q4_bf16:>9}"), "f32  |  q4-bf16");
    }

    #[test]
    fn reports_show_full_precision_first_and_quantised_last() {
        let mut sorted = Precision::ALL;
        sorted.reverse();
        sorted.sort();
        assert_eq!(sorted, Precision::ALL);
    }

    #[test]
    fn what_is_no_precision_is_refused_with_what_to_write() {
        for (wrong, instead) in [
            ("fp16", "write f16"),
            ("float16", "write f16"),
            ("BF16", "write bf16"),
            ("bf16-bf16", "write bf16"),
            (
                "f32-bf16",
                "weights that aren't quantised are kept in the dtype that is computed in: write f32 or bf16",
            ),
            (
                "q4",
                "q4 needs a compute dtype: write q4-f32, q4-bf16 or q4-f16",
            ),
            (
                "int4",
                "q4 needs a compute dtype: write q4-f32, q4-bf16 or q4-f16",
            ),
            ("int8-bfloat16", "write q8-bf16"),
            ("q4-fp8", "write q4-f32, q4-bf16 or q4-f16"),
            ("q4-q8", "write q4-f32, q4-bf16 or q4-f16"),
            (
                "f64",
                "write f32, bf16 or f16, or q8-bf16, q4-bf16 and the like for quantised weights",
            ),
            (
                "",
                "write f32, bf16 or f16, or q8-bf16, q4-bf16 and the like for quantised weights",
            ),
            (
                "bf16-q4",
                "write f32, bf16 or f16, or q8-bf16, q4-bf16 and the like for quantised weights",
            ),
        ] {
            let message = wrong.parse::<Precision>().unwrap_err().to_string();
            assert_eq!(message, format!("unknown dtype `{wrong}`: {instead}"));
        }
    }

    #[test]
    fn a_quantised_matrix_has_codes_and_scales() {
        let bytes = |name: &str| {
            let precision: Precision = name.parse().unwrap();
            precision.weights().matrix_bytes(10, 640)
        };
        assert_eq!(bytes("f32"), 4 * 6400);
        assert_eq!(bytes("bf16"), 2 * 6400);
        // 10 scales of two bytes, or ten in each row.
        assert_eq!(bytes("q8-f32"), 6400 + 20);
        assert_eq!(bytes("q4-bf16"), 3200 + 200);
    }
}
