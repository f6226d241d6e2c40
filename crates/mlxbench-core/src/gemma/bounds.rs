//! Numbers that can't be a Gemma's: refused before anything is allocated by them.

use crate::gemma::{FlatConfig, Gemma4, GemmaConfig, LayerKind};
use crate::{Dtype, Error, Result};

/// The largest count that is believed, by the key of `config.json`: well above every Gemma's, and so
/// low that no product of them that sizes a tensor leaves 64 bits.
const LARGEST: [(&str, u64); 16] = [
    ("vocab_size", 1 << 24),
    ("hidden_size", 1 << 20),
    ("intermediate_size", 1 << 22),
    ("num_hidden_layers", 1 << 12),
    ("num_attention_heads", 1 << 12),
    ("num_key_value_heads", 1 << 12),
    ("head_dim", 1 << 14),
    ("max_position_embeddings", 1 << 30),
    ("sliding_window", 1 << 30),
    ("global_head_dim", 1 << 14),
    ("num_global_key_value_heads", 1 << 12),
    ("hidden_size_per_layer_input", 1 << 14),
    ("vocab_size_per_layer_input", 1 << 24),
    ("num_experts", 1 << 16),
    ("top_k_experts", 1 << 16),
    ("moe_intermediate_size", 1 << 22),
];

/// The largest model that is believed, in parameters.
const MOST_PARAMETERS: u64 = 1 << 40;

/// The largest KV cache of one row over the whole context that is believed, in elements.
const LARGEST_CACHE: u128 = 1 << 54;

/// `value` as the count called `key`, a key of `config.json`.
///
/// # Errors
/// When it is 0, or more than any Gemma has.
pub fn count(key: &str, value: u64) -> Result<usize> {
    let known = LARGEST.iter().find(|(name, _)| *name == key);
    let largest = known.map_or(u64::from(u32::MAX), |(_, largest)| *largest);
    match usize::try_from(value) {
        Ok(0) => Err(Error::Invalid(format!("`{key}` must not be 0"))),
        Ok(count) if value <= largest => Ok(count),
        _ => Err(Error::Invalid(format!(
            "`{key}` is {value}: no Gemma has more than {largest}"
        ))),
    }
}

impl FlatConfig {
    /// Whether the numbers can be a Gemma's: what reads a configuration calls this before it is
    /// used.
    ///
    /// # Errors
    /// When one is 0, negative, absurdly large or fits no other. The message names the key of
    /// `config.json`.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.layers.len()),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (key, value) in counts {
            count(key, value as u64)?;
        }
        let numbers = [
            ("rope_theta", self.rope_theta),
            ("rope_local_base_freq", self.rope_local_theta),
            ("query_pre_attn_scalar", self.query_pre_attn_scalar),
            ("rope_scaling.factor", self.rope_linear_factor),
            (
                "attn_logit_softcapping",
                self.attn_logit_softcapping.unwrap_or(1.0),
            ),
            (
                "final_logit_softcapping",
                self.final_logit_softcapping.unwrap_or(1.0),
            ),
        ];
        // They are used in f32.
        for (key, value) in numbers {
            if !(value > 0.0 && (value as f32).is_normal()) {
                return Err(Error::Invalid(format!(
                    "`{key}` must be greater than 0 and no more than f32 holds, not {value}"
                )));
            }
        }
        if !(self.rms_norm_eps >= 0.0 && self.rms_norm_eps < 1.0) {
            return Err(Error::Invalid(format!(
                "`rms_norm_eps` must be at least 0 and below 1, not {}",
                self.rms_norm_eps
            )));
        }
        if let Some(more) = &self.gemma4 {
            self.check_more(more)?;
        }
        self.check_shapes()
    }

    /// What Gemma 4 alone has.
    fn check_more(&self, more: &Gemma4) -> Result<()> {
        let mut counts = vec![
            ("global_head_dim", more.global_head_dim),
            (
                "num_global_key_value_heads",
                more.num_global_key_value_heads,
            ),
        ];
        if more.hidden_size_per_layer_input > 0 {
            counts.extend([
                (
                    "hidden_size_per_layer_input",
                    more.hidden_size_per_layer_input,
                ),
                (
                    "vocab_size_per_layer_input",
                    more.vocab_size_per_layer_input,
                ),
            ]);
        }
        if let Some(experts) = &more.experts {
            counts.extend([
                ("num_experts", experts.count),
                ("top_k_experts", experts.top_k),
                ("moe_intermediate_size", experts.width),
            ]);
        }
        for (key, value) in counts {
            count(key, value as u64)?;
        }
        if let Some(experts) = more.experts.filter(|experts| experts.top_k > experts.count) {
            return Err(Error::Invalid(format!(
                "top_k_experts ({}) is more than num_experts ({})",
                experts.top_k, experts.count
            )));
        }
        let (rows, tokens) = (more.vocab_size_per_layer_input, self.vocab_size);
        if more.hidden_size_per_layer_input > 0 && rows < tokens {
            return Err(Error::Invalid(format!(
                "vocab_size_per_layer_input ({rows}) is less than vocab_size ({tokens}): some tokens would \
                 have no embedding for each layer"
            )));
        }
        let rotated = more.partial_rotary_factor;
        if !(rotated > 0.0 && rotated <= 1.0) {
            return Err(Error::Invalid(format!(
                "`partial_rotary_factor` must be greater than 0 and at most 1, not {rotated}"
            )));
        }
        let first_shared = self.layers.len().checked_sub(more.num_kv_shared_layers);
        let owners = first_shared.map(|first| self.layers.split_at(first));
        let found =
            owners.is_some_and(|(owners, shared)| shared.iter().all(|kind| owners.contains(kind)));
        if !found {
            return Err(Error::Invalid(format!(
                "`num_kv_shared_layers` is {}, and not every one of these layers has one of its kind before \
                 them whose keys and values it could use",
                more.num_kv_shared_layers
            )));
        }
        Ok(())
    }

    /// What the counts make together.
    fn check_shapes(&self) -> Result<()> {
        let heads = self.num_attention_heads;
        let mut of_kinds = vec![(
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
        )];
        of_kinds.extend(self.gemma4.as_ref().map(|more| {
            let kv_heads = more.num_global_key_value_heads;
            (
                ("num_global_key_value_heads", kv_heads),
                ("global_head_dim", more.global_head_dim),
            )
        }));
        for ((kv_key, kv_heads), (dim_key, head_dim)) in &of_kinds {
            if !heads.is_multiple_of(*kv_heads) {
                return Err(Error::Invalid(format!(
                    "num_attention_heads ({heads}) is not a multiple of {kv_key} ({kv_heads})"
                )));
            }
            if !head_dim.is_multiple_of(2) {
                return Err(Error::Invalid(format!(
                    "{dim_key} ({head_dim}) is odd: RoPE needs pairs"
                )));
            }
        }
        if self.layers.contains(&LayerKind::Local) {
            let Some(window) = self.sliding_window.filter(|&window| window > 0) else {
                return Err(Error::Invalid(
                    "sliding-window layers need a `sliding_window` of at least 1".into(),
                ));
            };
            count("sliding_window", window as u64)?;
        }
        let parameters = GemmaConfig::from(self.clone()).parameters();
        if parameters > MOST_PARAMETERS {
            return Err(Error::Invalid(format!(
                "vocab_size, hidden_size, intermediate_size and num_hidden_layers make \
                 {parameters} parameters: no Gemma has so many"
            )));
        }
        let widths = of_kinds.iter().map(|((_, kv), (_, dim))| 2 * kv * dim);
        let cache = [
            self.layers.len(),
            self.max_position_embeddings,
            widths.max().unwrap_or(0),
        ];
        let elements: u128 = cache.iter().map(|&n| n as u128).product();
        if elements > LARGEST_CACHE {
            return Err(Error::Invalid(format!(
                "`max_position_embeddings` ({}) asks for a KV cache of {} bytes a row: no machine \
                 holds that",
                self.max_position_embeddings,
                elements * u128::from(Dtype::F32.size_bytes())
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemma::{PRESETS, preset};

    #[test]
    fn every_published_model_is_within_bounds() {
        for preset in PRESETS {
            preset.config().flat().unwrap().check().unwrap();
        }
    }

    #[test]
    fn absurd_counts_are_refused_by_their_key() {
        for (key, value) in [
            ("num_hidden_layers", 4_000_000_000),
            ("vocab_size", 1 << 60),
        ] {
            let message = count(key, value).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("`{key}` is {value}")),
                "{message}"
            );
        }
        assert_eq!(count("head_dim", 256).unwrap(), 256);
    }

    #[test]
    fn counts_that_are_absurd_together_are_refused() {
        let base = preset("gemma-3-1b").unwrap().config().flat().unwrap();
        let wide = FlatConfig {
            hidden_size: 1 << 20,
            intermediate_size: 1 << 22,
            ..base.clone()
        };
        assert!(wide.check().unwrap_err().to_string().contains("parameters"));
        let long = FlatConfig {
            max_position_embeddings: 1 << 30,
            num_attention_heads: 1 << 12,
            num_key_value_heads: 1 << 12,
            hidden_size: 8,
            ..base
        };
        let message = long.check().unwrap_err().to_string();
        assert!(message.contains("`max_position_embeddings`"), "{message}");
    }
}
