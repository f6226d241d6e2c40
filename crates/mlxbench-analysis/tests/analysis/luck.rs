//! Experiments whose worker processes differ by luck, and how often intervals cover the true figure.

use mlxbench_analysis::stats::{quantile, sorted};
use mlxbench_analysis::{Estimate, Interval};

use crate::noise::Noise;

/// How repetitions of one process differ, and processes from each other, as shares of the figure.
#[derive(Clone, Copy)]
pub(crate) struct Luck {
    pub(crate) name: &'static str,
    /// Standard deviation between processes.
    pub(crate) between: f64,
    /// Of all processes, so many are slower by so much.
    slow_process: (f64, f64),
    /// Standard deviation between repetitions of a process.
    pub(crate) within: f64,
    /// Of all repetitions, so many take so many times as long.
    outliers: (f64, f64),
    /// Whether repetitions have a tail to one side, as an exponential distribution has.
    skewed: bool,
}

const PLAIN: Luck = Luck {
    name: "",
    between: 0.0,
    slow_process: (0.0, 0.0),
    within: 0.0,
    outliers: (0.0, 1.0),
    skewed: false,
};

/// What the bar is set for: luck of 5 % and none, noise of 2, 5 and 10 %.
pub(crate) const LUCK: [Luck; 6] = [
    plain("no luck, 2 % of noise", 0.0, 0.02),
    plain("no luck, 5 %", 0.0, 0.05),
    plain("no luck, 10 %", 0.0, 0.1),
    plain("luck of 5 %, 2 % of noise", 0.05, 0.02),
    plain("luck of 5 %, 5 %", 0.05, 0.05),
    plain("luck of 5 %, 10 %", 0.05, 0.1),
];

/// Noise that isn't normal.
pub(crate) const SHAPES: [Luck; 3] = [
    Luck {
        name: "luck of 5 %, 5 % with a tail to one side",
        skewed: true,
        ..plain("", 0.05, 0.05)
    },
    Luck {
        name: "luck of 5 %, 5 %, one repetition in 20 takes twice as long",
        outliers: (0.05, 2.0),
        ..plain("", 0.05, 0.05)
    },
    Luck {
        name: "2 %, one process in five is 20 % slower",
        slow_process: (0.2, 0.2),
        ..plain("", 0.0, 0.02)
    },
];

const fn plain(name: &'static str, between: f64, within: f64) -> Luck {
    Luck {
        name,
        between,
        within,
        ..PLAIN
    }
}

impl Luck {
    /// The times of `repetitions` in each of `processes`.
    pub(crate) fn times(
        &self,
        processes: usize,
        repetitions: usize,
        noise: &mut Noise,
    ) -> Vec<Vec<f64>> {
        let process = |_| self.process(repetitions, noise);
        (0..processes).map(process).collect()
    }

    fn process(&self, repetitions: usize, noise: &mut Noise) -> Vec<f64> {
        let (share, slower) = self.slow_process;
        let slow = if noise.uniform() < share { slower } else { 0.0 };
        let process = self.between * noise.normal() + slow;
        let (share, longer) = self.outliers;
        let repetition = |_| {
            let own = match self.skewed {
                true => -(1.0 - noise.uniform()).ln(),
                false => noise.normal(),
            };
            let outlier = if noise.uniform() < share { longer } else { 1.0 };
            outlier * (process + self.within * own).exp()
        };
        (0..repetitions).map(repetition).collect()
    }

    /// The median of one repetition of any process.
    fn true_median(&self) -> f64 {
        let mut noise = Noise::seeded(1);
        let times = self.times(200_001, 1, &mut noise).concat();
        quantile(&sorted(&times), 0.5).expect("there are some")
    }
}

/// How an interval is made of the repetitions of several processes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Method {
    /// As if all repetitions were of one process.
    Pooled,
    /// The percentiles of medians of resampled repetitions of resampled processes.
    Resampled,
    /// [`Estimate::of_processes`].
    Processes,
}

/// How often the intervals of `experiments` cover the true median, and the median of their half-widths, as shares.
pub(crate) fn coverage(
    luck: Luck,
    (processes, repetitions): (usize, usize),
    method: Method,
    experiments: usize,
) -> (f64, f64) {
    let truth = luck.true_median();
    let (mut noise, mut draws) = (Noise::seeded(7), Noise::seeded(8));
    let mut covered = 0;
    let mut widths = Vec::new();
    for _ in 0..experiments {
        let times = luck.times(processes, repetitions, &mut noise);
        let interval = match method {
            Method::Pooled => Estimate::of(&times.concat()).and_then(|all| all.interval),
            Method::Resampled => Some(resampled(&times, &mut draws)),
            Method::Processes => Estimate::of_processes(&times).and_then(|all| all.interval),
        };
        if let Some(Interval { low, high }) = interval {
            covered += usize::from(low <= truth && truth <= high);
            widths.push((high - low) / 2.0 / truth);
        }
    }
    let width = quantile(&sorted(&widths), 0.5).unwrap_or(f64::NAN);
    (covered as f64 / experiments as f64, width)
}

/// How often intervals cover the true median where repetitions go on, in one process after the other, until half of the
/// interval is at most the share `narrow` of the median, or `most` processes have run; and the mean of how many have.
pub(crate) fn coverage_once_narrow(
    luck: Luck,
    (processes, repetitions): (usize, usize),
    narrow: f64,
    most: usize,
    experiments: usize,
) -> (f64, f64) {
    let truth = luck.true_median();
    let mut noise = Noise::seeded(10);
    let (mut covered, mut ran) = (0, 0);
    for _ in 0..experiments {
        let mut times = luck.times(processes, repetitions, &mut noise);
        let interval = loop {
            let estimate = Estimate::of_processes(&times).expect("there are some");
            let interval = estimate.interval.expect("of several processes");
            let reach = (interval.high - estimate.median).max(estimate.median - interval.low);
            if reach <= narrow * estimate.median || times.len() == most {
                break interval;
            }
            times.extend(luck.times(1, repetitions, &mut noise));
        };
        covered += usize::from(interval.low <= truth && truth <= interval.high);
        ran += times.len();
    }
    let share = |count: usize| count as f64 / experiments as f64;
    (share(covered), share(ran))
}

/// How often the interval of the ratio of two experiments alike covers 1.
pub(crate) fn ratio_coverage(
    luck: Luck,
    (processes, repetitions): (usize, usize),
    experiments: usize,
) -> f64 {
    let mut noise = Noise::seeded(9);
    let covers = |_: &usize| {
        let mut times = || luck.times(processes, repetitions, &mut noise);
        let ratio = Estimate::of_ratio_of_processes(&times(), &times());
        let interval = ratio.and_then(|ratio| ratio.interval);
        interval.is_some_and(|Interval { low, high }| low <= 1.0 && 1.0 <= high)
    };
    (0..experiments).filter(covers).count() as f64 / experiments as f64
}

/// The hierarchical bootstrap's percentile interval.
fn resampled(times: &[Vec<f64>], draws: &mut Noise) -> Interval {
    const RESAMPLES: usize = 400;
    let mut below = |n: usize| (draws.uniform() * n as f64) as usize;
    let mut median = |_| {
        let mut all = Vec::new();
        for _ in times {
            let process = &times[below(times.len())];
            all.extend(process.iter().map(|_| process[below(process.len())]));
        }
        quantile(&sorted(&all), 0.5).expect("there are some")
    };
    let medians = sorted(&(0..RESAMPLES).map(&mut median).collect::<Vec<f64>>());
    let end = |p| quantile(&medians, p).expect("there are some");
    Interval {
        low: end(0.025),
        high: end(0.975),
    }
}
