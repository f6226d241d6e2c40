//! Values that TOML allows and a benchmark doesn't.

mod chat;
mod test;

use mlxbench_core::limits::{POSITIONS, REPETITIONS, THREADS, TIME, TOKENS, at_most, seconds};

use super::{Config, MeasureConfig, TargetConfig, TestConfig};

/// Targets times tests: fewer than [`REPETITIONS`], as `--ab` doubles them.
const MOST_CASES: usize = 10_000;

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
        let names: Vec<String> = self
            .of_each_model()
            .into_iter()
            .map(|one| one.name)
            .collect();
        if let Some(at) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
            return Err(format!(
                "two [[model]] have {:?} as the last part of their source, which names the folder of their \
                 results: leave one out, or run it from another config",
                self.models.values()[at].short_name()
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
        let sum = |counts: &mut dyn Iterator<Item = usize>| counts.fold(0, usize::saturating_add);
        let tests = sum(&mut self.tests.iter().map(TestConfig::len));
        let targets = sum(&mut self.targets.iter().map(TargetConfig::len));
        at_most(
            "the number of tests times that of targets, over all lists,",
            tests.saturating_mul(targets),
            MOST_CASES,
        )?;
        let threads = self
            .targets
            .iter()
            .filter_map(|target| target.threads.as_ref());
        for count in threads.flat_map(|threads| threads.values()) {
            at_most("threads", count.get(), THREADS)?;
        }
        if let Some(target) = self.targets.iter().find(|target| target.dtypes.is_empty()) {
            return Err(format!(
                "the [[target]] with backend = {:?} has no dtypes: write dtypes = [\"f32\"]",
                target.backend
            ));
        }
        self.check_servers()?;
        self.measure.check()?;
        if !positive(self.roofline.seconds) {
            return Err("[roofline] seconds must be more than 0".into());
        }
        seconds("[roofline] seconds", self.roofline.seconds)?;
        let positions = self.equivalence.positions.get();
        at_most("[equivalence] positions", positions, POSITIONS)?;
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
        seconds("delay_seconds", self.delay_seconds)?;
        seconds("throttle_pause_seconds", self.throttle_pause_seconds)?;
        at_most("throttle_retries", self.throttle_retries, REPETITIONS)?;
        if self.max_seconds.is_some_and(|seconds| !positive(seconds)) {
            return Err("max_seconds must be more than 0".into());
        }
        seconds("max_seconds", self.max_seconds.unwrap_or(0.0))?;
        let timeout = self.timeout_seconds.get();
        at_most("timeout_seconds", timeout, TIME.as_secs() as usize)?;
        at_most("repetitions", self.repetitions.get(), REPETITIONS)?;
        at_most("processes", self.processes.get(), REPETITIONS)?;
        let most = self.max_repetitions.map_or(0, Into::into);
        at_most("max_repetitions", most, REPETITIONS)?;
        at_most("warmup", self.warmup, REPETITIONS)?;
        at_most("max_warmup", self.max_warmup, REPETITIONS)?;
        at_most("chunk", self.chunk.map_or(0, Into::into), TOKENS)?;
        at_most("threads", self.threads.map_or(0, Into::into), THREADS)?;
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

impl TargetConfig {
    /// So many targets its lists make.
    fn len(&self) -> usize {
        let threads = self.threads.as_ref();
        let threads = threads.map_or(1, |threads| threads.values().len());
        self.dtypes.len().saturating_mul(threads)
    }
}

fn positive(number: f64) -> bool {
    number > 0.0 && number.is_finite()
}
