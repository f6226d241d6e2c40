//! The keys of one JSON object of `config.json`: read under any of their spellings, marked when they
//! are used, and remembered as the source of what was read.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::gemma::Generation;

/// One object of the file.
pub(super) struct Keys<'a> {
    /// Its place in the file, such as `text_config.`; empty for the file itself.
    place: String,
    object: &'a Map<String, Value>,
    used: BTreeSet<&'a str>,
}

/// A value and the key or keys that it was read from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) from: String,
}

impl<T> Sourced<T> {
    pub(super) fn default_of(generation: Generation, value: T) -> Self {
        Self {
            value,
            from: format!("default of {}", generation.model_type()),
        }
    }

    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced {
            value: f(self.value),
            from: self.from,
        }
    }
}

impl<T: Copy + PartialEq + std::fmt::Display> Sourced<T> {
    /// The one value of two places that must not disagree.
    pub(super) fn agree(first: Option<Self>, second: Option<Self>) -> Result<Option<Self>, String> {
        let (first, second) = match (first, second) {
            (Some(first), Some(second)) => (first, second),
            (first, second) => return Ok(first.or(second)),
        };
        if first.value != second.value {
            return Err(disagreement(
                &first.from,
                &first.value.to_string(),
                &second.from,
                &second.value.to_string(),
            ));
        }
        Ok(Some(Self {
            value: first.value,
            from: format!("{}, {}", first.from, second.from),
        }))
    }
}

impl<'a> Keys<'a> {
    /// The keys of `object`, which is at `place` of the file.
    pub(super) fn new(place: impl Into<String>, object: &'a Map<String, Value>) -> Self {
        Self {
            place: place.into(),
            object,
            used: BTreeSet::new(),
        }
    }

    /// The object at `key`, where there is one that isn't `null`.
    pub(super) fn object(&mut self, key: &str) -> Result<Option<Keys<'a>>, String> {
        let Some(found) = self.one_of(&[key])? else {
            return Ok(None);
        };
        match found.value {
            Value::Object(object) => Ok(Some(Keys::new(format!("{}.", found.from), object))),
            other => Err(wrong_type(&found.from, other, "an object")),
        }
    }

    /// The value of the one key that has all these spellings. `null` counts as absent.
    ///
    /// # Errors
    /// When two spellings are there and their values differ.
    pub(super) fn one_of(
        &mut self,
        spellings: &[&str],
    ) -> Result<Option<Sourced<&'a Value>>, String> {
        let mut found: Option<Sourced<&Value>> = None;
        for &spelling in spellings {
            let Some((key, value)) = self.object.get_key_value(spelling) else {
                continue;
            };
            self.used.insert(key);
            if value.is_null() {
                continue;
            }
            let from = self.place_of(key);
            match &mut found {
                None => found = Some(Sourced { value, from }),
                Some(first) if same(first.value, value) => {
                    first.from = format!("{}, {from}", first.from);
                }
                Some(first) => {
                    return Err(disagreement(
                        &first.from,
                        &shown(first.value),
                        &from,
                        &shown(value),
                    ));
                }
            }
        }
        Ok(found)
    }

    /// Whether the key is there and `null` under every spelling that is there.
    pub(super) fn is_null(&self, spellings: &[&str]) -> bool {
        let mut values = spellings
            .iter()
            .filter_map(|key| self.object.get(*key))
            .peekable();
        values.peek().is_some() && values.all(Value::is_null)
    }

    /// A whole number that isn't negative; [`bounds::count`](crate::gemma::bounds::count) refuses 0.
    pub(super) fn count(&mut self, spellings: &[&str]) -> Result<Option<Sourced<u64>>, String> {
        self.typed(spellings, "a whole number of at least 1", whole)
    }

    /// A number.
    pub(super) fn number(&mut self, spellings: &[&str]) -> Result<Option<Sourced<f64>>, String> {
        self.typed(spellings, "a number", Value::as_f64)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, spellings: &[&str]) -> Result<Option<Sourced<bool>>, String> {
        self.typed(spellings, "true or false", Value::as_bool)
    }

    /// A text.
    pub(super) fn text(&mut self, spellings: &[&str]) -> Result<Option<Sourced<&'a str>>, String> {
        self.typed(spellings, "a text", Value::as_str)
    }

    /// One token id or a list of them.
    pub(super) fn ids(&mut self, spellings: &[&str]) -> Result<Option<Sourced<Vec<u32>>>, String> {
        let ids = |value: &Value| {
            let id = |id: &Value| u32::try_from(whole(id)?).ok();
            match value {
                Value::Array(list) => list.iter().map(id).collect(),
                one => Some(vec![id(one)?]),
            }
        };
        self.typed(spellings, "a token id or a list of them", ids)
    }

    fn typed<T>(
        &mut self,
        spellings: &[&str],
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<Sourced<T>>, String> {
        let Some(Sourced { value, from }) = self.one_of(spellings)? else {
            return Ok(None);
        };
        match read(value) {
            Some(value) => Ok(Some(Sourced { value, from })),
            None => Err(wrong_type(&from, value, wanted)),
        }
    }

    /// The keys that nobody asked for, with their values.
    pub(super) fn rest(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let rest = self.object.iter().map(|(key, value)| (key.as_str(), value));
        rest.filter(|(key, _)| !self.used.contains(key))
    }

    /// Where `key` of this object is in the file. What a file says may end on a terminal.
    pub(super) fn place_of(&self, key: &str) -> String {
        format!("{}{}", self.place, key.escape_debug())
    }
}

/// A whole number that isn't negative. JSON has one kind of number: `6.0` is 6.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        // Above, an f64 no longer tells neighbours apart.
        let exact = number.fract() == 0.0 && (0.0..=9e15).contains(&number);
        exact.then_some(number as u64)
    })
}

/// `6` and `6.0` are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// A value for a message: not all of a long one, and nothing that a terminal would obey.
pub(super) fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    let text = text.replace(char::is_control, "\u{fffd}");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn wrong_type(from: &str, value: &Value, wanted: &str) -> String {
    format!("`{from}` must be {wanted}, not {}", shown(value))
}

/// What two spellings of one key that don't say the same are answered with.
pub(super) fn disagreement(
    first: &str,
    first_value: &str,
    other: &str,
    other_value: &str,
) -> String {
    format!(
        "`{first}` says {first_value} and `{other}` says {other_value}, and both mean the same \
         thing: remove the one that is wrong"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value, spellings: &[&str]) -> Result<Option<Sourced<u64>>, String> {
        Keys::new("", value.as_object().unwrap()).count(spellings)
    }

    #[test]
    fn any_spelling_is_read_and_named() {
        let value = json!({"b": 6});
        let found = read(&value, &["a", "b"]).unwrap().unwrap();
        assert_eq!((found.value, found.from.as_str()), (6, "b"));
    }

    #[test]
    fn spellings_that_agree_are_all_named() {
        let value = json!({"a": 6, "b": 6.0});
        assert_eq!(read(&value, &["a", "b"]).unwrap().unwrap().from, "a, b");
        let null = json!({"a": 6, "b": null});
        assert_eq!(read(&null, &["a", "b"]).unwrap().unwrap().from, "a");
    }

    #[test]
    fn spellings_that_disagree_are_an_error_with_both_values() {
        let message = read(&json!({"a": 6, "b": 3}), &["a", "b"]).unwrap_err();
        assert!(
            message.starts_with("`a` says 6 and `b` says 3"),
            "{message}"
        );
    }

    #[test]
    fn a_value_of_another_type_is_told_with_its_key() {
        let message = read(&json!({"a": "six"}), &["a"]).unwrap_err();
        assert_eq!(
            message,
            "`a` must be a whole number of at least 1, not \"six\""
        );
    }

    #[test]
    fn a_whole_number_may_have_a_point() {
        let of =
            |value: Value| read(&json!({"a": value}), &["a"]).map(|found| found.unwrap().value);
        assert_eq!(of(json!(4.0)), Ok(4));
        for other in [json!(4.5), json!(-4.0), json!(1e18), json!(true)] {
            assert!(of(other.clone()).is_err(), "{other}");
        }
    }

    #[test]
    fn what_nobody_asked_for_is_left_over() {
        let value = json!({"a": 6, "b": 3});
        let mut keys = Keys::new("", value.as_object().unwrap());
        keys.count(&["a"]).unwrap();
        let rest: Vec<&str> = keys.rest().map(|(key, _)| key).collect();
        assert_eq!(rest, ["b"]);
    }
}
