//! The tokens that begin and end a text.

use serde_json::json;

use super::Reading;
use crate::gemma::hf::defaults;
use crate::gemma::hf::keys::{Keys, Sourced};

impl<'a> Reading<'a> {
    /// The token that begins a text, which must be one of the `vocab_size` tokens. `null` is none.
    pub(super) fn bos(&mut self, vocab_size: usize) -> Result<Option<u32>, String> {
        const KEY: &str = "bos_token_id";
        let found = self.of_either(|keys| keys.ids(&[KEY]))?;
        let found = match found {
            Some(Sourced { value, from }) => match value.as_slice() {
                [id] if (*id as usize) < vocab_size => Sourced {
                    value: Some(*id),
                    from,
                },
                [id] => {
                    return Err(format!(
                        "`{from}` is {id}, and `vocab_size` says that there are {vocab_size} \
                         tokens, from 0 up"
                    ));
                }
                ids => {
                    return Err(format!(
                        "`{from}` lists {} tokens, and a text begins with one",
                        ids.len()
                    ));
                }
            },
            None if self.text.is_null(&[KEY]) => Sourced {
                value: None,
                from: self.text.place_of(KEY),
            },
            None => Sourced::default_of(self.generation, Some(defaults::BOS)),
        };
        self.fact(KEY, &found.clone().map(|id| json!(id)));
        Ok(found.value)
    }

    /// Tokens that end a generation. Those of the whole model count before those of its text part;
    /// `null` is none.
    pub(super) fn eos(&mut self) -> Result<Vec<u32>, String> {
        const KEY: &str = "eos_token_id";
        let found = self.of_either(|keys| keys.ids(&[KEY]))?;
        let found = match found {
            Some(found) => found,
            None if self.text.is_null(&[KEY]) => Sourced {
                value: Vec::new(),
                from: self.text.place_of(KEY),
            },
            None => Sourced::default_of(self.generation, vec![defaults::EOS]),
        };
        self.fact("eos_token_ids", &found);
        Ok(found.value)
    }

    /// The whole model's key, else the text part's. Both are marked as used.
    fn of_either<T>(
        &mut self,
        read: impl Fn(&mut Keys<'a>) -> Result<Option<Sourced<T>>, String>,
    ) -> Result<Option<Sourced<T>>, String> {
        let inner = read(&mut self.text)?;
        let outer = match &mut self.outer {
            Some(outer) => read(outer)?,
            None => None,
        };
        Ok(outer.or(inner))
    }
}
