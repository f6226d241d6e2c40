//! What was derived from a model's files, and from what: the part of a run that no comparison of
//! adapters can check, since all of them take it from here.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// One derived fact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fact {
    /// Its name, such as `rope_theta` or `output_head`.
    pub name: &'static str,
    /// Its value. A list has one entry a layer.
    pub value: Value,
    /// The keys that it was read from, or `default of gemma3`.
    pub from: String,
}

impl Fact {
    /// A fact called `name`.
    pub fn new(name: &'static str, value: impl Into<Value>, from: impl Into<String>) -> Self {
        Self {
            name,
            value: value.into(),
            from: from.into(),
        }
    }

    /// Puts a fact in the place of the one of the same name, or at the end.
    pub(crate) fn replace(self, facts: &mut Vec<Self>) {
        match facts.iter_mut().find(|fact| fact.name == self.name) {
            Some(fact) => *fact = self,
            None => facts.push(self),
        }
    }
}

/// The value alone, for a table: neighbours in a list that are the same are counted (`5 x 512`).
impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |value: &Value| match value {
            Value::Null => "none".to_owned(),
            Value::Bool(true) => "yes".to_owned(),
            Value::Bool(false) => "no".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let Value::Array(list) = &self.value else {
            return write!(f, "{}", plain(&self.value));
        };
        let runs = list.chunk_by(|a, b| a == b);
        let texts: Vec<String> = runs
            .map(|run| match run {
                [one] => plain(one),
                run => format!("{} x {}", run.len(), plain(&run[0])),
            })
            .collect();
        write!(f, "{}", texts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_neighbours_are_counted() {
        let list = json!([8, 8, null, 8]);
        assert_eq!(Fact::new("windows", list, "").to_string(), "2 x 8, none, 8");
        assert_eq!(Fact::new("biases", false, "").to_string(), "no");
    }
}
