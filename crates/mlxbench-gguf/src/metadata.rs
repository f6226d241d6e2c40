//! Typed access to a file's metadata, which remembers what was asked for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};

use crate::value::{List, Value};

/// The metadata of a model, and which keys of it were read.
#[derive(Debug)]
pub struct Metadata<'a> {
    values: BTreeMap<&'a str, Value<'a>>,
    read: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Metadata<'a> {
    /// These values, none read yet.
    pub fn new(values: BTreeMap<&'a str, Value<'a>>) -> Self {
        // It was read where it matters: in the header.
        let read = RefCell::new(BTreeSet::from(["general.alignment"]));
        Self { values, read }
    }

    /// The keys that nothing was read from, in their order.
    pub fn unread(&self) -> Vec<&'a str> {
        let read = self.read.borrow();
        let keys = self.values.keys().copied();
        keys.filter(|key| !read.contains(key)).collect()
    }

    /// A text.
    ///
    /// # Errors
    /// When the key is there and no text.
    pub fn text(&self, key: &str) -> anyhow::Result<Option<&'a str>> {
        let text = self
            .get(key)
            .map(|value| text(value).with_context(|| of(key)));
        text.transpose()
    }

    /// A switch.
    ///
    /// # Errors
    /// When the key is there and neither true nor false.
    pub fn flag(&self, key: &str) -> anyhow::Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => bail!("metadata `{key}` is neither true nor false"),
        }
    }

    /// An integer from 0 up, of whatever integer type the file has it in.
    ///
    /// # Errors
    /// When the key is there and no such number.
    pub fn count(&self, key: &str) -> anyhow::Result<Option<u64>> {
        let count = self
            .get(key)
            .map(|value| count(value).with_context(|| of(key)));
        count.transpose()
    }

    /// A count that a file may state layer by layer, which must be the same in all `layers`.
    ///
    /// # Errors
    /// When the key is there and no count, or layers differ.
    pub fn count_of_layers(&self, key: &str, layers: usize) -> anyhow::Result<Option<u64>> {
        let Some(Value::List(list)) = self.get(key) else {
            return self.count(key);
        };
        let counts: BTreeSet<u64> = self
            .layer_by_layer(key, list, layers)?
            .map(|value| count(value).with_context(|| of(key)))
            .collect::<Result<_, _>>()?;
        ensure!(
            counts.len() == 1,
            "metadata `{key}` differs between layers, which no Gemma 1, 2 or 3 does"
        );
        Ok(counts.first().copied())
    }

    /// The values of `list`, the value of `key`, which must be one a layer.
    ///
    /// # Errors
    /// When it has another length.
    pub fn layer_by_layer(
        &self,
        key: &str,
        list: List<'a>,
        layers: usize,
    ) -> anyhow::Result<impl Iterator<Item = Value<'a>> + use<'a>> {
        ensure!(
            list.len() == layers as u64,
            "metadata `{key}` lists {} values, the model has {layers} layers",
            list.len()
        );
        Ok(list.iter())
    }

    /// A number greater than 0.
    ///
    /// # Errors
    /// When the key is there and no such number.
    pub fn positive(&self, key: &str) -> anyhow::Result<Option<f64>> {
        let number = self.get(key).map(|value| {
            let number = number(value).with_context(|| of(key))?;
            ensure!(
                number.is_finite() && number > 0.0,
                "metadata `{key}` is {number}: it must be greater than 0"
            );
            Ok(number)
        });
        number.transpose()
    }

    /// A number greater than 0 that has several names: any of them, or several that agree.
    ///
    /// # Errors
    /// When one is no such number, or two disagree.
    pub fn positive_of(&self, keys: &[String]) -> anyhow::Result<Option<f64>> {
        let mut found: Option<(&str, f64)> = None;
        for key in keys {
            let Some(number) = self.positive(key)? else {
                continue;
            };
            match found {
                Some((first, other)) if other != number => bail!(
                    "metadata `{first}` is {other} and `{key}`, which means the same, is {number}"
                ),
                _ => found = Some((key, number)),
            }
        }
        Ok(found.map(|(_, number)| number))
    }

    /// A list.
    ///
    /// # Errors
    /// When the key is there and no list.
    pub fn list(&self, key: &str) -> anyhow::Result<Option<List<'a>>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(_) => bail!("metadata `{key}` is no list"),
        }
    }

    /// The value of a key, which counts as read from now on.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let (key, value) = self.values.get_key_value(key)?;
        self.read.borrow_mut().insert(key);
        Some(*value)
    }
}

/// A required value.
///
/// # Errors
/// When it is `None`: the message names the key.
pub(crate) fn need<T>(value: Option<T>, key: &str) -> anyhow::Result<T> {
    value.with_context(|| format!("the file has no metadata `{key}`"))
}

/// A text value.
pub(crate) fn text(value: Value<'_>) -> anyhow::Result<&str> {
    match value {
        Value::Text(text) => Ok(std::str::from_utf8(text)?),
        _ => bail!("no text"),
    }
}

/// A value of any integer type, from 0 up.
pub(crate) fn count(value: Value<'_>) -> anyhow::Result<u64> {
    match value {
        Value::Integer(count) => {
            u64::try_from(count).with_context(|| format!("{count} is no count"))
        }
        _ => bail!("no integer"),
    }
}

/// A value of any numeric type.
pub(crate) fn number(value: Value<'_>) -> anyhow::Result<f64> {
    Ok(match value {
        // Through its shortest text: the f32 nearest to 1e-6 means 1e-6.
        Value::F32(number) => number.to_string().parse()?,
        Value::F64(number) => number,
        Value::Integer(number) => number as f64,
        _ => bail!("no number"),
    })
}

fn of(key: &str) -> String {
    format!("metadata `{key}`")
}
