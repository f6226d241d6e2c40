//! Fine-tuning with low-rank adapters (LoRA: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021):
//! what is trained, from which numbers, by which update. One statement for all adapters, since frameworks differ in
//! each of these.
//!
//! Beside a frozen projection `W`, of shape `[out, in]`, stand `A`, of shape `[rank, in]`, and `B`, of shape
//! `[out, rank]`: the product is `x W^T + scale * (x A^T) B^T`. Adapters, their gradients and the optimiser's state are
//! kept in f32 whatever the model's precision, as peft keeps them; `x` is converted to f32 for them, and what they
//! give to the model's dtype before it is added.
//!
//! A step is a forward pass over all rows and tokens, the mean cross-entropy in f32 of every token but a row's first,
//! given those before it, the gradients of that loss, and an update by [`Update`].

mod adapters;
mod update;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use adapters::{Adapter, Module, adapters};
pub use update::{BETAS, EPS, Update};

use crate::{Error, GemmaConfig, Result, TokenBatch};

/// Which adapters are trained, and how.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Rows of every `A`, columns of every `B`.
    pub rank: usize,
    /// The last so many layers have adapters; all of them where the model has fewer.
    pub layers: usize,
    /// Which projections have one.
    pub modules: LoraModules,
    /// Factor on what an adapter adds. It isn't divided by the rank: peft's `lora_alpha / r`, mlx-lm's `scale`.
    pub scale: f32,
    /// AdamW's.
    pub learning_rate: f32,
    /// AdamW's, decoupled: a step takes this share times the learning rate of every value.
    pub weight_decay: f32,
    /// Of the initial values.
    pub seed: u64,
    /// Whether a layer's intermediate values are computed again in the backward pass instead of being kept for it.
    /// Losses and gradients are the same; less memory is taken, and more time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
}

/// Which projections of a layer have an adapter.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum LoraModules {
    /// Those of queries and of values, as in the paper and by peft's default for Gemma. A layer whose values come from
    /// elsewhere has none for them.
    #[default]
    #[serde(rename = "q_v")]
    QueryValue,
    /// All of attention and MLP. Routers, routed experts and what belongs to embeddings for each layer have none.
    #[serde(rename = "all")]
    All,
}

/// Rank 8 with a factor of 20 at a rate of 1e-5 on the last 16 layers, mlx-lm's defaults, on queries and values.
impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 8,
            layers: 16,
            modules: LoraModules::default(),
            scale: 20.0,
            learning_rate: 1e-5,
            weight_decay: 0.0,
            seed: 0,
            gradient_checkpointing: false,
        }
    }
}

/// A model with low-rank adapters on it, which are trained.
///
/// Work may be asynchronous: only [`Trainer::loss`] and [`Trainer::gradient_norms`] have to wait for it.
pub trait Trainer {
    /// One step of the optimiser on all of `tokens`, at least two a row.
    ///
    /// # Errors
    /// As [`check_batch`]; the framework's own.
    fn step(&mut self, tokens: &TokenBatch) -> Result<()>;

    /// Waits for all work, the update of the last step included. The loss of that step, before its update.
    ///
    /// # Errors
    /// Before the first step; the framework's own.
    fn loss(&mut self) -> Result<f32>;

    /// The L2 norms of the last step's gradients: of `A`, then of `B`, for each of [`adapters`] in their order. Waits
    /// as [`Trainer::loss`] does, and isn't timed.
    ///
    /// # Errors
    /// As [`Trainer::loss`].
    fn gradient_norms(&mut self) -> Result<Vec<f32>>;

    /// Peak of the device memory that the framework has held since the trainer was made, in bytes, where it keeps
    /// count.
    fn device_peak_bytes(&self) -> Option<u64> {
        None
    }
}

impl Lora {
    /// Fails when it doesn't fit the model.
    ///
    /// # Errors
    /// [`Error::Invalid`], with what to write instead.
    pub fn check(&self, config: &GemmaConfig) -> Result<()> {
        let invalid = |message: String| Err(Error::Invalid(message));
        if self.layers == 0 {
            return invalid("no layer has an adapter: lora needs `layers` of 1 or more".into());
        }
        let numbers = [
            ("scale", self.scale, self.scale != 0.0),
            (
                "learning_rate",
                self.learning_rate,
                self.learning_rate > 0.0,
            ),
            ("weight_decay", self.weight_decay, self.weight_decay >= 0.0),
        ];
        for (name, number, right) in numbers {
            if !right || !number.is_finite() {
                let wanted = match name {
                    "scale" => "a number that isn't 0",
                    "learning_rate" => "a number above 0",
                    _ => "0 or a number above it",
                };
                return invalid(format!("lora's `{name}` is {number}: write {wanted}"));
            }
        }
        let rank = self.rank;
        if rank == 0 {
            return invalid("lora's `rank` is 0: write 1 or more".into());
        }
        let all = adapters(self, config);
        match all.iter().min_by_key(|adapter| adapter.full_rank()) {
            Some(least) if rank > least.full_rank() => invalid(format!(
                "lora's `rank` is {rank}, and {} is a matrix of {} x {}: write at most {}",
                least.name(),
                least.out_features,
                least.in_features,
                least.full_rank()
            )),
            _ => Ok(()),
        }
    }

    /// How many numbers are trained in a model of `config`.
    pub fn parameters(&self, config: &GemmaConfig) -> u64 {
        let elements = adapters(self, config).into_iter();
        let elements = elements.map(|adapter| adapter.in_features + adapter.out_features);
        elements.sum::<usize>() as u64 * self.rank as u64
    }
}

impl fmt::Display for LoraModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueryValue => "q_v",
            Self::All => "all",
        })
    }
}

impl fmt::Display for Lora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rank,
            layers,
            modules,
            gradient_checkpointing,
            ..
        } = self;
        write!(f, "LoRA of rank {rank} on {modules} of {layers} layers")?;
        match gradient_checkpointing {
            true => f.write_str(" with gradient checkpointing"),
            false => Ok(()),
        }
    }
}

/// Fails when a step can't be taken on `tokens`.
///
/// # Errors
/// [`Error::Invalid`] when a row has no token to learn from, or an id lies outside the vocabulary.
pub fn check_batch(tokens: &TokenBatch, config: &GemmaConfig) -> Result<()> {
    if tokens.len() < 2 {
        return Err(Error::Invalid(format!(
            "a row of {} tokens has nothing to learn from: give at least 2 a row",
            tokens.len()
        )));
    }
    tokens.check_vocab(config.vocab_size)
}

/// Fails for a model through which no gradient passes, or passes too small: in f16, of which a mean's over many
/// tokens fall below the least number without loss scaling. Adapters ask when they make a trainer.
///
/// # Errors
/// [`Error::Unsupported`] for a mixture of experts, and for f16.
pub fn check_trainable(config: &GemmaConfig, in_f16: bool) -> Result<()> {
    let why = match (config.has_experts(), in_f16) {
        (true, _) => {
            "a mixture of experts isn't trained: no gradient passes through the choice of experts"
        }
        (false, true) => "training in f16 needs loss scaling, which isn't there: take bf16 or f32",
        (false, false) => return Ok(()),
    };
    Err(Error::Unsupported(why.into()))
}

/// What a trainer is answered with that is asked for a loss before its first step.
pub fn no_step() -> Error {
    Error::Invalid("no step was taken: there is no loss and no gradient yet".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemma::preset;

    fn config() -> GemmaConfig {
        preset("gemma-3-270m").unwrap().config()
    }

    #[test]
    fn what_does_not_fit_the_model_is_refused_with_what_to_write() {
        let fine = Lora::default();
        assert!(fine.check(&config()).is_ok());
        for (lora, words) in [
            (Lora { rank: 0, ..fine }, "write 1 or more"),
            (Lora { rank: 257, ..fine }, "write at most 256"),
            (Lora { layers: 0, ..fine }, "`layers` of 1 or more"),
            (Lora { scale: 0.0, ..fine }, "`scale` is 0"),
            (
                Lora {
                    learning_rate: f32::NAN,
                    ..fine
                },
                "`learning_rate` is NaN",
            ),
            (
                Lora {
                    weight_decay: -1.0,
                    ..fine
                },
                "`weight_decay` is -1",
            ),
        ] {
            let message = lora.check(&config()).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    /// peft counts 368,640 for rank 8 on q_proj and v_proj of this model: 18 layers of 8 x (640 + 1024) and
    /// 8 x (640 + 256).
    #[test]
    fn parameters_are_counted_as_others_count_them() {
        let lora = Lora {
            layers: usize::MAX,
            ..Lora::default()
        };
        assert_eq!(lora.parameters(&config()), 368_640);
    }

    #[test]
    fn a_row_needs_a_token_to_learn_from() {
        let check = |ids| check_batch(&TokenBatch::row(ids), &config());
        assert!(check(vec![2, 5]).is_ok());
        assert!(
            check(vec![2])
                .unwrap_err()
                .to_string()
                .contains("at least 2")
        );
        assert!(check(vec![2, 1 << 20]).is_err());
    }
}
