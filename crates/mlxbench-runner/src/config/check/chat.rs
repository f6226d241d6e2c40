//! Conversations that can't be had.

use mlxbench_core::generate::Mode;
use mlxbench_core::results::Test;

use crate::config::TestConfig;
use crate::config::expand::label;

impl TestConfig {
    pub(super) fn check_chat(&self) -> Result<(), String> {
        if self.generate_tokens.values().contains(&0) {
            return Err(
                "a [[test]] with kind = \"chat\" needs generate_tokens, the tokens of each answer: write 1 or more"
                    .into(),
            );
        }
        if let Some(files) = &self.conversation {
            let sizes = [
                ("turns", self.turns.is_some()),
                ("system_tokens", self.system_tokens.is_some()),
                ("user_tokens", self.user_tokens.is_some()),
                ("reply_tokens", self.reply_tokens.is_some()),
            ];
            if let Some((key, _)) = sizes.iter().find(|(_, given)| *given) {
                return Err(format!(
                    "`{key}` is a size of a conversation that is made, and this one is read from a file: take it out, \
                     or take out `conversation`"
                ));
            }
            return files
                .values()
                .iter()
                .try_for_each(|file| label(file).map(drop));
        }
        self.expand(Mode::default())
            .iter()
            .try_for_each(Test::check)
    }
}
