//! Chains of element-wise operations, each compiled to one kernel for any shape. They work in f32
//! inside and round once, as the reference does.

use std::cell::RefCell;
use std::fmt;

use mlx_rs::error::Result;
use mlx_rs::ops::tanh;
use mlx_rs::transforms::compile::compile;
use mlx_rs::{Array, Dtype};

type Compiled = dyn for<'a> FnMut((&'a Array, &'a Array)) -> Result<Array>;

/// A compiled function of two arrays whose result has the shape and dtype of the first. Belongs to the thread that made it.
pub(crate) struct Fused(RefCell<Box<Compiled>>);

impl Fused {
    fn new(f: impl Fn(&Array, &Array) -> Result<Array> + 'static) -> Self {
        let compiled = compile(move |(x, y): (&Array, &Array)| f(x, y), true);
        Self(RefCell::new(Box::new(compiled)))
    }

    /// [`geglu`].
    pub(crate) fn geglu() -> Self {
        Self::new(geglu)
    }

    /// [`soft_cap`].
    fn soft_cap() -> Self {
        Self::new(soft_cap)
    }

    pub(crate) fn forward(&self, x: &Array, y: &Array) -> Result<Array> {
        (self.0.borrow_mut())((x, y))
    }
}

/// `gelu(gate) * up` with the tanh form of GELU. Source: Hendrycks and Gimpel, "Gaussian Error
/// Linear Units" (arXiv 1606.08415).
pub(crate) fn geglu(gate: &Array, up: &Array) -> Result<Array> {
    let x = gate.as_dtype(Dtype::Float32)?;
    let cube = &(&x * &x) * &x;
    let inner = (&x + &cube * scalar(0.044_715)) * scalar((2.0 / std::f32::consts::PI).sqrt());
    let gelu = x * scalar(0.5) * (tanh(&inner)? + scalar(1.0));
    gelu.as_dtype(gate.dtype())?.multiply(up)
}

/// `cap * tanh(x / cap)`.
pub(crate) fn soft_cap(x: &Array, cap: &Array) -> Result<Array> {
    let ratio = x.as_dtype(Dtype::Float32)?.divide(cap)?;
    tanh(&ratio)?.multiply(cap)?.as_dtype(x.dtype())
}

impl fmt::Debug for Fused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fused").finish_non_exhaustive()
    }
}

/// A soft-cap as Gemma 2 has it.
#[derive(Debug)]
pub(crate) struct SoftCap {
    /// In f32.
    cap: Array,
    function: Fused,
}

impl SoftCap {
    pub(crate) fn new(cap: f64) -> Self {
        Self {
            cap: scalar(cap as f32),
            function: Fused::soft_cap(),
        }
    }

    /// In f32.
    pub(crate) fn cap(&self) -> &Array {
        &self.cap
    }

    /// Keeps shape and dtype.
    pub(crate) fn forward(&self, x: &Array) -> Result<Array> {
        self.function.forward(x, &self.cap)
    }
}

fn scalar(value: f32) -> Array {
    Array::from_f32(value)
}
