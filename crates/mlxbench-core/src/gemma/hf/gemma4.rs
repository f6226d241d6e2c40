//! What Gemma 4 alone has: heads of two kinds, shared keys and values, embeddings for each layer, experts.

use serde_json::Value;

use super::defaults::{GLOBAL_HEAD_DIM, PER_LAYER_VOCAB, PER_LAYER_WIDTH};
use super::keys::{Keys, Sourced, disagreement, shown};
use super::unused;
use crate::gemma::{ExpertsSpec, Gemma4, Generation, LayerKind, bounds};

/// What differs by layer, by the number of the layer or the name of its kind.
const PER_LAYER_CONFIG: &str = "per_layer_config";

/// What the keys before it said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) kinds: &'a [LayerKind],
    pub(super) heads: Heads,
    /// The share of frequencies on global layers that aren't 0.
    pub(super) rotated: f64,
    /// Whether it is the unified class, which has no embeddings for each layer and no experts.
    pub(super) unified: bool,
}

/// The heads of keys and values of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heads {
    pub(super) head_dim: usize,
    pub(super) kv_heads: usize,
}

/// What was read.
pub(super) struct Read {
    pub(super) gemma4: Gemma4,
    /// Those of local layers, which `per_layer_config` may say.
    pub(super) local: Heads,
    /// What each fact was read from.
    pub(super) sources: Vec<(&'static str, Value, String)>,
    /// Keys that nothing was derived from.
    pub(super) unused: Vec<String>,
}

const GENERATION: Generation = Generation::Gemma4;

/// Reads it from the keys of a text model.
pub(super) fn read(keys: &mut Keys<'_>, known: &Known<'_>) -> Result<Read, String> {
    let mut reader = Reader {
        sources: Vec::new(),
        unused: Vec::new(),
    };
    let one_projection = reader.flag(keys, "attention_k_eq_v")?;
    let [local, global] = reader.heads(keys, known, one_projection)?;
    let shared = reader.count_or_none(keys, "num_kv_shared_layers", 0)?;
    let use_double_wide_mlp = reader.flag(keys, "use_double_wide_mlp")?;
    let default_width = if known.unified { 0 } else { PER_LAYER_WIDTH };
    let width = reader.count_or_none(keys, "hidden_size_per_layer_input", default_width)?;
    let rows = reader.count_or_none(keys, "vocab_size_per_layer_input", PER_LAYER_VOCAB)?;
    let experts = reader.experts(keys)?;
    Ok(Read {
        gemma4: Gemma4 {
            global_head_dim: global.head_dim,
            num_global_key_value_heads: global.kv_heads,
            attention_k_eq_v: one_projection && known.kinds.contains(&LayerKind::Global),
            partial_rotary_factor: known.rotated,
            num_kv_shared_layers: shared,
            use_double_wide_mlp: use_double_wide_mlp && shared > 0,
            hidden_size_per_layer_input: width,
            vocab_size_per_layer_input: if width > 0 { rows } else { 0 },
            experts,
        },
        local,
        sources: reader.sources,
        unused: reader.unused,
    })
}

struct Reader {
    sources: Vec<(&'static str, Value, String)>,
    unused: Vec<String>,
}

impl Reader {
    fn fact(&mut self, name: &'static str, value: impl Into<Value>, from: String) {
        self.sources.push((name, value.into(), from));
    }

    fn flag(&mut self, keys: &mut Keys<'_>, key: &'static str) -> Result<bool, String> {
        let found = keys.flag(&[key])?;
        let found = found.unwrap_or_else(|| Sourced::default_of(GENERATION, false));
        self.fact(key, found.value, found.from);
        Ok(found.value)
    }

    /// A count that may be 0.
    fn count_or_none(
        &mut self,
        keys: &mut Keys<'_>,
        key: &'static str,
        default: usize,
    ) -> Result<usize, String> {
        let found = match keys.count(&[key])? {
            Some(Sourced { value: 0, from }) => Sourced { value: 0, from },
            Some(found) => counted(key, found)?,
            None => Sourced::default_of(GENERATION, default),
        };
        self.fact(key, found.value, found.from);
        Ok(found.value)
    }

    /// Those of local and of global layers.
    fn heads(
        &mut self,
        keys: &mut Keys<'_>,
        known: &Known<'_>,
        one_projection: bool,
    ) -> Result<[Heads; 2], String> {
        const KEYS: [&str; 2] = ["global_head_dim", "num_global_key_value_heads"];
        let stated = KEYS.map(|key| optional(keys, key));
        let [head_dim, kv_heads] = stated;
        let (head_dim, mut kv_heads) = (head_dim?, kv_heads?);
        // Without one projection for both, the reference passes over it.
        if !one_projection {
            self.unused.extend(kv_heads.take().map(|found| found.from));
        }
        if let Some(per_layer) = keys.object(PER_LAYER_CONFIG)? {
            let place = keys.place_of(PER_LAYER_CONFIG);
            let [local, global] = by_layer(&per_layer, known)?;
            let said = [(&head_dim, global.head_dim), (&kv_heads, global.kv_heads)];
            for (stated, value) in said {
                if let Some(stated) = stated.as_ref().filter(|stated| stated.value != value) {
                    let (a, b) = (stated.value.to_string(), value.to_string());
                    return Err(disagreement(&stated.from, &a, &place, &b));
                }
            }
            self.fact(KEYS[0], global.head_dim, place.clone());
            self.fact(KEYS[1], global.kv_heads, place);
            return Ok([local, global]);
        }
        let head_dim = head_dim.unwrap_or_else(|| Sourced::default_of(GENERATION, GLOBAL_HEAD_DIM));
        let kv_heads = kv_heads.unwrap_or_else(|| Sourced {
            value: known.heads.kv_heads,
            from: "num_key_value_heads".to_owned(),
        });
        let global = Heads {
            head_dim: head_dim.value,
            kv_heads: kv_heads.value,
        };
        self.fact(KEYS[0], head_dim.value, head_dim.from);
        self.fact(KEYS[1], kv_heads.value, kv_heads.from);
        Ok([known.heads, global])
    }

    fn experts(&mut self, keys: &mut Keys<'_>) -> Result<Option<ExpertsSpec>, String> {
        const COUNTS: [&str; 3] = ["num_experts", "top_k_experts", "moe_intermediate_size"];
        let has_experts = self.flag(keys, "enable_moe_block")?;
        let [count, top_k, width] = COUNTS.map(|key| {
            let found = optional(keys, key)?;
            let place = keys.place_of(key);
            match (has_experts, found) {
                (true, Some(found)) => {
                    self.fact(key, found.value, found.from);
                    Ok(found.value)
                }
                (true, None) => Err(format!("`enable_moe_block` needs `{place}`")),
                (false, found) => {
                    self.unused.extend(found.map(|found| found.from));
                    Ok(0)
                }
            }
        });
        let experts = ExpertsSpec {
            count: count?,
            top_k: top_k?,
            width: width?,
        };
        Ok(has_experts.then_some(experts))
    }
}

fn optional(keys: &mut Keys<'_>, key: &'static str) -> Result<Option<Sourced<usize>>, String> {
    let found = keys.count(&[key])?;
    found.map(|found| counted(key, found)).transpose()
}

fn counted(key: &str, found: Sourced<u64>) -> Result<Sourced<usize>, String> {
    let value = bounds::count(key, found.value).map_err(|error| error.to_string())?;
    Ok(Sourced {
        value,
        from: found.from,
    })
}

/// The heads of local and of global layers, as `per_layer_config` has them.
fn by_layer(per_layer: &Keys<'_>, known: &Known<'_>) -> Result<[Heads; 2], String> {
    let mut layers = vec![known.heads; known.kinds.len()];
    for (key, value) in per_layer.rest() {
        let place = per_layer.place_of(key);
        let Value::Object(object) = value else {
            return Err(format!("`{place}` must be an object, not {}", shown(value)));
        };
        let mut keys = Keys::new(format!("{place}."), object);
        let head_dim = optional(&mut keys, "head_dim")?;
        let kv_heads = optional(&mut keys, "num_key_value_heads")?;
        unused::check_per_layer(&keys)?;
        let named =
            |index: usize, kind: LayerKind| key == kind.hf_name() || key.parse() == Ok(index);
        let mut found = false;
        for (index, (&kind, layer)) in known.kinds.iter().zip(&mut layers).enumerate() {
            if named(index, kind) {
                found = true;
                layer.head_dim = head_dim.as_ref().map_or(layer.head_dim, |dim| dim.value);
                layer.kv_heads = kv_heads.as_ref().map_or(layer.kv_heads, |kv| kv.value);
            }
        }
        if !found && LayerKind::ALL.iter().all(|kind| kind.hf_name() != key) {
            return Err(format!(
                "`{place}`: there is no such layer, only 0 to {}",
                known.kinds.len().saturating_sub(1)
            ));
        }
    }
    let [local, global] = LayerKind::ALL.map(|kind| {
        let mut alike = known
            .kinds
            .iter()
            .zip(&layers)
            .filter(|(of, _)| **of == kind);
        let first = alike.next().map(|(_, heads)| *heads);
        match alike.find(|(_, heads)| Some(**heads) != first) {
            Some(_) => Err(format!(
                "`{}` gives layers of one kind ({}) different heads: that is not supported",
                per_layer.place_of("").trim_end_matches('.'),
                kind.hf_name()
            )),
            None => Ok(first.unwrap_or(known.heads)),
        }
    });
    Ok([local?, global?])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::GemmaConfig;
    use crate::gemma::KeysValues;

    /// A model of six layers whose keys are these, and some others.
    fn config(more: Value) -> Result<GemmaConfig, String> {
        let mut file = json!({"model_type": "gemma4_text", "vocab_size": 32, "hidden_size": 16,
            "intermediate_size": 24, "num_hidden_layers": 6, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 8, "hidden_size_per_layer_input": 0});
        for (key, value) in more.as_object().unwrap() {
            file[key] = value.clone();
        }
        GemmaConfig::from_json(&file.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn old_and_new_keys_mean_the_same() {
        let old = json!({"global_head_dim": 16, "attention_k_eq_v": true, "num_global_key_value_heads": 1});
        let heads = json!({"head_dim": 16, "num_key_value_heads": 1});
        let by_index = json!({"attention_k_eq_v": true, "per_layer_config": {"5": heads}});
        let by_kind =
            json!({"attention_k_eq_v": true, "per_layer_config": {"full_attention": heads}});
        let old = config(old).unwrap();
        assert_eq!(config(by_index).unwrap(), old);
        assert_eq!(config(by_kind).unwrap(), old);
        let [first, .., last] = &old.layers[..] else {
            panic!("six layers")
        };
        assert_eq!((first.attention.head_dim, first.attention.kv_heads), (8, 2));
        assert_eq!((last.attention.head_dim, last.attention.kv_heads), (16, 1));
        assert_eq!(first.attention.keys_values, KeysValues::Own);
        assert_eq!(last.attention.keys_values, KeysValues::OneProjection);
        assert_eq!(
            (last.attention.rope.rotated, last.attention.scale()),
            (0.25, 1.0)
        );
    }

    #[test]
    fn the_count_of_global_heads_needs_one_projection_to_matter() {
        let alone = config(json!({"num_global_key_value_heads": 1})).unwrap();
        assert_eq!(alone.layers[5].attention.kv_heads, 2);
    }

    #[test]
    fn the_last_layers_share_what_the_last_of_their_kind_before_them_has() {
        let kinds = [
            "sliding_attention",
            "full_attention",
            "sliding_attention",
            "sliding_attention",
            "sliding_attention",
            "full_attention",
        ];
        let shared = config(json!({"layer_types": kinds, "num_kv_shared_layers": 2,
            "use_double_wide_mlp": true}))
        .unwrap();
        let of = |index: usize| shared.layers[index].attention.keys_values;
        assert_eq!(
            (of(3), of(4), of(5)),
            (KeysValues::Own, KeysValues::Of(3), KeysValues::Of(1))
        );
        let widths = [3, 4, 5].map(|index: usize| shared.layers[index].mlp_width);
        assert_eq!(widths, [24, 48, 48]);
        // No global layer is left to share with.
        let message = config(json!({"num_kv_shared_layers": 2})).unwrap_err();
        assert!(message.contains("`num_kv_shared_layers` is 2"), "{message}");
    }

    #[test]
    fn what_cannot_be_is_told_by_its_key() {
        let cases = [
            (
                json!({"per_layer_config": {"5": {"head_dim": 16}}, "global_head_dim": 32}),
                "says 32",
            ),
            (
                json!({"per_layer_config": {"1": {"head_dim": 16}}}),
                "different heads",
            ),
            (
                json!({"per_layer_config": {"9": {"head_dim": 16}}}),
                "no such layer",
            ),
            (
                json!({"per_layer_config": {"5": {"sliding_window": 3}}}),
                "`per_layer_config.5.sliding_window`",
            ),
            (
                json!({"enable_moe_block": true, "num_experts": 4}),
                "needs `top_k_experts`",
            ),
            (
                json!({"enable_moe_block": true, "num_experts": 4, "top_k_experts": 5,
                "moe_intermediate_size": 8}),
                "top_k_experts (5) is more",
            ),
            (
                json!({"use_bidirectional_attention": "all"}),
                "`use_bidirectional_attention`",
            ),
            (
                json!({"query_pre_attn_scalar": 256}),
                "doesn't scale attention",
            ),
            (json!({"model_type": "gemma3n_text"}), "Gemma 3n"),
            (
                json!({"attention_k_eq_v": true, "num_global_key_value_heads": 3}),
                "num_global_key_value_heads (3)",
            ),
        ];
        for (more, expected) in cases {
            let message = config(more).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        // Text sees what is before it all the same.
        assert!(config(json!({"use_bidirectional_attention": "vision"})).is_ok());
    }
}
