//! Whether a target did the same work as the reference, and how near it came.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TargetId, Test};
use crate::{TokenId, WeightFormat};

/// A target beside the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Equivalence {
    /// Which target.
    pub target: TargetId,
    /// Whether it did the same work.
    pub verdict: Verdict,
    /// Why it is so, where figures don't say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The figures, where both gave finite logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<Fidelity>,
}

/// What quantised weights cost: the model of the dequantised weights beside the model as it
/// is, over a text, both in the reference's framework and precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuantisationCost {
    /// What the weights are kept in: `q4`, `q8`, `native`.
    pub weights: WeightFormat,
    /// The figures, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<CostFigures>,
    /// Why there are none, or what is to be known of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The figures of a [`QuantisationCost`], as llama.cpp's `llama-perplexity --kl-divergence` has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostFigures {
    /// The text's name.
    pub text: String,
    /// Positions compared: each a distribution over the next token.
    pub positions: usize,
    /// Mean of KL(full precision || quantised), in nats.
    pub mean_kl: f64,
    /// Its 99th percentile.
    pub p99_kl: f64,
    /// Positions at which both prefer the same token.
    pub same_top_positions: usize,
    /// Of the text under the model as it is.
    pub full_perplexity: Perplexity,
    /// Of the text under the dequantised model.
    pub perplexity: Perplexity,
}

/// exp of the mean of -ln p(next token).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Perplexity {
    /// The estimate.
    pub value: f64,
    /// Its standard error, by the spread of -ln p over positions.
    pub standard_error: f64,
}

/// Whether a target did the reference's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is the reference.
    Reference,
    /// Within the rounding of f32, and the same token at every position.
    Identical,
    /// Within what the rounding of its precision explains.
    Equivalent,
    /// Something else was computed.
    Different,
    /// It could not be compared.
    Unchecked,
}

impl Verdict {
    /// The word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Identical => "identical",
            Self::Equivalent => "equivalent",
            Self::Different => "different",
            Self::Unchecked => "unchecked",
        }
    }
}

/// A target beside the reference in the work of one test, of which the generation behind its [`Equivalence`] shows
/// nothing: the starts of a conversation's turns, or the first steps of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TestCheck {
    /// Which target.
    pub target: TargetId,
    /// Which test.
    pub test: Test,
    /// Whether it did the same work.
    pub verdict: Verdict,
    /// Why it is so, where figures don't say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a conversation, where both gave finite logits: those after each prompt, through the cache that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<Fidelity>,
    /// Of a training, where both gave finite numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingFigures>,
}

/// How near two trainings are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainingFigures {
    /// Steps compared.
    pub steps: usize,
    /// Gradients compared a step: two for each adapter.
    pub gradients: usize,
    /// Largest |difference| of two losses, as a share of the reference's.
    pub largest_loss_difference: f64,
    /// Largest |difference| of two gradients' L2 norms, as a share of the reference's, or of a thousandth of its
    /// largest of that step where that is more.
    pub largest_norm_difference: f64,
}

/// How near two models are over the same text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fidelity {
    /// Positions compared.
    pub positions: usize,
    /// Largest |difference| of two logits.
    pub largest_logit_difference: f64,
    /// Mean of KL(reference || target) over the positions, in nats.
    pub mean_kl: f64,
    /// The largest of them.
    pub largest_kl: f64,
    /// Positions at which both would generate the same token.
    pub agreeing_positions: usize,
    /// The first position at which they wouldn't: there greedy generation parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_divergence: Option<FirstDivergence>,
}

/// Where greedy generation parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FirstDivergence {
    /// The row of the prompt, counted from 0.
    #[serde(default)]
    pub row: usize,
    /// Counted from 0, the first token after the prompt.
    pub position: usize,
    /// The reference's token.
    pub reference_token: TokenId,
    /// The target's.
    pub token: TokenId,
    /// By how much the reference's logit of its own token exceeds that of the target's.
    pub margin: f64,
}

/// How far the reference was from choosing as a target did where the tokens of a timed test part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parting {
    /// Which target.
    pub target: TargetId,
    /// Which test.
    pub test: Test,
    /// Where, with the reference's margin there.
    pub divergence: FirstDivergence,
    /// What KL(reference || target) is at least there, in nats: no distribution that prefers the
    /// target's token is nearer to the reference's.
    pub least_kl: f64,
}
