//! Names that would be alike, told apart by what differs between the things they name, and by that
//! alone.

use std::collections::HashMap;

/// What a name leaves out, as key and value, in the order in which it is to be said.
pub(crate) type Facts = Vec<(String, String)>;

/// Names, and what has to be said beside each so that no two are alike.
#[derive(Debug)]
pub(crate) struct Apart {
    names: Vec<String>,
    said: Vec<Vec<String>>,
}

impl Apart {
    /// The names, of which nothing needs to be said yet.
    pub(crate) fn new(names: Vec<String>) -> Self {
        let said = vec![Vec::new(); names.len()];
        Self { names, said }
    }

    /// Says of those that are still alike which of `facts`, one a name, differ among them.
    pub(crate) fn by(mut self, facts: &[&Facts]) -> Self {
        for alike in self.alike() {
            let of_group: Vec<&Facts> = alike.iter().map(|&at| facts[at]).collect();
            let differing = differing(&of_group);
            for (&at, facts) in alike.iter().zip(of_group) {
                let own = differing
                    .iter()
                    .filter_map(|key| Some((key, value(facts, key)?)));
                self.said[at].extend(own.map(|(key, value)| format!("{key}={value}")));
            }
        }
        self
    }

    /// From here on names count as alike only if these, one a name, are, too.
    pub(crate) fn among<T: std::fmt::Display>(mut self, of: impl IntoIterator<Item = T>) -> Self {
        for (name, of) in self.names.iter_mut().zip(of) {
            *name = format!("{of}\n{name}");
        }
        self
    }

    /// Numbers those that are still alike, and hands out what is said of each.
    pub(crate) fn numbered(mut self) -> Vec<Vec<String>> {
        for alike in self.alike() {
            for (number, at) in alike.into_iter().enumerate() {
                self.said[at].push(format!("#{}", number + 1));
            }
        }
        self.said
    }

    /// The places of each two names or more that are alike, with what was said of them.
    fn alike(&self) -> Vec<Vec<usize>> {
        let mut places: HashMap<(&str, &[String]), Vec<usize>> = HashMap::new();
        for (at, (name, said)) in self.names.iter().zip(&self.said).enumerate() {
            places.entry((name, said)).or_default().push(at);
        }
        places
            .into_values()
            .filter(|alike| alike.len() > 1)
            .collect()
    }
}

/// The keys, in their order, that not all have with the same value.
fn differing<'a>(all: &[&'a Facts]) -> Vec<&'a str> {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in all.iter().copied().flatten() {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    keys.retain(|key| {
        let mut values = all.iter().map(|facts| value(facts, key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    });
    keys
}

fn value<'a>(facts: &'a Facts, key: &str) -> Option<&'a str> {
    let found = facts.iter().find(|(known, _)| known == key);
    found.map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pairs: &[(&str, &str)]) -> Facts {
        let owned = pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()));
        owned.collect()
    }

    fn names(names: &[&str]) -> Apart {
        Apart::new(names.iter().map(|&name| name.into()).collect())
    }

    #[test]
    fn only_what_differs_is_said_and_only_of_those_alike() {
        let settings = [
            facts(&[("batch", "8"), ("fa", "on"), ("poll", "50")]),
            facts(&[("batch", "8"), ("fa", "off"), ("poll", "50")]),
            facts(&[("batch", "9"), ("fa", "off"), ("poll", "50")]),
        ];
        let settings: Vec<&Facts> = settings.iter().collect();
        let said = names(&["a", "a", "b"]).by(&settings).numbered();
        assert_eq!(said, [vec!["fa=on"], vec!["fa=off"], vec![]]);
    }

    #[test]
    fn what_one_alone_says_tells_it_from_the_other() {
        let settings = [facts(&[]), facts(&[("fa", "on")])];
        let settings: Vec<&Facts> = settings.iter().collect();
        let said = names(&["a", "a"]).by(&settings).numbered();
        assert_eq!(said, [vec![], vec!["fa=on"]]);
    }

    #[test]
    fn what_differs_in_nothing_is_numbered() {
        let said = names(&["a", "b", "a"]).by(&[&facts(&[]), &facts(&[]), &facts(&[])]);
        assert_eq!(said.numbered(), [vec!["#1"], vec![], vec!["#2"]]);
    }

    #[test]
    fn those_of_different_files_may_be_alike() {
        let said = names(&["a", "a"]).among(["one", "two"]).numbered();
        assert_eq!(said, [Vec::<String>::new(), vec![]]);
    }
}
