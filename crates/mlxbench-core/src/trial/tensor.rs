//! Numbers with a shape, as they travel between runner and worker, and the dtypes that are tried.

use std::fmt;
use std::str::FromStr;

use half::{bf16, f16};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Dtype, Error};

/// A dtype that is tried: those of models, and that of positions and ids.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// 64 bits, with a sign.
    I64,
    /// 32 bits.
    F32,
    /// The upper half of 32.
    Bf16,
    /// 16 bits as IEEE 754 has them.
    F16,
}

impl ElementType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::I64, Self::F32, Self::Bf16, Self::F16];
    /// Those of models.
    pub const FLOATS: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// Its name in tables and on the command line.
    pub fn name(self) -> &'static str {
        self.float().map_or("i64", Dtype::name)
    }

    /// The model's dtype that it is; `None` for integers.
    pub fn float(self) -> Option<Dtype> {
        match self {
            Self::I64 => None,
            Self::F32 => Some(Dtype::F32),
            Self::Bf16 => Some(Dtype::Bf16),
            Self::F16 => Some(Dtype::F16),
        }
    }

    /// The number of this dtype that is nearest to `x`, ties to even; `x` itself for integers, which are made
    /// otherwise.
    pub fn round(self, x: f32) -> f32 {
        match self {
            Self::I64 | Self::F32 => x,
            Self::Bf16 => bf16::from_f32(x).to_f32(),
            Self::F16 => f16::from_f32(x).to_f32(),
        }
    }

    /// The largest relative error of a rounding: half the distance from 1 to the next number. 0 for integers.
    pub fn unit_roundoff(self) -> f64 {
        let digits = match self {
            Self::I64 => return 0.0,
            Self::F32 => 24,
            Self::Bf16 => 8,
            Self::F16 => 11,
        };
        2_f64.powi(-digits)
    }

    /// The smallest number that isn't subnormal: devices may take what is below for 0. 0 for integers.
    pub fn smallest_normal(self) -> f64 {
        match self {
            Self::I64 => 0.0,
            Self::F32 | Self::Bf16 => f64::from(f32::MIN_POSITIVE),
            Self::F16 => f16::MIN_POSITIVE.to_f64(),
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ElementType {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let mut all = Self::ALL.into_iter();
        let known = all.find(|element| element.name() == s);
        known.ok_or_else(|| {
            Error::Invalid(format!(
                "no operation is tried in `{s}`: write i64, f32, bf16 or f16"
            ))
        })
    }
}

/// Numbers in row-major order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    /// The lengths of its axes.
    pub shape: Vec<usize>,
    /// As many as the shape has places.
    pub numbers: Numbers,
}

/// The numbers of a [`Tensor`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// Integers.
    Int(Vec<i64>),
    /// Numbers of a floating-point dtype, which f32 holds exactly. What isn't finite is `null` in JSON, and NaN
    /// when it is read.
    Float(#[serde(with = "finite_or_null")] Vec<f32>),
}

impl Tensor {
    /// Integers of a shape.
    pub fn ints(shape: impl Into<Vec<usize>>, numbers: Vec<i64>) -> Self {
        Self {
            shape: shape.into(),
            numbers: Numbers::Int(numbers),
        }
    }

    /// Floating-point numbers of a shape.
    pub fn floats(shape: impl Into<Vec<usize>>, numbers: Vec<f32>) -> Self {
        Self {
            shape: shape.into(),
            numbers: Numbers::Float(numbers),
        }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match &self.numbers {
            Numbers::Int(numbers) => numbers.len(),
            Numbers::Float(numbers) => numbers.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers in f64, which holds f32 exactly, and integers up to 2^53.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.numbers {
            Numbers::Int(numbers) => numbers.iter().map(|&number| number as f64).collect(),
            Numbers::Float(numbers) => numbers.iter().map(|&number| number.into()).collect(),
        }
    }

    /// The integers.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they are of the other kind.
    pub fn as_ints(&self) -> Result<&[i64], Error> {
        match &self.numbers {
            Numbers::Int(numbers) => Ok(numbers),
            Numbers::Float(_) => Err(Error::Invalid("integers are needed here".into())),
        }
    }

    /// The floating-point numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they are of the other kind.
    pub fn as_floats(&self) -> Result<&[f32], Error> {
        match &self.numbers {
            Numbers::Float(numbers) => Ok(numbers),
            Numbers::Int(_) => Err(Error::Invalid(
                "floating-point numbers are needed here".into(),
            )),
        }
    }

    /// The length of the last axis.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The rows along the last axis.
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }
}

/// Numbers that aren't finite as JSON's `null`.
mod finite_or_null {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        numbers: &[f32],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let finite = numbers.iter();
        serializer.collect_seq(finite.map(|number| number.is_finite().then_some(*number)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<f32>, D::Error> {
        let numbers = Vec::<Option<f32>>::deserialize(deserializer)?;
        let numbers = numbers.into_iter();
        Ok(numbers.map(|number| number.unwrap_or(f32::NAN)).collect())
    }
}
