//! A short name that is copied as a number is.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A name of 1 to [`Label::LONGEST`] letters, digits, `.`, `_` and `-`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label([u8; Label::LONGEST]);

impl Label {
    /// Characters at most.
    pub const LONGEST: usize = 24;

    /// The name.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0);
        let bytes = &self.0[..end.unwrap_or(Self::LONGEST)];
        // It was made of a `str` of one byte a character.
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl FromStr for Label {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > Self::LONGEST || !name.chars().all(plain) {
            return Err(format!(
                "{name:?} is no name for tables: write 1 to {} letters, digits, `.`, `_` or `-`",
                Self::LONGEST
            ));
        }
        let mut bytes = [0; Self::LONGEST];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Label {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.as_str().to_owned()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl JsonSchema for Label {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Label".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,24}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_as_it_went_in() {
        let longest = "a".repeat(Label::LONGEST);
        for name in ["code", "a.b_c-1", &longest] {
            let label: Label = name.parse().unwrap();
            assert_eq!(label.to_string(), name);
            let json = serde_json::to_string(&label).unwrap();
            assert_eq!(serde_json::from_str::<Label>(&json).unwrap(), label);
        }
    }

    #[test]
    fn what_no_table_takes_is_refused() {
        for name in ["", "two words", "ä", &"a".repeat(Label::LONGEST + 1)] {
            assert!(name.parse::<Label>().is_err(), "{name}");
        }
    }
}
