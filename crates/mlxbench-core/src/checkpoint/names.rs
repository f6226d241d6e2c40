//! Which of a checkpoint's names are the model's: under whatever wrapper a tool has put them, all of
//! the text model's tensors have one prefix.

use std::collections::BTreeSet;

use super::packed::is_beside_packed;
use super::plain::check_plain;
use crate::gemma::{ConfigFile, GemmaConfig, TensorSpec};

/// The prefix of the text model's tensors in a text-only checkpoint.
const CANONICAL: &str = "model.";
/// The output head in a text-only checkpoint.
pub(super) const HEAD: &str = "lm_head.weight";
/// The embedding table in a text-only checkpoint.
pub(super) const EMBEDDINGS: &str = "model.embed_tokens.weight";
/// A tensor that every Gemma has; its prefix is the model's. Gemma 4's vision tower has one too, and not the rest.
const ANCHOR: &str = "layers.0.input_layernorm.weight";
/// Parts of the text model, behind its prefix.
const PARTS: [&str; 5] = [
    "embed_tokens.",
    "embed_tokens_per_layer.",
    "layers.",
    "norm.",
    "per_layer_",
];
/// Of a layer that shares another's KV cache, what makes keys and values: checkpoints may have them, and no
/// program reads them.
const OF_KEYS_VALUES: [&str; 4] = ["k_proj.", "v_proj.", "k_norm.", "v_norm."];

/// The stored names of a model's tensors.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Each tensor but the head, with its stored name, or those of its parts. The embeddings are left out where only
    /// the head is stored.
    pub(super) body: Vec<(TensorSpec, Vec<String>)>,
    /// The head, where one is stored.
    pub(super) head: Option<(TensorSpec, String)>,
    /// Names of the text model that its configuration doesn't ask for.
    pub(super) unused: Vec<String>,
}

impl Names {
    /// All tensors with their stored names.
    pub(super) fn all(&self) -> impl Iterator<Item = (&TensorSpec, &[String])> {
        let body = self.body.iter();
        let head = self.head.iter();
        body.map(|(spec, names)| (spec, names.as_slice()))
            .chain(head.map(|(spec, name)| (spec, std::slice::from_ref(name))))
    }
}

/// Whether these stored names are all that the model of `file` needs.
pub(super) fn are_whole(file: &ConfigFile, stored: &BTreeSet<&str>) -> bool {
    find(&file.config, file.head.tied, file.packing.is_some(), stored).is_ok()
}

/// Finds the tensors of `config` among the stored names. Where `tied`, one table is enough; where `packed`,
/// matrices may have scales and biases beside them.
///
/// # Errors
/// When some are missing, in words that show names that are there, or as [`check_plain`].
pub(super) fn find(
    config: &GemmaConfig,
    tied: bool,
    packed: bool,
    stored: &BTreeSet<&str>,
) -> Result<Names, String> {
    check_plain(stored, packed)?;
    let mut specs = GemmaConfig {
        tie_word_embeddings: false,
        ..config.clone()
    }
    .tensors();
    let head_spec = specs.pop();
    let mut prefixes: Vec<&str> = stored
        .iter()
        .filter_map(|name| name.strip_suffix(ANCHOR))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        .collect();
    if prefixes.is_empty() {
        prefixes.push(CANONICAL);
    }
    let mut whole = Vec::new();
    let mut nearest: Option<Vec<String>> = None;
    for prefix in prefixes {
        let head = head(prefix, stored)?;
        let embeddings_needed = !(tied && head.is_some());
        let mut body = Vec::new();
        let mut missing = Vec::new();
        for spec in &specs {
            let name = format!("{prefix}{}", spec.name.trim_start_matches(CANONICAL));
            if let Some(names) = stored_as(name, stored) {
                body.push((spec.clone(), names));
            } else if embeddings_needed || spec.name != EMBEDDINGS {
                missing.push(spec.name.clone());
            }
        }
        if missing.is_empty() {
            whole.push((prefix, body, head));
        } else if nearest
            .as_ref()
            .is_none_or(|least| missing.len() < least.len())
        {
            nearest = Some(missing);
        }
    }
    if whole.len() > 1 {
        return Err(format!(
            "the files hold more than one model (`{}layers...` and `{}layers...`): keep one",
            whole[0].0.escape_debug(),
            whole[1].0.escape_debug()
        ));
    }
    let Some((prefix, body, head)) = whole.pop() else {
        return Err(missing_message(&nearest.unwrap_or_default(), stored));
    };
    let mut unused = unused(prefix, &body, stored);
    unused.retain(|name| !is_of_shared_keys(config, name.strip_prefix(prefix).unwrap_or(name)));
    unused.extend(head_bias(prefix, stored));
    Ok(Names {
        body,
        head: head_spec.zip(head.map(str::to_owned)),
        unused,
    })
}

/// The stored names of what is called `name`: its own, or of experts those that mlx-lm gives them (`sanitize` in
/// `gemma4_text.py`). `None` where neither is there.
fn stored_as(name: String, stored: &BTreeSet<&str>) -> Option<Vec<String>> {
    if stored.contains(name.as_str()) {
        return Some(vec![name]);
    }
    let (experts, projection) = name.rsplit_once('.')?;
    let parts: &[&str] = match projection {
        "gate_up_proj" => &["gate_proj", "up_proj"],
        "down_proj" => &["down_proj"],
        _ => return None,
    };
    let parts = parts
        .iter()
        .map(|part| format!("{experts}.switch_glu.{part}.weight"));
    let parts: Vec<String> = parts.collect();
    parts
        .iter()
        .all(|part| stored.contains(part.as_str()))
        .then_some(parts)
}

/// The stored output head of the model at `prefix`: the nearest above it, or the only one.
fn head<'a>(prefix: &str, stored: &BTreeSet<&'a str>) -> Result<Option<&'a str>, String> {
    let place = |name: &'a str| {
        let place = name.strip_suffix(HEAD)?;
        (place.is_empty() || place.ends_with('.')).then_some(place)
    };
    let heads: Vec<(&str, &str)> = stored
        .iter()
        .filter_map(|name| Some((place(name)?, *name)))
        .collect();
    let above = heads.iter().filter(|(place, _)| prefix.starts_with(place));
    match (above.max_by_key(|(place, _)| place.len()), heads.as_slice()) {
        (Some((_, name)), _) | (None, [(_, name)]) => Ok(Some(name)),
        (None, []) => Ok(None),
        (None, [(_, first), (_, second), ..]) => Err(format!(
            "the files hold more than one output head (`{}` and `{}`): keep the text model's",
            first.escape_debug(),
            second.escape_debug()
        )),
    }
}

/// Names of the text model that nothing asked for; but the RoPE tables of old files are computed.
fn unused(
    prefix: &str,
    body: &[(TensorSpec, Vec<String>)],
    stored: &BTreeSet<&str>,
) -> Vec<String> {
    let used = body.iter().flat_map(|(_, names)| names);
    let used: BTreeSet<&str> = used.map(String::as_str).collect();
    let of_text_model = |name: &str| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| PARTS.iter().any(|part| rest.starts_with(part)))
    };
    stored
        .iter()
        .filter(|name| of_text_model(name) && !used.contains(*name))
        .filter(|name| !name.ends_with("rotary_emb.inv_freq"))
        .filter(|name| !is_beside_packed(name, stored))
        .map(|name| name.escape_debug().to_string())
        .collect()
}

/// Whether the tensor called `name`, without the model's prefix, would make keys or values of a layer that shares
/// another's.
fn is_of_shared_keys(config: &GemmaConfig, name: &str) -> bool {
    let Some((index, part)) = name
        .strip_prefix("layers.")
        .and_then(|rest| rest.split_once(".self_attn."))
    else {
        return false;
    };
    let layer = index
        .parse()
        .ok()
        .and_then(|index: usize| config.layers.get(index));
    let shares = layer.is_some_and(|layer| !layer.attention.keys_values.are_own());
    shares && OF_KEYS_VALUES.iter().any(|of| part.starts_with(of))
}

/// The bias of an output head of the model at `prefix`, which no Gemma has.
fn head_bias(prefix: &str, stored: &BTreeSet<&str>) -> Option<String> {
    let bias = |name: &&&str| {
        let place = name.strip_suffix("lm_head.bias");
        place.is_some_and(|place| prefix.starts_with(place))
    };
    stored
        .iter()
        .find(bias)
        .map(|name| name.escape_debug().to_string())
}

fn missing_message(missing: &[String], stored: &BTreeSet<&str>) -> String {
    let first = missing.first().map_or("", String::as_str);
    let others = match missing.len().saturating_sub(1) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "tensor `{first}`{others} is missing: are all of the model's files here? The files hold {}",
        examples(stored)
    )
}

/// `80 tensors, such as ...`.
fn examples(stored: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 3;
    if stored.is_empty() {
        return "no tensors".to_owned();
    }
    // What isn't Gemma's says more than what is.
    let (known, odd): (Vec<&str>, Vec<&str>) = stored.iter().partition(|name| is_known(name));
    let shown: Vec<String> = odd
        .iter()
        .chain(&known)
        .take(SHOWN)
        .map(|name| format!("`{}`", name.escape_debug()))
        .collect();
    format!("{} tensors, such as {}", stored.len(), shown.join(", "))
}

/// Whether a Gemma has a tensor whose name ends so.
fn is_known(name: &str) -> bool {
    const PROJECTIONS: [&str; 7] = ["q", "k", "v", "o", "gate", "up", "down"];
    let Some(stem) = name.strip_suffix(".weight") else {
        return false;
    };
    let part = stem.rsplit('.').next().unwrap_or_default();
    match part.strip_suffix("_proj") {
        Some(projection) => PROJECTIONS.contains(&projection),
        None => part.ends_with("norm") || ["embed_tokens", "lm_head"].contains(&part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GemmaConfig {
        GemmaConfig::from_json(
            r#"{"model_type": "gemma3_text", "vocab_size": 8, "hidden_size": 4,
            "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 1,
            "num_key_value_heads": 1, "head_dim": 2}"#,
        )
        .unwrap()
    }

    /// The model's names under `prefix`, and `more`.
    fn names(prefix: &str, more: &[&str]) -> Vec<String> {
        let specs = config().tensors();
        let own = specs
            .iter()
            .map(|spec| spec.name.replacen(CANONICAL, prefix, 1));
        own.chain(more.iter().map(|name| (*name).to_owned()))
            .collect()
    }

    fn find_in(names: &[String], tied: bool) -> Result<Names, String> {
        find(
            &config(),
            tied,
            false,
            &names.iter().map(String::as_str).collect(),
        )
    }

    #[test]
    fn any_one_prefix_is_found() {
        let prefixes = [
            "model.",
            "",
            "language_model.model.",
            "model.language_model.",
            "base_model.model.model.",
            "module._orig_mod.model.",
        ];
        for prefix in prefixes {
            let found = find_in(
                &names(prefix, &["vision_tower.layers.0.norm1.weight"]),
                true,
            );
            let found = found.unwrap();
            assert_eq!(found.body.len(), config().tensors().len(), "{prefix}");
            assert!(found.head.is_none() && found.unused.is_empty(), "{prefix}");
        }
    }

    #[test]
    fn the_head_is_found_beside_or_above_the_model() {
        let places = [
            ("model.", "lm_head.weight"),
            ("language_model.model.", "language_model.lm_head.weight"),
            ("model.language_model.", "lm_head.weight"),
            ("base_model.model.model.", "base_model.model.lm_head.weight"),
            ("", "lm_head.weight"),
        ];
        for (prefix, head) in places {
            let found = find_in(&names(prefix, &[head]), true).unwrap();
            assert_eq!(found.head.unwrap().1, head);
        }
        let near = names("a.model.", &["lm_head.weight", "a.lm_head.weight"]);
        assert_eq!(
            find_in(&near, true).unwrap().head.unwrap().1,
            "a.lm_head.weight"
        );
        let apart = names("model.", &["b.lm_head.weight", "c.lm_head.weight"]);
        assert!(
            find_in(&apart, true)
                .unwrap_err()
                .contains("more than one output head")
        );
    }

    #[test]
    fn one_table_is_enough_where_they_are_tied() {
        let mut names = names("model.", &["lm_head.weight"]);
        names.retain(|name| name != EMBEDDINGS);
        assert!(find_in(&names, true).is_ok());
        let message = find_in(&names, false).unwrap_err();
        assert!(
            message.contains("tensor `model.embed_tokens.weight` is missing"),
            "{message}"
        );
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_there() {
        let mut names = names("x.", &[]);
        names.retain(|name| name != "x.norm.weight");
        let message = find_in(&names, true).unwrap_err();
        assert!(
            message.contains("tensor `model.norm.weight` is missing"),
            "{message}"
        );
        assert!(
            message.contains("such as `x.embed_tokens.weight`"),
            "{message}"
        );
    }

    #[test]
    fn experts_are_found_as_mlx_lm_keeps_them() {
        let path = "x.layers.0.experts";
        let parts = ["gate_proj", "up_proj", "down_proj"];
        let parts = parts.map(|part| format!("{path}.switch_glu.{part}.weight"));
        let [gate, up, down] = &parts;
        let stored: BTreeSet<&str> = parts.iter().map(String::as_str).collect();
        let found = |part: &str| stored_as(format!("{path}.{part}"), &stored);
        assert_eq!(found("gate_up_proj"), Some(vec![gate.clone(), up.clone()]));
        assert_eq!(found("down_proj"), Some(vec![down.clone()]));
        assert_eq!(found("other"), None);
        let without_up = [gate.as_str(), down.as_str()].into();
        assert_eq!(stored_as(format!("{path}.gate_up_proj"), &without_up), None);
    }

    #[test]
    fn two_models_in_one_are_not_guessed_between() {
        let both = [names("a.", &[]), names("b.", &[])].concat();
        assert!(
            find_in(&both, true)
                .unwrap_err()
                .contains("`a.layers...` and `b.layers...`")
        );
    }

    #[test]
    fn an_adapter_that_is_not_merged_is_told() {
        let layer = "model.layers.0.self_attn.q_proj.";
        for odd in [
            "lora_A.weight",
            "lora_B.default.weight",
            "lora_a",
            "lora_magnitude_vector",
            "base_layer.weight",
            "modules_to_save.default.weight",
        ] {
            let name = format!("{layer}{odd}");
            let message = find_in(&names("model.", &[&name]), true).unwrap_err();
            assert!(
                message.contains("LoRA") && message.contains(&name),
                "{message}"
            );
            assert!(message.contains("merge it first"), "{message}");
        }
    }

    #[test]
    fn keys_and_values_of_layers_that_share_others_are_passed_over() {
        let config = GemmaConfig::from_json(
            r#"{"model_type": "gemma4_text", "vocab_size": 8, "hidden_size": 4,
            "intermediate_size": 6, "num_hidden_layers": 3, "num_attention_heads": 1,
            "num_key_value_heads": 1, "head_dim": 2, "global_head_dim": 2,
            "layer_types": ["sliding_attention", "full_attention", "full_attention"],
            "num_kv_shared_layers": 1, "hidden_size_per_layer_input": 0}"#,
        )
        .unwrap();
        let unused = |more: &str| {
            let specs = config.tensors();
            let own = specs.iter().map(|spec| spec.name.as_str());
            let stored: BTreeSet<&str> = own.chain([more]).collect();
            find(&config, true, false, &stored).unwrap().unused
        };
        assert!(unused("model.layers.2.self_attn.k_proj.weight").is_empty());
        assert!(unused("model.layers.2.self_attn.k_norm.weight").is_empty());
        let other = "model.layers.1.self_attn.v_norm.weight";
        assert_eq!(unused(other), [other]);
        let odd = "model.per_layer_other.weight";
        assert_eq!(unused(odd), [odd]);
    }

    #[test]
    fn a_bias_of_the_head_is_listed() {
        let places = [
            ("model.", "lm_head.bias"),
            ("language_model.model.", "language_model.lm_head.bias"),
        ];
        for (prefix, bias) in places {
            assert_eq!(
                find_in(&names(prefix, &[bias]), true).unwrap().unused,
                [bias]
            );
        }
    }

    #[test]
    fn names_that_are_not_gemma_s_are_shown_first() {
        let mut names = names("x.", &["x.layers.0.self_attn.qkv_proj.weight", "y.odd"]);
        names.retain(|name| name != "x.norm.weight");
        let message = find_in(&names, true).unwrap_err();
        let shown = "such as `x.layers.0.self_attn.qkv_proj.weight`, `y.odd`, `x.embed_tokens";
        assert!(message.contains(shown), "{message}");
    }

    #[test]
    fn packed_weights_are_named() {
        let packed = names("model.", &["model.layers.0.mlp.up_proj.scales"]);
        assert!(
            find_in(&packed, true)
                .unwrap_err()
                .contains("quantised: MLX")
        );
    }

    #[test]
    fn tensors_that_nothing_asks_for_are_listed() {
        let bias = "model.layers.0.self_attn.q_proj.bias";
        let more = ["model.layers.0.self_attn.rotary_emb.inv_freq", bias];
        assert_eq!(
            find_in(&names("model.", &more), true).unwrap().unused,
            [bias]
        );
    }
}
