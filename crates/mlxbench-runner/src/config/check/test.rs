//! Sizes of a `[[test]]` that make no sense, and keys of another kind.

use mlxbench_core::generate::Mode;
use mlxbench_core::limits::{IDS, TIME, TOKENS, at_most};
use mlxbench_core::results::{GenerateTest, Test};

use crate::config::test::{one, zero};
use crate::config::{Sweep, TestConfig, TestKind};

impl TestConfig {
    /// So many tests its lists make.
    pub(super) fn len(&self) -> usize {
        fn of<T>(sweep: &Option<Sweep<T>>) -> usize {
            sweep.as_ref().map_or(1, |sweep| sweep.values().len())
        }
        [
            self.prompt_tokens.values().len(),
            self.generate_tokens.values().len(),
            self.depth.values().len(),
            self.batch.values().len(),
            of(&self.mode),
            of(&self.conversation),
            of(&self.turns),
            of(&self.system_tokens),
            of(&self.user_tokens),
            of(&self.reply_tokens),
            of(&self.rank),
            of(&self.layers),
            of(&self.modules),
            of(&self.gradient_checkpointing),
            of(&self.concurrency),
        ]
        .into_iter()
        .fold(1, usize::saturating_mul)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.refuse_others()?;
        match self.kind {
            TestKind::Generate => self.check_generation(),
            TestKind::Chat => self.check_chat(),
            TestKind::Lora => self.check_training(),
            TestKind::Serve => self.check_serving(),
        }
    }

    /// Refuses keys that are given and belong to another kind.
    fn refuse_others(&self) -> Result<(), String> {
        use TestKind::{Chat, Generate, Lora, Serve};
        let zero = zero();
        let keys: [(&str, &[TestKind], bool); 19] = [
            (
                "prompt_tokens",
                &[Generate, Lora, Serve],
                self.prompt_tokens != zero,
            ),
            (
                "generate_tokens",
                &[Generate, Chat, Serve],
                self.generate_tokens != zero,
            ),
            ("depth", &[Generate], self.depth != zero),
            ("batch", &[Generate, Lora], self.batch != one()),
            ("mode", &[Generate, Chat], self.mode.is_some()),
            ("conversation", &[Chat], self.conversation.is_some()),
            ("turns", &[Chat], self.turns.is_some()),
            ("system_tokens", &[Chat], self.system_tokens.is_some()),
            ("user_tokens", &[Chat], self.user_tokens.is_some()),
            ("reply_tokens", &[Chat], self.reply_tokens.is_some()),
            ("rank", &[Lora], self.rank.is_some()),
            ("layers", &[Lora], self.layers.is_some()),
            ("modules", &[Lora], self.modules.is_some()),
            (
                "gradient_checkpointing",
                &[Lora],
                self.gradient_checkpointing.is_some(),
            ),
            ("steps", &[Lora], self.steps.is_some()),
            ("concurrency", &[Serve], self.concurrency.is_some()),
            ("requests", &[Serve], self.requests.is_some()),
            ("ttft_slo_ms", &[Serve], self.ttft_slo_ms.is_some()),
            ("tpot_slo_ms", &[Serve], self.tpot_slo_ms.is_some()),
        ];
        let mut keys = keys.into_iter();
        match keys.find(|(_, kinds, given)| *given && !kinds.contains(&self.kind)) {
            Some((key, kinds, _)) => {
                let (others, own) = (kinds.iter().map(|kind| kind.name()), self.kind.name());
                Err(format!(
                    "`{key}` is a key of a [[test]] with kind = \"{}\", and this one's is \"{own}\": take it out, or \
                     change the kind",
                    others.collect::<Vec<_>>().join("\" or \"")
                ))
            }
            None => Ok(()),
        }
    }

    fn check_serving(&self) -> Result<(), String> {
        let tokens = [
            ("prompt_tokens", &self.prompt_tokens),
            ("generate_tokens", &self.generate_tokens),
        ];
        if let Some((key, _)) = tokens
            .iter()
            .find(|(_, counts)| counts.values().contains(&0))
        {
            return Err(format!(
                "a [[test]] with kind = \"serve\" has {key} = 0, as when it is absent: write 1 or more"
            ));
        }
        for (key, goal) in [
            ("ttft_slo_ms", self.ttft_slo_ms),
            ("tpot_slo_ms", self.tpot_slo_ms),
        ] {
            if goal.is_some_and(|goal| !(goal > 0.0 && goal <= TIME.as_secs_f64() * 1e3)) {
                return Err(format!("{key} must be more than 0, in milliseconds"));
            }
        }
        for test in self.expand(Mode::default()) {
            test.check()?;
        }
        Ok(())
    }

    fn check_training(&self) -> Result<(), String> {
        let steps = self.steps();
        if steps < 2 {
            return Err(
                "steps = 1 leaves no step to time, since the first one isn't counted: write 2 or more"
                    .into(),
            );
        }
        for &tokens in self.prompt_tokens.values() {
            if tokens < 2 {
                return Err(format!(
                    "a [[test]] with kind = \"lora\" has prompt_tokens = {tokens}: write 2 or more, the tokens of a row"
                ));
            }
        }
        for test in self.expand(Mode::default()) {
            test.check()?;
        }
        Ok(())
    }

    fn check_generation(&self) -> Result<(), String> {
        let most = |values: &Sweep<usize>| values.values().iter().copied().max().unwrap_or(0);
        let batches = self.batch.values().iter();
        let largest = GenerateTest {
            prompt_tokens: most(&self.prompt_tokens),
            generate_tokens: most(&self.generate_tokens),
            depth: most(&self.depth),
            batch: batches.map(|rows| rows.get()).max().unwrap_or(1),
            mode: Mode::default(),
        };
        at_most("prompt_tokens", largest.prompt_tokens, TOKENS)?;
        at_most("generate_tokens", largest.generate_tokens, TOKENS)?;
        at_most("depth", largest.depth, TOKENS)?;
        at_most(
            "batch times the tokens of a [[test]]",
            Test::from(largest).ids(),
            IDS,
        )?;
        for &prompt in self.prompt_tokens.values() {
            for &generate in self.generate_tokens.values() {
                match (prompt, generate) {
                    (0, 0) => {
                        return Err(
                            "a [[test]] needs prompt_tokens, generate_tokens or both".into()
                        );
                    }
                    (0, 1) => {
                        return Err("generate_tokens = 1 alone leaves no decode step to time: \
                                    write 2 or more, or add prompt_tokens"
                            .into());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
