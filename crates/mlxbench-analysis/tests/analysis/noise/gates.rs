//! Gates over rows whose noise is known.

use mlxbench_analysis::Change;
use mlxbench_analysis::comparison::{change, tail};
use mlxbench_analysis::ranks::{Logs, MOST_PLANNED, Resemblance};
use mlxbench_analysis::stats::{quantile, sorted};

use crate::noise::Noise;

const ROWS: usize = 40;
const THRESHOLD: f64 = 0.05;
const SLOWER: f64 = 0.9;

/// What disturbs a rate, all as shares of it.
#[derive(Clone, Copy)]
pub(crate) struct Disturbance {
    pub(crate) name: &'static str,
    /// Each repetition for itself: standard deviation.
    own: f64,
    /// What outlives a repetition: standard deviation, and how much of it is left one repetition later.
    lasting: (f64, f64),
    /// A slow mode: by how much, and how likely it is to begin and to end with a repetition.
    mode: (f64, f64, f64),
    /// What the rate loses from the first repetition to the last.
    drift: f64,
    /// What two runs differ by: standard deviation, the same for all rows of a run.
    run: f64,
}

const STEADY: Disturbance = Disturbance {
    name: "independent, 2 %",
    own: 0.02,
    lasting: (0.0, 0.0),
    mode: (0.0, 0.0, 1.0),
    drift: 0.0,
    run: 0.0,
};

/// What is simulated.
pub(crate) const NOISES: [Disturbance; 6] = [
    STEADY,
    Disturbance {
        name: "autocorrelated, 2 %, half of it left after a repetition",
        own: 0.005,
        lasting: (0.02, 0.5),
        ..STEADY
    },
    Disturbance {
        name: "bimodal: 8 % slower for about three repetitions at a time, a quarter of all",
        own: 0.01,
        mode: (0.08, 0.11, 0.33),
        ..STEADY
    },
    Disturbance {
        name: "drift: 6 % slower at the end of a run, 1 % of noise",
        own: 0.01,
        drift: 0.06,
        ..STEADY
    },
    Disturbance {
        name: "all of these, each half as strong",
        own: 0.01,
        lasting: (0.01, 0.5),
        mode: (0.04, 0.11, 0.33),
        drift: 0.03,
        ..STEADY
    },
    Disturbance {
        name: "a shared machine: all of these, and runs that differ by 4 %",
        own: 0.01,
        lasting: (0.01, 0.5),
        mode: (0.04, 0.11, 0.33),
        drift: 0.03,
        run: 0.04,
    },
];

impl Disturbance {
    /// The rates of a row in so many turns, one after the other.
    fn rates(&self, turns: usize, run: f64, noise: &mut Noise) -> Vec<f64> {
        let (deviation, left) = self.lasting;
        let (slower, begins, ends) = self.mode;
        let mut lasting = noise.normal();
        let mut slow = noise.uniform() < begins / (begins + ends);
        let rate = |turn: usize| {
            let rate = run + self.own * noise.normal() + deviation * lasting
                - self.drift * turn as f64 / turns as f64;
            let mode = if slow { 1.0 - slower } else { 1.0 };
            lasting = left * lasting + (1.0 - left * left).sqrt() * noise.normal();
            slow = noise.uniform() < if slow { 1.0 - ends } else { begins };
            mode * rate.exp()
        };
        (0..turns).map(rate).collect()
    }
}

/// How two builds are measured.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// Each in a run of its own.
    Unpaired,
    /// In one run, in turns whose order is drawn in each round.
    Paired,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unpaired => "two runs",
            Self::Paired => "`--ab`",
        }
    }
}

/// What came of it. Rows of gates of builds that are slower are counted each for itself.
#[derive(Default)]
pub(crate) struct Seen {
    /// Gates that failed for builds that are the same.
    pub(crate) false_alarms: usize,
    /// Rows that were 10 % slower.
    pub(crate) slowed: usize,
    pub(crate) called: usize,
    pub(crate) same: usize,
    pub(crate) inconclusive: usize,
    /// The median of the repetitions that inconclusive rows asked for.
    pub(crate) asked_for: Option<usize>,
    /// Inconclusive rows that were measured again with as many repetitions as they asked for.
    pub(crate) tried_again: usize,
    pub(crate) then_called: usize,
    pub(crate) then_same: usize,
}

/// So many gates of builds that are the same, and a tenth as many where all rows of one are 10 %
/// slower; a twentieth as many again with as many repetitions as inconclusive rows asked for.
pub(crate) fn simulate(of: Disturbance, mode: Mode, repetitions: usize, gates: usize) -> Seen {
    let mut noise = Noise::seeded(11);
    let mut seen = Seen::default();
    for _ in 0..gates {
        let rows = gate(of, mode, repetitions, 1.0, &mut noise);
        if rows.contains(&Change::Worse) {
            seen.false_alarms += 1;
        }
    }
    let mut asked = Vec::new();
    for _ in 0..gates / 10 {
        for row in gate(of, mode, repetitions, SLOWER, &mut noise) {
            seen.slowed += 1;
            match row {
                Change::Worse => seen.called += 1,
                Change::Same => seen.same += 1,
                Change::Inconclusive { repetitions } => {
                    seen.inconclusive += 1;
                    asked.push(repetitions.unwrap_or(usize::MAX));
                }
                _ => {}
            }
        }
    }
    let mut ascending = asked.clone();
    ascending.sort_unstable();
    seen.asked_for = ascending.get(ascending.len() / 2).copied();
    // Spread out: rows of one gate resemble each other.
    let again = gates / 20;
    let spread = asked.iter().step_by((asked.len() / again).max(1));
    for &repetitions in spread.filter(|&&repetitions| repetitions <= MOST_PLANNED) {
        // The row that asked, among others.
        let rows = gate(of, mode, repetitions, SLOWER, &mut noise);
        seen.tried_again += rows.len();
        seen.then_called += rows.iter().filter(|row| **row == Change::Worse).count();
        seen.then_same += rows.iter().filter(|row| **row == Change::Same).count();
    }
    seen
}

/// What a gate says of its rows, when their new sides are `factor` times as fast.
fn gate(
    of: Disturbance,
    mode: Mode,
    repetitions: usize,
    factor: f64,
    noise: &mut Noise,
) -> Vec<Change> {
    let runs = [noise.normal(), noise.normal()];
    let rows: Vec<(f64, Logs)> = (0..ROWS)
        .map(|_| row(of, mode, repetitions, factor, runs, noise))
        .collect();
    let resemblance = Resemblance::of(rows.iter().map(|(_, logs)| logs));
    let judge = |(ratio, logs): (f64, Logs)| {
        let bounds = logs.bounds(tail(ROWS)).resembling(resemblance, ratio);
        change(&bounds, ratio, THRESHOLD, true)
    };
    rows.into_iter().map(judge).collect()
}

/// The ratio of a row whose new side is `factor` times as fast, and its repetitions.
fn row(
    of: Disturbance,
    mode: Mode,
    repetitions: usize,
    factor: f64,
    runs: [f64; 2],
    noise: &mut Noise,
) -> (f64, Logs) {
    let median = |figures: &[f64]| quantile(&sorted(figures), 0.5).unwrap_or(f64::NAN);
    let (ratio, logs) = match mode {
        Mode::Unpaired => {
            let [base, new] = runs.map(|run| of.rates(repetitions, of.run * run, noise));
            let new: Vec<f64> = new.into_iter().map(|rate| rate * factor).collect();
            (median(&new) / median(&base), Logs::unpaired(&base, &new))
        }
        Mode::Paired => {
            let turns = of.rates(2 * repetitions, of.run * runs[0], noise);
            let ratio = |round: &[f64]| match noise.uniform() < 0.5 {
                true => factor * round[1] / round[0],
                false => factor * round[0] / round[1],
            };
            let ratios: Vec<f64> = turns.chunks(2).map(ratio).collect();
            (median(&ratios), Logs::paired(&ratios))
        }
    };
    (ratio, logs.expect("rates are positive"))
}
