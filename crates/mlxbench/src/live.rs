//! What a terminal shows of a run that goes on: what is done now, the medians so far, the time that is left.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use mlxbench_analysis::metrics;
use mlxbench_analysis::stats::{quantile, sorted};
use mlxbench_core::results::{Sample, TargetId, Test};
use mlxbench_core::text::printable;
use mlxbench_report::Names;

use crate::output::duration;

/// Lines of medians at most: a terminal has no more room.
const LINES: usize = 12;

/// The lines that are drawn again and again: one of what is done now, below it one a case.
pub(crate) struct Live {
    screen: MultiProgress,
    now: ProgressBar,
    cases: Cases,
    lines: BTreeMap<(TargetId, Test), ProgressBar>,
    planned: u64,
    done: u64,
    left: Left,
}

impl Live {
    /// Nothing done yet of what takes about as long as `expected`.
    pub(crate) fn new(names: Names, expected: Option<Duration>) -> Self {
        let screen = MultiProgress::new();
        let left = Left::default();
        left.set(expected);
        let now = screen.add(ProgressBar::new(0));
        now.set_style(left.shown_in("{spinner} {elapsed}{left} {wide_msg}"));
        now.enable_steady_tick(Duration::from_secs(1));
        Self {
            screen,
            now,
            cases: Cases {
                names,
                measured: BTreeMap::new(),
            },
            lines: BTreeMap::new(),
            planned: 0,
            done: 0,
            left,
        }
    }

    /// What is done now.
    pub(crate) fn say(&self, text: &str) {
        self.now.set_message(printable(text).into_owned());
    }

    /// A line above that stays.
    pub(crate) fn keep(&self, text: &str) {
        // A terminal that is gone shows nothing.
        let _ = self.screen.println(printable(text));
    }

    /// So many repetitions more are planned.
    pub(crate) fn plan(&mut self, repetitions: u64) {
        if self.planned == 0 {
            let template = "[{bar:20}] {pos}/{len} {elapsed}{left} {wide_msg}";
            self.now.set_style(self.left.shown_in(template));
        }
        self.planned += repetitions;
        self.now.set_length(self.planned);
    }

    /// A repetition was measured.
    pub(crate) fn measured(&mut self, sample: &Sample) {
        self.cases.add(sample);
        let key = (sample.target.clone(), sample.test);
        if !self.lines.contains_key(&key) {
            if self.lines.len() == LINES {
                return;
            }
            let line = self
                .screen
                .add(ProgressBar::new(0).with_style(style("  {wide_msg}")));
            self.lines.insert(key.clone(), line);
        }
        self.lines[&key].set_message(printable(&self.cases.line(&key)).into_owned());
    }

    /// A repetition ended.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        self.now.set_position(self.done);
        let left = self.cases.left(self.planned.saturating_sub(self.done));
        // What a resumed run had measured before tells nothing of the time.
        if left.is_some() {
            self.left.set(left);
        }
    }

    /// Takes all of it away.
    pub(crate) fn finish(&self) {
        self.now.finish_and_clear();
        // What isn't there any more can't be taken away.
        let _ = self.screen.clear();
    }
}

/// The time that is left, as it was known last, and when that was.
#[derive(Clone, Default)]
struct Left(Arc<Mutex<Option<(Duration, Instant)>>>);

impl Left {
    fn set(&self, left: Option<Duration>) {
        let known = left.map(|left| (left, Instant::now()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// A template in which `{left}` goes on counting down between two times that it is known.
    fn shown_in(&self, template: &str) -> ProgressStyle {
        let left = self.clone();
        style(template).with_key(
            "left",
            move |_: &ProgressState, out: &mut dyn fmt::Write| {
                let known = *left.0.lock().unwrap_or_else(PoisonError::into_inner);
                let words = known.map(|(left, since)| words(left, since.elapsed()));
                // A terminal that is gone shows nothing.
                let _ = out.write_str(&words.unwrap_or_default());
            },
        )
    }
}

/// `, about 12 min left` of what was `left` so long ago; nothing where it should be over.
fn words(left: Duration, ago: Duration) -> String {
    let left = left.saturating_sub(ago);
    match left.is_zero() {
        true => String::new(),
        false => format!(", about {} left", duration(left)),
    }
}

/// A template of ours.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("a template of ours");
    style.progress_chars("=> ")
}

/// What was measured so far.
struct Cases {
    names: Names,
    measured: BTreeMap<(TargetId, Test), Measured>,
}

#[derive(Default)]
struct Measured {
    decode: Vec<f64>,
    prefill: Vec<f64>,
    repetitions: usize,
    wall: Duration,
}

impl Cases {
    fn add(&mut self, sample: &Sample) {
        let own = self
            .measured
            .entry((sample.target.clone(), sample.test))
            .or_default();
        own.wall += Duration::from_nanos(sample.wall_ns.map_or(0, |wall| wall.0));
        own.repetitions += 1;
        if !sample.throttled {
            own.decode.extend(metrics::decode_rate(sample));
            own.prefill.extend(metrics::prefill_rate(sample));
        }
    }

    /// `PyTorch bf16 pp64+tg32: generate 17.9 t/s, prompt 390 t/s (3)`: the medians so far, and of how many.
    fn line(&self, key: &(TargetId, Test)) -> String {
        let name = self.names.of(&key.0);
        let Some(own) = self.measured.get(key) else {
            return format!("{name} {}", key.1);
        };
        let median = |values: &[f64]| quantile(&sorted(values), 0.5);
        let rate = |what: &str, values: &[f64]| {
            median(values).map(|median| format!("{what} {median:.1} t/s"))
        };
        let rates = [rate("generate", &own.decode), rate("prompt", &own.prefill)];
        let rates: Vec<String> = rates.into_iter().flatten().collect();
        format!(
            "{name} {}: {} ({})",
            key.1,
            rates.join(", "),
            own.repetitions
        )
    }

    /// How long so many repetitions take: as long as those of all cases did on average, each case counted once.
    fn left(&self, repetitions: u64) -> Option<Duration> {
        let count = u32::try_from(self.measured.len())
            .ok()
            .filter(|count| *count > 0)?;
        let means = self.measured.values();
        let means =
            means.filter_map(|own| own.wall.checked_div(u32::try_from(own.repetitions).ok()?));
        let mean = means.sum::<Duration>() / count;
        mean.checked_mul(u32::try_from(repetitions).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::Nanos;
    use mlxbench_core::generate::Mode;
    use mlxbench_core::results::{GenerateTest, PeakSince};

    use super::*;

    const TEST: GenerateTest = GenerateTest {
        prompt_tokens: 8,
        generate_tokens: 3,
        depth: 0,
        batch: 1,
        mode: Mode::Pipelined,
    };

    fn sample(target: &str, step_ms: u64) -> Sample {
        let ms = |ms: u64| Nanos(ms * 1_000_000);
        Sample {
            target: target.parse().unwrap(),
            test: TEST.into(),
            repetition: 0,
            attempt: 0,
            process: None,
            started: None,
            wall_ns: Some(ms(4 * step_ms)),
            token_ns: (1..=3).map(|step| ms(step * step_ms)).collect(),
            tokens: vec![vec![1, 2, 3]],
            finite: true,
            turns: None,
            losses: Vec::new(),
            requests: Vec::new(),
            form: None,
            peak_memory_bytes: None,
            peak_memory_since: PeakSince::Repetition,
            device_peak_bytes: None,
            timeline: None,
            energy_joules: None,
            energy_unavailable: None,
            conditions: None,
            throttled: false,
        }
    }

    fn cases(samples: &[Sample]) -> Cases {
        let names = Names::new(samples.iter().map(|sample| &sample.target), |_| None);
        let mut cases = Cases {
            names,
            measured: BTreeMap::new(),
        };
        samples.iter().for_each(|sample| cases.add(sample));
        cases
    }

    #[test]
    fn a_line_has_the_medians_so_far() {
        let fast = sample("tch/cpu/bf16", 100);
        let cases = cases(&[
            fast.clone(),
            sample("tch/cpu/bf16", 200),
            sample("tch/cpu/bf16", 50),
        ]);
        assert_eq!(
            cases.line(&(fast.target, fast.test)),
            "PyTorch bf16 pp8+tg3: generate 10.0 t/s, prompt 80.0 t/s (3)"
        );
    }

    #[test]
    fn what_was_throttled_is_in_no_median() {
        let hot = Sample {
            throttled: true,
            ..sample("tch/cpu/bf16", 500)
        };
        let fast = sample("tch/cpu/bf16", 100);
        let line = cases(&[fast.clone(), hot]).line(&(fast.target, fast.test));
        assert!(line.contains("generate 10.0 t/s"), "{line}");
    }

    #[test]
    fn the_time_left_counts_slow_cases_as_often_as_fast_ones() {
        // A second of one, three of the other: two on average.
        let cases = cases(&[
            sample("tch/cpu/bf16", 250),
            sample("tch/cpu/bf16", 250),
            sample("mlx/cpu/bf16", 750),
        ]);
        assert_eq!(cases.left(10), Some(Duration::from_secs(20)));
        assert_eq!(cases.left(0), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_left_counts_down_to_nothing() {
        let hour = Duration::from_secs(3600);
        assert_eq!(words(hour, Duration::ZERO), ", about 60 min left");
        assert_eq!(words(hour, hour / 2), ", about 30 min left");
        assert_eq!(words(hour, 2 * hour), "");
    }

    #[test]
    fn times_are_as_exact_as_they_can_be() {
        let shown = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(
            [shown(45), shown(700), shown(11_100)],
            ["45 s", "12 min", "3 h 05 min"]
        );
    }
}
