//! What a layer computes with: norms, scale, soft-caps, biases, activation.

use serde_json::json;

use super::Reading;
use crate::gemma::hf::defaults;
use crate::gemma::hf::keys::Sourced;
use crate::gemma::{Fact, Generation};

impl Reading<'_> {
    /// The norms' epsilon, and which norms there are.
    pub(super) fn norms(&mut self) -> Result<f64, String> {
        let found = self.text.number(&["rms_norm_eps"])?;
        let found =
            found.unwrap_or_else(|| Sourced::default_of(self.generation, defaults::RMS_NORM_EPS));
        self.fact("rms_norm_eps", &found);
        let norms = match self.generation {
            Generation::Gemma1 => "before attention and MLP",
            Generation::Gemma2 => "before and after attention and MLP",
            Generation::Gemma3 => "before and after attention and MLP, of queries and keys",
            Generation::VaultGemma => "before attention and MLP",
            Generation::Gemma4 => {
                "before and after attention and MLP, of queries, keys and values; without an offset"
            }
        };
        let norms = Fact::new("norms", norms, self.generation.model_type());
        self.facts.push(norms);
        Ok(found.value)
    }

    /// The number whose inverse root scales attention scores. Gemma 1's is the head's width.
    pub(super) fn attention_scale(&mut self, head_dim: usize) -> Result<f64, String> {
        let found = self.text.number(&["query_pre_attn_scalar"])?;
        let found = match (self.generation, found) {
            (Generation::Gemma1, Some(found)) if found.value != head_dim as f64 => {
                return Err(format!(
                    "`{}` is {}, and Gemma 1 scales attention by head_dim ({head_dim}) only",
                    found.from, found.value
                ));
            }
            (Generation::Gemma1, _) => Sourced {
                value: head_dim as f64,
                from: "head_dim".to_owned(),
            },
            (Generation::Gemma4, Some(found)) if found.value != 1.0 => {
                return Err(format!(
                    "`{}` is {}, and Gemma 4 doesn't scale attention",
                    found.from, found.value
                ));
            }
            (Generation::Gemma4, _) => Sourced {
                value: 1.0,
                from: Generation::Gemma4.model_type().to_owned(),
            },
            (_, found) => found.unwrap_or_else(|| {
                Sourced::default_of(self.generation, defaults::QUERY_PRE_ATTN_SCALAR)
            }),
        };
        let scale = found.clone().map(|scalar| scalar.powf(-0.5));
        self.fact("attention_scale", &scale);
        Ok(found.value)
    }

    pub(super) fn attention_softcap(
        &mut self,
        default: Option<f64>,
    ) -> Result<Option<f64>, String> {
        const NAME: &str = "attn_logit_softcapping";
        if matches!(self.generation, Generation::Gemma3 | Generation::Gemma4)
            && let Some(cap) = self.text.number(&[NAME])?
        {
            self.warnings.push(format!(
                "`{}` ({}) isn't applied: the reference of {} doesn't either",
                cap.from,
                cap.value,
                self.generation.name()
            ));
            self.unused.push(cap.from);
        }
        let [key, _] = defaults::softcap_keys(self.generation);
        self.softcap(NAME, key, default)
    }

    pub(super) fn final_softcap(&mut self, default: Option<f64>) -> Result<Option<f64>, String> {
        let [_, key] = defaults::softcap_keys(self.generation);
        self.softcap("final_logit_softcapping", key, default)
    }

    /// The fact `name` from `key`. A soft-cap that is absent takes the default, one that is `null` is
    /// off.
    fn softcap(
        &mut self,
        name: &'static str,
        key: &str,
        default: Option<f64>,
    ) -> Result<Option<f64>, String> {
        let is_off = self.text.is_null(&[key]);
        let stated = self.text.number(&[key])?.map(|cap| cap.map(Some));
        let off = is_off.then(|| Sourced {
            value: None,
            from: self.text.place_of(key),
        });
        let found = stated
            .or(off)
            .unwrap_or_else(|| Sourced::default_of(self.generation, default));
        self.fact(name, &found.clone().map(|cap| json!(cap)));
        Ok(found.value)
    }

    pub(super) fn biases(&mut self) -> Result<bool, String> {
        let found = self.text.flag(&["attention_bias"])?;
        let found = found.unwrap_or_else(|| Sourced::default_of(self.generation, false));
        self.fact("attention_bias", &found);
        Ok(found.value)
    }

    /// Gemma's GELU is the tanh one. Old Gemma 1 files say "gelu" and mean it all the same, and so
    /// does `hidden_act` of the others, whose classes read `hidden_activation`.
    pub(super) fn activation(&mut self) -> Result<(), String> {
        let act = self.text.text(&["hidden_act"])?;
        let activation = self.text.text(&["hidden_activation"])?;
        let mut places = Vec::new();
        for (found, plain_is_tanh) in [
            (act, true),
            (activation, self.generation == Generation::Gemma1),
        ] {
            let Some(found) = found else { continue };
            let tanh = ["gelu_pytorch_tanh", "gelu_new", "gelu_fast"].contains(&found.value);
            if !(tanh || plain_is_tanh && found.value == "gelu") {
                return Err(format!(
                    "activation \"{}\" (`{}`) is not supported: Gemma's is gelu_pytorch_tanh",
                    found.value.escape_debug(),
                    found.from
                ));
            }
            places.push(found.from);
        }
        let found = match places.is_empty() {
            true => Sourced::default_of(self.generation, "gelu_pytorch_tanh"),
            false => Sourced {
                value: "gelu_pytorch_tanh",
                from: places.join(", "),
            },
        };
        self.fact("activation", &found);
        Ok(())
    }
}
