//! Random queries, keys and values, and what attention makes of them.

use std::ops::Range;

use mlxbench_core::gemma::AttentionSpec;
use tch::{Device, Kind, TchError, Tensor};

use crate::flash::{self, Lengths};
use crate::{forms, mask};

/// Standard deviation of the scores: some keys matter much more than others.
const SPREAD: f64 = 2.0;
/// What comes later is this much larger, so that no trace of it can hide.
const LOUD: f64 = 10.0;

/// What decides the kernel, beside the place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Heads {
    /// Query heads for each key and value head.
    pub(super) group: i64,
    /// Key and value heads: one, or two that stand for several.
    kv_heads: i64,
    head_dim: i64,
    pub(super) scale: f64,
    pub(super) softcap: Option<f64>,
}

impl Heads {
    pub(super) fn of(attention: &AttentionSpec) -> Self {
        Self {
            group: attention.queries_per_kv() as i64,
            kv_heads: attention.kv_heads.min(2) as i64,
            head_dim: attention.head_dim as i64,
            scale: attention.scale(),
            softcap: attention.softcap,
        }
    }
}

/// Numbers that all trials take parts of, where the model is.
pub(super) struct Numbers {
    heads: Heads,
    /// Shape `[1, heads, queries, head_dim]`, as a view of projections.
    queries: Tensor,
    /// Shape `[1, kv_heads, keys, head_dim]`.
    keys: Tensor,
    values: Tensor,
    /// As many again.
    others: [Tensor; 2],
}

impl Numbers {
    pub(super) fn new(
        heads: &Heads,
        keys: usize,
        queries: usize,
        place: (Kind, Device),
    ) -> Result<Self, TchError> {
        tch::manual_seed(0);
        let random = |shape: [i64; 4], factor: f64| {
            let numbers = Tensor::f_randn(shape, (Kind::Float, Device::Cpu))?;
            numbers
                .f_mul_scalar(factor)?
                .f_to_kind(place.0)?
                .f_to_device(place.1)
        };
        let Heads {
            group,
            kv_heads,
            head_dim,
            scale,
            ..
        } = *heads;
        let kv = |factor| random([1, kv_heads, keys as i64, head_dim], factor);
        let factor = SPREAD / (scale * (head_dim as f64).sqrt());
        let queries = random([1, queries as i64, kv_heads * group, head_dim], factor)?;
        Ok(Self {
            heads: heads.clone(),
            queries: queries.f_transpose(1, 2)?,
            keys: kv(1.0)?,
            values: kv(1.0)?,
            others: [kv(LOUD)?, kv(LOUD)?],
        })
    }
}

/// Queries, keys and values with what attention gives of them.
pub(super) struct Trial<'a> {
    numbers: &'a Numbers,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    /// What the first queries see, in f32 on the CPU.
    expected: Tensor,
}

impl<'a> Trial<'a> {
    /// The last `queries` of `keys` positions: each sees the keys before it, `window` of them with its own.
    pub(super) fn new(
        numbers: &'a Numbers,
        queries: usize,
        keys: usize,
        window: Option<usize>,
    ) -> Result<Self, TchError> {
        let first = |x: &Tensor, count: usize| x.f_narrow(2, 0, count as i64);
        let mut trial = Self {
            numbers,
            queries: first(&numbers.queries, queries)?,
            keys: first(&numbers.keys, keys)?,
            values: first(&numbers.values, keys)?,
            expected: Tensor::new(),
        };
        let here = (Kind::Float, Device::Cpu);
        let in_f32 = |x: &Tensor| x.f_to_device(here.1)?.f_to_kind(here.0);
        let (q, k) = trial.positions();
        let heads = &numbers.heads;
        let mask = mask::of_positions(&q, &k, window, heads.group, here)?;
        trial.expected = forms::plain(
            &in_f32(&trial.queries)?,
            [&in_f32(&trial.keys)?, &in_f32(&trial.values)?],
            Some(&mask),
            heads.scale,
            None,
        )?;
        Ok(trial)
    }

    /// The trial, and one whose later half of queries comes with other keys and values, which the earlier
    /// half must not see.
    pub(super) fn with_future(self) -> Result<[Self; 2], TchError> {
        let half = self.queries.size4()?.2 / 2;
        let present = self.keys.size4()?.2 - half;
        let changed = |x: &Tensor, other: &Tensor| {
            let later = other.f_narrow(2, present, half)?;
            Tensor::f_cat(&[x.f_narrow(2, 0, present)?, later], 2)
        };
        let [keys, values] = &self.numbers.others;
        let future = Self {
            numbers: self.numbers,
            queries: self.queries.shallow_clone(),
            keys: changed(&self.keys, keys)?,
            values: changed(&self.values, values)?,
            expected: self.expected.f_narrow(2, 0, half)?,
        };
        Ok([self, future])
    }

    /// Positions of queries and keys.
    pub(super) fn positions(&self) -> (Range<usize>, Range<usize>) {
        let [queries, keys] = [&self.queries, &self.keys].map(|x| x.size()[2] as usize);
        (keys - queries..keys, 0..keys)
    }

    /// Whether `attend` gives what attention gives, as near as the dtype allows. What can't be done doesn't.
    pub(super) fn holds(
        &self,
        attend: impl Fn(&Tensor, [&Tensor; 2]) -> Result<Tensor, TchError>,
    ) -> bool {
        let mixed = attend(&self.queries, [&self.keys, &self.values]);
        mixed
            .and_then(|mixed| self.is_near(&mixed))
            .unwrap_or(false)
    }

    /// Whether flash attention of lengths on the device gives the same in the midst of a buffer, with so
    /// many entries before and behind those that are read.
    pub(super) fn holds_within(&self, [before, behind]: [i64; 2], scale: f64) -> bool {
        let [others, _] = &self.numbers.others;
        self.holds(|queries, [keys, values]| {
            let (_, kv_heads, count, head_dim) = keys.size4()?;
            let buffer = |x: &Tensor| {
                let around = |count| others.f_narrow(2, 0, count);
                let buffer =
                    Tensor::f_cat(&[around(before)?, x.shallow_clone(), around(behind)?], 2)?;
                buffer.f_view([-1, 1, head_dim])
            };
            let most = before + count + behind;
            let numbers = |of: &dyn Fn(i64) -> i64, count: i64| {
                let numbers: Vec<i32> = (0..count).map(|at| of(at) as i32).collect();
                Tensor::f_from_slice(&numbers)?.f_to_device(keys.device())
            };
            let lengths = Lengths {
                query_starts: numbers(&|at| at, kv_heads + 1)?,
                starts: numbers(&|at| at * most + before, kv_heads + 1)?,
                counts: numbers(&|_| count, kv_heads)?,
                most,
            };
            let grouped = forms::group(queries, keys)?.f_squeeze_dim(0)?;
            let kv = [&buffer(keys)?, &buffer(values)?];
            flash::lengths(&grouped, kv, &lengths, scale)?.f_reshape(queries.size())
        })
    }

    /// The kernel of fused attention over grouped queries.
    pub(super) fn grouped_kernel(&self, mask: Option<&Tensor>) -> String {
        let grouped = forms::group(&self.queries, &self.keys);
        let choice = grouped.and_then(|queries| {
            let scale = self.numbers.heads.scale;
            Tensor::f_internal_fused_sdp_choice(
                &queries,
                &self.keys,
                &self.values,
                mask,
                0.0,
                false,
                scale,
                false,
            )
        });
        // A device that has but one kernel isn't asked to choose.
        choice.map_or("sdpa", name).into()
    }

    /// The kernel of fused attention with the causal flag, where it isn't separate steps.
    pub(super) fn causal_kernel(&self) -> Option<String> {
        let choice = Tensor::f_internal_fused_sdp_choice(
            &self.queries,
            &self.keys,
            &self.values,
            None::<&Tensor>,
            0.0,
            true,
            self.numbers.heads.scale,
            true,
        );
        let choice = choice.ok().filter(|&choice| choice != MATH);
        choice.map(|choice| name(choice).to_owned())
    }

    fn is_near(&self, mixed: &Tensor) -> Result<bool, TchError> {
        let got = mixed
            .f_narrow(2, 0, self.expected.size()[2])?
            .f_to_device(Device::Cpu)?
            .f_to_kind(Kind::Float)?;
        let largest = |x: &Tensor| f64::try_from(x.f_abs()?.f_max()?);
        let (far, size) = (
            largest(&got.f_sub(&self.expected)?)?,
            largest(&self.expected)?,
        );
        // Not a number is far, too.
        Ok(far <= tolerance(self.queries.kind()) * size)
    }
}

/// What libtorch calls separate steps.
const MATH: i64 = 0;

/// libtorch's `SDPBackend`.
fn name(choice: i64) -> &'static str {
    match choice {
        MATH => "math",
        1 => "flash",
        2 => "efficient",
        3 => "cuDNN",
        _ => "sdpa",
    }
}

/// How far a result may be off, as a share of the largest: some roundings of the dtype.
pub(crate) fn tolerance(dtype: Kind) -> f64 {
    match dtype {
        Kind::BFloat16 => 2_f64.powi(-4),
        Kind::Half => 2_f64.powi(-7),
        _ => 1e-4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(place: (Kind, Device)) -> Numbers {
        let heads = Heads {
            group: 4,
            kv_heads: 2,
            head_dim: 32,
            scale: 0.2,
            softcap: None,
        };
        Numbers::new(&heads, 200, 64, place).unwrap()
    }

    #[test]
    fn a_wrong_fused_function_is_refused() {
        for dtype in [Kind::Float, Kind::BFloat16, Kind::Half] {
            let numbers = numbers((dtype, Device::Cpu));
            let scale = numbers.heads.scale;
            let one = Trial::new(&numbers, 1, 100, None).unwrap();
            assert!(one.holds(|q, kv| forms::grouped(q, kv, None, scale)));
            // It reads one block of keys.
            let short = |x: &Tensor| x.narrow(2, 0, 32);
            assert!(!one.holds(|q, [k, v]| forms::grouped(q, [&short(k), &short(v)], None, scale)));
            // It counts the causal flag from the first key.
            let later = Trial::new(&numbers, 64, 100, None).unwrap();
            assert!(!later.holds(|q, kv| forms::causal(q, kv, scale)));
            assert!(!later.holds(|_, _| Err(TchError::Torch("none".into()))));
            assert!(!later.holds(|q, _| Ok(q * f64::NAN)));
        }
    }

    #[test]
    fn a_function_that_sees_the_future_is_refused() {
        let numbers = numbers((Kind::Float, Device::Cpu));
        let scale = numbers.heads.scale;
        let trials = Trial::new(&numbers, 64, 100, None).unwrap();
        let [_, future] = trials.with_future().unwrap();
        let (queries, keys) = future.positions();
        let mask = |group| {
            mask::of_positions(&queries, &keys, None, group, (Kind::Float, Device::Cpu)).unwrap()
        };
        assert!(future.holds(|q, kv| forms::grouped(q, kv, Some(&mask(4)), scale)));
        assert!(!future.holds(|q, kv| forms::grouped(q, kv, None, scale)));
    }
}
