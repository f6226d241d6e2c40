//! Which figures are compared.

use mlxbench_core::results::{Metric, RunResult, Sample, TargetId, Test};
use serde::Serialize;

use crate::metrics;
use crate::stats::{fewest_for_percentile, percentile, sorted};

/// A figure that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compared {
    /// [`Metric::Decode`].
    Decode,
    /// [`Metric::Prefill`].
    Prefill,
    /// [`Metric::Ttft`]: of a test with a prompt the inverse of its prefill rate.
    Ttft,
    /// The 99th percentile of the inter-token latencies of each repetition that has
    /// [enough of them](crate::stats::fewest_for_percentile): 368.
    LatencyP99,
    /// The most memory that was held in a repetition, by the process or on its device.
    Memory,
    /// [`Metric::EnergyPerToken`].
    Energy,
    /// [`Metric::Throughput`].
    Throughput,
    /// [`Metric::Goodput`].
    Goodput,
    /// [`Metric::Training`].
    Training,
    /// [`Metric::WarmTtft`].
    WarmTtft,
    /// [`Metric::Overall`].
    Overall,
}

impl Compared {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Decode,
        Self::Prefill,
        Self::Ttft,
        Self::LatencyP99,
        Self::Memory,
        Self::Energy,
        Self::Training,
        Self::Throughput,
        Self::Goodput,
        Self::WarmTtft,
        Self::Overall,
    ];

    /// Those that are compared unless somebody says otherwise: without the time to first token, which of generations
    /// says what prefill says, and of other tests is compared, too.
    pub const DEFAULT: [Self; 10] = [
        Self::Decode,
        Self::Prefill,
        Self::LatencyP99,
        Self::Memory,
        Self::Energy,
        Self::Training,
        Self::Throughput,
        Self::Goodput,
        Self::WarmTtft,
        Self::Overall,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
            Self::Ttft => "ttft",
            Self::LatencyP99 => "latency-p99",
            Self::Memory => "memory",
            Self::Energy => "energy",
            Self::Training => "training",
            Self::Throughput => "throughput",
            Self::Goodput => "goodput",
            Self::WarmTtft => "warm-ttft",
            Self::Overall => "overall",
        }
    }

    /// Whether more of it is better.
    pub fn higher_is_better(self) -> bool {
        matches!(
            self,
            Self::Decode
                | Self::Prefill
                | Self::Training
                | Self::Throughput
                | Self::Goodput
                | Self::Overall
        )
    }

    /// Why no repetition of these tests can have it, in words; `None` where one may.
    pub fn lacking<'a>(self, tests: impl IntoIterator<Item = &'a Test>) -> Option<String> {
        let metric = match self {
            Self::Decode => Metric::Decode,
            Self::Prefill => Metric::Prefill,
            Self::Ttft => Metric::Ttft,
            Self::LatencyP99 => Metric::InterToken,
            Self::Memory => Metric::PeakMemory,
            Self::Energy => Metric::EnergyPerToken,
            Self::Training => Metric::Training,
            Self::Throughput => Metric::Throughput,
            Self::Goodput => Metric::Goodput,
            Self::WarmTtft => Metric::WarmTtft,
            Self::Overall => Metric::Overall,
        };
        let mut own = tests.into_iter().filter(|test| test.yields(metric));
        let name = self.name();
        if self != Self::LatencyP99 {
            return own.next().is_none().then(|| format!("no test has {name}"));
        }
        let fewest = fewest_for_percentile(99);
        let steps = |test: &Test| test.steps() * test.as_chat().map_or(1, |chat| chat.turns);
        let why =
            || format!("no test has the {fewest} decode steps a repetition that {name} takes");
        (!own.any(|test| steps(test) >= fewest)).then(why)
    }

    /// What each repetition of a case measured, in the unit of its [`Metric`]; nothing for figures that
    /// aren't positive, which have no ratio.
    pub(super) fn figures(self, result: &RunResult, target: &TargetId, test: &Test) -> Vec<Figure> {
        let figure = |sample: &Sample| {
            let value = self
                .of(result, target, sample)
                .filter(|value| *value > 0.0)?;
            let round = sample.repetition;
            Some(Figure { round, value })
        };
        result.samples_of(target, test).filter_map(figure).collect()
    }

    /// Whether a case has the figure, and it is 0 throughout, where more of it is better: nothing met the goal.
    pub(super) fn is_nothing(self, result: &RunResult, target: &TargetId, test: &Test) -> bool {
        let samples = result.samples_of(target, test);
        let values: Vec<f64> = samples
            .filter_map(|sample| self.of(result, target, sample))
            .collect();
        self.higher_is_better() && !values.is_empty() && values.iter().all(|value| *value == 0.0)
    }

    /// What a repetition measured.
    fn of(self, result: &RunResult, target: &TargetId, sample: &Sample) -> Option<f64> {
        let idle = metrics::idle_watts(result, target);
        let of = |metric: Metric, sample: &Sample| metrics::of_sample(metric, sample, idle);
        match self {
            Self::Decode => of(Metric::Decode, sample),
            Self::Prefill => of(Metric::Prefill, sample),
            Self::Ttft => of(Metric::Ttft, sample),
            Self::LatencyP99 => {
                let latencies = metrics::inter_token(sample).map(|time| time.0 as f64);
                percentile(&sorted(&latencies.collect::<Vec<f64>>()), 99)
            }
            Self::Memory => {
                let held =
                    [Metric::PeakMemory, Metric::DevicePeak].map(|metric| of(metric, sample));
                held.into_iter().flatten().reduce(f64::max)
            }
            Self::Energy => of(Metric::EnergyPerToken, sample),
            Self::Training => of(Metric::Training, sample),
            Self::Throughput => of(Metric::Throughput, sample),
            Self::Goodput => of(Metric::Goodput, sample),
            Self::WarmTtft => of(Metric::WarmTtft, sample),
            Self::Overall => of(Metric::Overall, sample),
        }
    }

    /// The same by the worker processes that ran the repetitions, in the order in which these were started.
    pub(super) fn by_process(
        self,
        result: &RunResult,
        target: &TargetId,
        test: &Test,
    ) -> Vec<Vec<f64>> {
        let figures = self.figures(result, target, test);
        let of = |samples: Vec<&Sample>| {
            let own = figures
                .iter()
                .filter(|figure| samples.iter().any(|s| s.repetition == figure.round));
            own.map(|figure| figure.value).collect::<Vec<f64>>()
        };
        let processes = result.processes_of(target, test).into_values().map(of);
        processes.filter(|own| !own.is_empty()).collect()
    }
}

/// What one repetition measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figure {
    /// The repetition's number.
    pub(super) round: usize,
    pub(super) value: f64,
}
