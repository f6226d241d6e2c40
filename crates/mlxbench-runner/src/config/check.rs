//! Values that TOML allows and a benchmark doesn't.

use super::{Config, MeasureConfig, TestConfig};

impl Config {
    /// Refuses values that make no sense, with what to write instead.
    pub(super) fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) {
            return Err(format!(
                "name = {:?} names the folder of the results: write letters, digits, `.`, `_`, `-`",
                self.name
            ));
        }
        if self.tests.is_empty() {
            return Err("no [[test]]: write at least one, such as prompt_tokens = 64".into());
        }
        if self.targets.is_empty() {
            return Err("no [[target]]: write at least one, such as backend = \"candle\"".into());
        }
        for test in &self.tests {
            test.check()?;
        }
        if let Some(target) = self.targets.iter().find(|target| target.dtypes.is_empty()) {
            return Err(format!(
                "the [[target]] with backend = {:?} has no dtypes: write dtypes = [\"f32\"]",
                target.backend
            ));
        }
        if let Some((name, _)) = self.backends.iter().find(|(_, b)| b.command.is_empty()) {
            return Err(format!("[backend.{name}] has an empty command"));
        }
        self.measure.check()?;
        if !positive(self.roofline.seconds) {
            return Err("[roofline] seconds must be more than 0".into());
        }
        if let Err(error) = self.equivalence.reference() {
            return Err(format!(
                "[equivalence] reference: {error}, such as candle/cpu/f32, or none"
            ));
        }
        if self.prompt.text.is_some() && self.prompt.file.is_some() {
            return Err("[prompt] takes `text` or `file`, not both".into());
        }
        Ok(())
    }
}

impl MeasureConfig {
    fn check(&self) -> Result<(), String> {
        if !(self.delay_seconds >= 0.0 && self.delay_seconds.is_finite()) {
            return Err("delay_seconds must be 0 or more".into());
        }
        if self.max_seconds.is_some_and(|seconds| !positive(seconds)) {
            return Err("max_seconds must be more than 0".into());
        }
        if self
            .interval_percent
            .is_some_and(|percent| !positive(percent))
        {
            return Err("interval_percent must be more than 0".into());
        }
        if self
            .max_repetitions
            .is_some_and(|most| most < self.repetitions)
        {
            return Err("max_repetitions is below repetitions".into());
        }
        match (
            self.interval_percent,
            self.max_repetitions,
            self.max_seconds,
        ) {
            (Some(_), None, None) => Err("interval_percent needs an end: add max_repetitions or \
                                          max_seconds"
                .into()),
            (None, Some(_), _) => Err("max_repetitions does nothing alone: add \
                                       interval_percent, or write repetitions"
                .into()),
            _ => Ok(()),
        }
    }
}

impl TestConfig {
    fn check(&self) -> Result<(), String> {
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

fn positive(number: f64) -> bool {
    number > 0.0 && number.is_finite()
}
