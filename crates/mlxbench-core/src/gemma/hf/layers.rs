//! What each layer sees: `layer_types`, or a pattern, and the window.

use serde_json::Value;

use super::defaults::Defaults;
use super::keys::{Keys, Sourced, disagreement, shown};
use crate::gemma::{Generation, LayerKind, bounds};

/// What transformers 5 writes and doesn't read.
pub(super) const PRIVATE_PATTERN: &str = "_sliding_window_pattern";
/// What Google's first files of Gemma 2 have beside `sliding_window`.
pub(super) const OLDER_WINDOW: &str = "sliding_window_size";

/// The kind of each layer, and where it was read.
pub(super) fn kinds(
    keys: &mut Keys<'_>,
    generation: Generation,
    count: usize,
) -> Result<Sourced<Vec<LayerKind>>, String> {
    let listed = listed(keys, count)?;
    let pattern = pattern(keys, generation, listed.is_some())?;
    let Some(listed) = listed else {
        let pattern = pattern
            .unwrap_or_else(|| Sourced::default_of(generation, Defaults::of(generation).pattern));
        let mut kinds = pattern.map(|pattern| repeated(pattern, count));
        if generation == Generation::Gemma4
            && let Some(last) = kinds.value.last_mut()
        {
            *last = LayerKind::Global;
        }
        return Ok(kinds);
    };
    if let Some(pattern) = pattern
        && repeated(pattern.value, count) != listed.value
    {
        let list = Value::from_iter(listed.value.iter().map(|kind| kind.hf_name()));
        return Err(disagreement(
            &listed.from,
            &shown(&list),
            &pattern.from,
            &pattern.value.to_string(),
        ));
    }
    if generation == Generation::Gemma1 && listed.value.contains(&LayerKind::Local) {
        return Err(format!(
            "`{}` has sliding-window layers, and Gemma 1 has none",
            listed.from
        ));
    }
    if generation == Generation::Gemma4 && listed.value.last() == Some(&LayerKind::Local) {
        return Err(format!(
            "`{}` ends with a sliding-window layer, and the last layer of a Gemma 4 is global",
            listed.from
        ));
    }
    Ok(listed)
}

/// Every `pattern`-th layer is global.
pub(super) fn repeated(pattern: usize, count: usize) -> Vec<LayerKind> {
    let kind = |layer: usize| match (layer + 1) % pattern {
        0 => LayerKind::Global,
        _ => LayerKind::Local,
    };
    (0..count).map(kind).collect()
}

fn listed(keys: &mut Keys<'_>, count: usize) -> Result<Option<Sourced<Vec<LayerKind>>>, String> {
    let Some(Sourced { value, from }) = keys.one_of(&["layer_types"])? else {
        return Ok(None);
    };
    let Value::Array(names) = value else {
        return Err(format!("`{from}` must be a list, not {}", shown(value)));
    };
    if names.len() != count {
        return Err(format!(
            "`{from}` lists {} layers, num_hidden_layers says {count}",
            names.len()
        ));
    }
    let kinds = names.iter().map(|name| match name.as_str() {
        Some("full_attention") => Ok(LayerKind::Global),
        Some("sliding_attention") => Ok(LayerKind::Local),
        _ => Err(format!(
            "`{from}`: layer type {} is not supported",
            shown(name)
        )),
    });
    let value = kinds.collect::<Result<_, String>>()?;
    Ok(Some(Sourced { value, from }))
}

/// The pattern that a file states. Beside a list, transformers 5 writes `_sliding_window_pattern`
/// whatever the list says: there it says nothing.
fn pattern(
    keys: &mut Keys<'_>,
    generation: Generation,
    listed: bool,
) -> Result<Option<Sourced<usize>>, String> {
    const PUBLIC: &str = "sliding_window_pattern";
    if generation == Generation::Gemma1 {
        return Ok(None);
    }
    let found = match listed {
        true => keys.count(&[PUBLIC])?,
        false => keys.count(&[PUBLIC, PRIVATE_PATTERN])?,
    };
    let Some(Sourced { value, from }) = found else {
        return Ok(None);
    };
    let value = bounds::count(&from, value).map_err(|error| error.to_string())?;
    let reads_it = matches!(generation, Generation::Gemma1 | Generation::Gemma3);
    if !reads_it && value != Defaults::of(generation).pattern && !listed {
        return Err(format!(
            "`{from}` is {value}, and the reference of {} doesn't read it: say it by `layer_types`",
            generation.name()
        ));
    }
    Ok(Some(Sourced { value, from }))
}

/// The window of local layers. `null` is none.
pub(super) fn window(
    keys: &mut Keys<'_>,
    generation: Generation,
    default: Option<usize>,
) -> Result<Sourced<Option<usize>>, String> {
    const SPELLINGS: [&str; 2] = ["sliding_window", OLDER_WINDOW];
    if generation == Generation::Gemma1 {
        return Ok(Sourced::default_of(generation, None));
    }
    if let Some(Sourced { value, from }) = keys.count(&SPELLINGS)? {
        let value = bounds::count("sliding_window", value).map_err(|error| error.to_string())?;
        return Ok(Sourced {
            value: Some(value),
            from,
        });
    }
    if keys.is_null(&SPELLINGS) {
        return Ok(Sourced {
            value: None,
            from: keys.place_of(SPELLINGS[0]),
        });
    }
    Ok(Sourced::default_of(generation, default))
}

#[cfg(test)]
mod tests {
    use super::*;
    use LayerKind::{Global, Local};
    use serde_json::json;

    fn kinds_of(generation: Generation, value: &Value) -> Result<Sourced<Vec<LayerKind>>, String> {
        kinds(
            &mut Keys::new("", value.as_object().unwrap()),
            generation,
            4,
        )
    }

    #[test]
    fn layer_kinds_follow_the_pattern_of_each_generation() {
        let of = |generation, value: Value| kinds_of(generation, &value).unwrap().value;
        assert_eq!(of(Generation::Gemma1, json!({})), [Global; 4]);
        assert_eq!(
            of(Generation::Gemma2, json!({})),
            [Local, Global, Local, Global]
        );
        assert_eq!(of(Generation::Gemma3, json!({})), [Local; 4]);
        let three = json!({"sliding_window_pattern": 3});
        assert_eq!(of(Generation::Gemma3, three), [Local, Local, Global, Local]);
        let types = json!({"layer_types": ["full_attention", "sliding_attention",
            "full_attention", "full_attention"]});
        assert_eq!(
            of(Generation::Gemma2, types),
            [Global, Local, Global, Global]
        );
    }

    #[test]
    fn both_spellings_of_the_pattern_are_read_and_must_agree() {
        let both = json!({"sliding_window_pattern": 2, "_sliding_window_pattern": 2});
        let found = kinds_of(Generation::Gemma3, &both).unwrap();
        assert_eq!(found.value, [Local, Global, Local, Global]);
        assert_eq!(
            found.from,
            "sliding_window_pattern, _sliding_window_pattern"
        );
        let apart = json!({"sliding_window_pattern": 2, "_sliding_window_pattern": 3});
        let message = kinds_of(Generation::Gemma3, &apart).unwrap_err();
        assert!(
            message.contains("says 2") && message.contains("says 3"),
            "{message}"
        );
    }

    #[test]
    fn a_list_and_a_pattern_must_agree() {
        let list = [
            "sliding_attention",
            "full_attention",
            "sliding_attention",
            "full_attention",
        ];
        let apart = json!({"layer_types": list, "sliding_window_pattern": 6});
        let message = kinds_of(Generation::Gemma3, &apart).unwrap_err();
        assert!(
            message.contains("`layer_types`") && message.contains("`sliding_window_pattern`"),
            "{message}"
        );
        // transformers 5 writes this beside every list.
        let note = json!({"layer_types": list, "_sliding_window_pattern": 6});
        assert_eq!(
            kinds_of(Generation::Gemma3, &note).unwrap().value,
            [Local, Global, Local, Global]
        );
    }

    #[test]
    fn a_pattern_that_the_reference_would_not_read_is_refused() {
        let message = kinds_of(Generation::Gemma2, &json!({"sliding_window_pattern": 3}));
        assert!(message.unwrap_err().contains("`layer_types`"));
    }

    #[test]
    fn windows_are_read_under_both_names() {
        let read = |value: Value| {
            window(
                &mut Keys::new("", value.as_object().unwrap()),
                Generation::Gemma2,
                Some(4096),
            )
        };
        assert_eq!(
            read(json!({"sliding_window_size": 8})).unwrap().value,
            Some(8)
        );
        assert_eq!(read(json!({})).unwrap().value, Some(4096));
        assert_eq!(read(json!({"sliding_window": null})).unwrap().value, None);
        assert!(read(json!({"sliding_window": 0})).is_err());
        assert!(read(json!({"sliding_window": 8, "sliding_window_size": 9})).is_err());
    }
}
