//! Chains of element-wise operations, each compiled to one kernel for any shape where MLX can. They work in f32
//! inside and round once, as the reference does.

use std::cell::{Cell, RefCell};
use std::env;
use std::fmt;
use std::rc::Rc;

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

/// The part of a model whose way [`way`] names. A step of training is compiled where these are fused,
/// unless it checkpoints.
pub(crate) const CHAINS: &str = "chains of element-wise operations";

/// How MLX computes [`CHAINS`] on its default device. For the CPU it compiles them with `g++`; where it finds none it
/// runs them one by one, and says nothing.
pub(crate) fn way() -> Result<&'static str> {
    let disabled = env::var_os("MLX_DISABLE_COMPILE").is_some();
    Ok(named(fuses()?, disabled))
}

fn named(fuses: bool, disabled: bool) -> &'static str {
    match (fuses, disabled) {
        (true, _) => "fused",
        (false, true) => "one by one: MLX_DISABLE_COMPILE",
        (false, false) => "one by one: no g++ in PATH",
    }
}

/// Whether MLX compiles: it then calls a function once, to trace it, and otherwise every time.
fn fuses() -> Result<bool> {
    let calls = Rc::new(Cell::new(0));
    let counter = Rc::clone(&calls);
    let counted = Fused::new(move |x, y| {
        counter.set(counter.get() + 1);
        x.multiply(y)
    });
    for _ in 0..2 {
        counted.forward(&scalar(1.0), &scalar(1.0))?;
    }
    Ok(calls.get() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_fused_has_a_reason() {
        assert_eq!(named(true, false), "fused");
        assert_eq!(named(false, true), "one by one: MLX_DISABLE_COMPILE");
        assert_eq!(named(false, false), "one by one: no g++ in PATH");
    }
}
