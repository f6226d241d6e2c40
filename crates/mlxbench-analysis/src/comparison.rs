//! What changed between two results, row by row, and a gate over all rows.

mod compared;
mod judging;
mod measured;
mod origin;
mod standing;
#[cfg(test)]
mod tests;
mod too_few;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use mlxbench_core::results::{
    ROUNDS_OF_BLOCK, RunResult, Side, Sides, Stopped, StreamKernel, TargetId, Test,
};
use serde::Serialize;

use crate::evidence::{Needed, Place, Resemblance, RunSpread, Samples};
use crate::fingerprint::{Difference, DifferenceKind, differences};
use crate::roofline::stream_rate;
use crate::stats::{Estimate, Interval};

pub use compared::Compared;
pub use origin::Origin;
pub use too_few::{ENOUGH_REPETITIONS, TooFew};
pub use verdict::{Change, Gate, change};

use measured::{Measured, of_metric, paired, rounds_of_block, unpaired};
use standing::{Case, case_measured, cases, is_missing};
use too_few::Counted;
use verdict::gate;

/// Changes of memory by fewer bytes than these are none, whatever share they are: a process' allocator,
/// threads and libraries take more or less from start to start, and repetitions share a few starts.
pub const LEAST_MEMORY_BYTES: f64 = (16 << 20) as f64;

/// What is compared, and what counts as a change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Options {
    /// Changes of at most this share are none: 0.05.
    pub threshold: f64,
    /// The same for [`Compared::Memory`].
    pub memory_threshold: f64,
    /// Which figures.
    pub metrics: Vec<Compared>,
    /// What may differ between the results, because it is what is to be compared.
    pub across: Vec<DifferenceKind>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threshold: 0.05,
            memory_threshold: 0.05,
            metrics: Compared::DEFAULT.into(),
            across: Vec::new(),
        }
    }
}

impl Options {
    /// The share of `base` that is no change.
    pub fn threshold_of(&self, metric: Compared, base: f64) -> f64 {
        match metric {
            Compared::Memory => self.memory_threshold.max(LEAST_MEMORY_BYTES / base),
            _ => self.threshold,
        }
    }
}

/// Two results, row by row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What it was compared with.
    pub base: Origin,
    /// What was compared.
    pub new: Origin,
    /// Whether both were measured in one run, round by round.
    pub paired: bool,
    /// What was asked.
    pub options: Options,
    /// A row for each target, test and figure that both have, in the new result's order, and for each case
    /// that only one of them failed at.
    pub rows: Vec<ComparedRow>,
    /// Rows that are judged: [`LEVEL`](crate::evidence::LEVEL) is that of all of them together but those of memory, and
    /// that of those.
    pub judged: usize,
    /// Where repetitions are so few that no row of a kind could be decided beside the others.
    pub too_few: Option<TooFew>,
    /// Whether one of two runs had a single process of a target, whose luck can't be told from a change.
    pub single_process: bool,
    /// What ended a run of two sides that is measured until it is decided.
    pub stopped: Option<Stopped>,
    /// How much the repetitions of each figure resemble those before them.
    pub resemblances: BTreeMap<Compared, Resemblance>,
    /// How much runs of the base differ in each figure.
    pub spreads: BTreeMap<Compared, RunSpread>,
    /// Runs that the base is made of.
    pub base_runs: usize,
    /// Runs of the base that were measured in other circumstances than the newest, and say nothing here.
    pub left_out: usize,
    /// What isn't the same in both.
    pub differences: Vec<Difference>,
    /// What the machine itself did, without any framework, that lies apart by more than the threshold.
    pub machine_shifts: Vec<MachineShift>,
    /// Cases that only the new result has: `candle/cpu/f32 pp64+tg16`.
    pub added: Vec<String>,
    /// Cases that only the base has.
    pub vanished: Vec<String>,
    /// Cases of which neither has a single repetition, and why: `tch/cuda/bf16 pp64+tg16: missing: no
    /// worker`. They say nothing of what changed.
    pub failing: Vec<String>,
    /// Why figures that were asked for by name are in no row: `energy was not measured in both`.
    pub unmeasured: Vec<String>,
    /// What it all comes to.
    pub gate: Gate,
}

/// How fast the machine read and wrote memory, without any framework.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineShift {
    /// Which probe: `STREAM read`.
    pub what: String,
    /// New over base.
    pub ratio: f64,
}

/// A target's figure in a test, in both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedRow {
    /// Which target.
    pub target: TargetId,
    /// Which test.
    pub test: Test,
    /// Which figure.
    pub metric: Compared,
    /// In the base.
    pub base: Option<Estimate>,
    /// In the new result.
    pub new: Option<Estimate>,
    /// New over base: the ratio of the medians, with its 95 % interval; of pairs the median of their
    /// ratios.
    pub ratio: Option<Estimate>,
    /// The interval that says what was decided, as [`Judged::interval`](crate::evidence::Judged::interval) tells.
    pub bounds: Option<Interval>,
    /// What follows.
    #[serde(flatten)]
    pub change: Change,
}

impl Comparison {
    /// Whether no case of the base is in the new result, neither measured nor failed.
    pub fn shares_nothing(&self) -> bool {
        let nothing = self.rows.is_empty() && self.failing.is_empty();
        nothing && self.unmeasured.is_empty() && !self.vanished.is_empty()
    }
}

/// Compares `new` with `base`, which were measured at different times.
pub fn compare(base: &RunResult, new: &RunResult, options: &Options) -> Comparison {
    compare_runs(base, &[], new, options)
}

/// The same with a base of several runs: `base`, whose machine's state is compared, and those of the `earlier` ones that
/// were measured alike. Their figures count alike, and tell how much runs differ.
pub fn compare_runs(
    base: &RunResult,
    earlier: &[RunResult],
    new: &RunResult,
    options: &Options,
) -> Comparison {
    let alike = |run: &&RunResult| differences(run, base).is_empty();
    let alike: Vec<&RunResult> = earlier.iter().filter(alike).collect();
    let left_out = earlier.len() - alike.len();
    let comparing = Comparing {
        base,
        earlier: alike,
        new,
        paired: false,
        options,
    };
    Comparison {
        left_out,
        ..comparing.compare()
    }
}

/// Compares side b of a run with its side a. `None` when the run has no such sides.
pub fn compare_sides(result: &RunResult, options: &Options) -> Option<Comparison> {
    if result
        .run
        .targets
        .iter()
        .all(|target| target.side.is_none())
    {
        return None;
    }
    let [a, b] = Side::BOTH.map(|side| one_side(result, side));
    let comparing = Comparing {
        base: &a,
        earlier: Vec::new(),
        new: &b,
        paired: true,
        options,
    };
    let mut comparison = comparing.compare();
    if let Some(Sides { a, b, .. }) = &result.run.sides {
        comparison.base.command = Some(a.clone());
        comparison.new.command = Some(b.clone());
    }
    Some(comparison)
}

/// What a run says of one side, as if it were a run of its own.
fn one_side(result: &RunResult, side: Side) -> RunResult {
    let mut one = result.clone();
    let keep = |target: &mut TargetId| {
        let keep = target.side == Some(side);
        target.side = None;
        keep
    };
    one.run.targets.retain_mut(keep);
    one.targets.retain_mut(|known| keep(&mut known.id));
    one.equivalences.retain_mut(|known| keep(&mut known.target));
    one.products.retain_mut(|known| keep(&mut known.target));
    one.warmups.retain_mut(|known| keep(&mut known.target));
    one.samples.retain_mut(|known| keep(&mut known.target));
    one.failures.retain_mut(|known| keep(&mut known.target));
    one
}

/// Two results while they are compared.
struct Comparing<'a> {
    base: &'a RunResult,
    earlier: Vec<&'a RunResult>,
    new: &'a RunResult,
    paired: bool,
    options: &'a Options,
}

/// A row before it is known how many there are.
struct Draft {
    row: ComparedRow,
    /// What is judged.
    measured: Option<Measured>,
}

impl Comparing<'_> {
    fn compare(&self) -> Comparison {
        let (base, new) = (self.base, self.new);
        let mut differences = differences(base, new);
        if self.paired {
            differences.retain(|known| known.kind == DifferenceKind::Versions);
        }
        let cases = cases(new);
        let drafts: Vec<Draft> = cases
            .iter()
            .filter(|case| !is_missing(base, case) && !is_missing(new, case))
            // What failed in both from the start is named, and has no row.
            .filter(|case| case_measured(base, case) || case_measured(new, case))
            .flat_map(|case| self.rows_of(case, &differences))
            .collect();
        let mut rows = Vec::new();
        let (mut apart, mut together) = (Vec::new(), Vec::new());
        for Draft { row, measured } in drafts {
            match measured {
                Some(Measured::Apart(samples)) => apart.push((rows.len(), samples)),
                Some(Measured::Together(pairs)) => together.push((rows.len(), pairs)),
                None => {}
            }
            rows.push(row);
        }
        let judged = apart.iter().map(|(at, _)| *at);
        let judged = judged.chain(together.iter().map(|(at, _)| *at));
        let judged: Vec<usize> = judged.collect();
        let metrics: BTreeSet<Compared> = rows.iter().map(|row| row.metric).collect();
        let resemblances: BTreeMap<Compared, Resemblance> = metrics
            .iter()
            .map(|&metric| (metric, Resemblance::of(of_metric(&apart, &rows, metric))))
            .collect();
        let spreads: BTreeMap<Compared, RunSpread> = resemblances
            .keys()
            .map(|&metric| (metric, RunSpread::of(of_metric(&apart, &rows, metric))))
            .collect();
        let resembling = |(at, samples): (usize, Samples)| {
            let metric = &rows[at].metric;
            let resembling = samples.resembling(resemblances[metric]);
            (at, resembling.spread(spreads[metric]))
        };
        let apart = apart.into_iter().map(resembling).collect();
        let hopeless = match self.paired {
            true => self.judge(&mut rows, together),
            false => self.judge(&mut rows, apart),
        };
        let counted: Vec<Counted<'_>> = judged.iter().map(|&at| self.counted(&rows[at])).collect();
        let too_few = TooFew::of(hopeless, &counted);
        let names = |of: &RunResult, not_in: &RunResult| -> Vec<String> {
            standing::cases(of)
                .iter()
                .filter(|case| case_measured(of, case) && is_missing(not_in, case))
                .map(|(target, test)| format!("{target} {test}"))
                .collect()
        };
        let vanished = names(base, new);
        let asked = self.options.metrics.iter().copied();
        let asked = asked.filter(|_| self.options.metrics != Compared::DEFAULT);
        let unmeasured = asked.filter(|metric| !metrics.contains(metric));
        let why = |metric: Compared| {
            let not = || format!("{} was not measured in both", metric.name());
            metric.lacking(&new.run.tests).unwrap_or_else(not)
        };
        let unmeasured: Vec<String> = unmeasured.map(why).collect();
        let fails = |case: &&Case| !case_measured(base, case) && !case_measured(new, case);
        let failing = cases.iter().filter(fails).filter_map(|case| {
            let (target, test) = case;
            Some(format!("{target} {test}: {}", self.fails_in_both(case)?))
        });
        let single = |run: &RunResult| {
            let mut own = standing::cases(run).into_iter();
            own.any(|(target, test)| run.processes_of(&target, &test).len() == 1)
        };
        Comparison {
            failing: failing.collect(),
            base: Origin::of(base),
            new: Origin::of(new),
            paired: self.paired,
            options: self.options.clone(),
            judged: judged.len(),
            too_few,
            single_process: !self.paired && (single(base) || single(new)),
            stopped: self.stopped(),
            resemblances,
            spreads,
            base_runs: 1 + self.earlier.len(),
            left_out: 0,
            gate: gate(&rows, vanished.is_empty() && unmeasured.is_empty()),
            rows,
            unmeasured,
            differences,
            machine_shifts: self.machine_shifts(),
            added: names(new, base),
            vanished,
        }
    }

    fn rows_of(&self, case: &Case, differences: &[Difference]) -> Vec<Draft> {
        let (target, test) = case;
        let mut metrics = self.options.metrics.clone();
        // Where no prefill says the same.
        if metrics == Compared::DEFAULT && !matches!(test, Test::Generate(_)) {
            metrics.push(Compared::Ttft);
        }
        metrics.sort_unstable();
        metrics.dedup();
        let has = |metric: &Compared| !metric.figures(self.base, target, test).is_empty();
        let settled = self.settled(case, differences);
        let mut shown: Vec<Compared> = metrics.iter().copied().filter(has).collect();
        if let Some(Change::Broken { .. }) = settled {
            shown.truncate(1); // What failed, failed as a whole.
        }
        if settled.is_some() && shown.is_empty() {
            // It is told whatever was asked for.
            shown.extend(metrics.first());
        }
        let draft = |metric| self.draft(case, metric, settled.clone());
        shown.into_iter().map(draft).collect()
    }

    fn draft(&self, (target, test): &Case, metric: Compared, settled: Option<Change>) -> Draft {
        let before = metric.figures(self.base, target, test);
        let after = metric.figures(self.new, target, test);
        let apart = |reason: &str| Change::NotComparable {
            reason: reason.to_owned(),
        };
        let gone = || match metric.is_nothing(self.new, target, test) {
            true => Change::Broken {
                reason: "it fell to 0".into(),
            },
            false => apart("the new result has no such figure"),
        };
        let settled = settled.or_else(|| after.is_empty().then(gone));
        let (shown, ratio, measured) = match self.paired {
            true => paired(&before, &after, rounds_of_block(self.new)),
            false => {
                let by_process = |run| metric.by_process(run, target, test);
                let earlier = self.earlier.iter().map(|run| by_process(run));
                let base: Vec<_> = earlier.chain([by_process(self.base)]).collect();
                unpaired(&base, &by_process(self.new))
            }
        };
        // What can't be compared has no ratio.
        let (ratio, measured) = match settled {
            Some(_) => (None, None),
            None => (ratio, measured),
        };
        let [base, new] = shown;
        let change = match (settled, &measured) {
            (Some(settled), _) => settled,
            (None, None) => apart("no block of rounds has it on both sides"),
            (None, Some(_)) => change(Place::Open, Needed::TooMany),
        };
        Draft {
            row: ComparedRow {
                target: target.clone(),
                test: *test,
                metric,
                base,
                new,
                ratio,
                bounds: None,
                change,
            },
            measured,
        }
    }

    /// The last test that was ended, of a run of two sides.
    fn stopped(&self) -> Option<Stopped> {
        let sequential = self.paired && rounds_of_block(self.new) == ROUNDS_OF_BLOCK;
        let last = self.new.stopped.last().filter(|_| sequential);
        last.cloned()
    }

    /// What the machine's own limits say of the machine.
    fn machine_shifts(&self) -> Vec<MachineShift> {
        if self.paired {
            return Vec::new();
        }
        let fastest = |result: &RunResult, kernel: StreamKernel| {
            let probes = result.streams.iter();
            let probes = probes.filter(|probe| probe.kernel == kernel);
            probes.filter_map(stream_rate).max_by(f64::total_cmp)
        };
        let shifts = [StreamKernel::Read, StreamKernel::Triad].into_iter();
        let shifts = shifts.filter_map(|kernel| {
            Some(MachineShift {
                what: format!("STREAM {}", kernel.name()),
                ratio: fastest(self.new, kernel)? / fastest(self.base, kernel)?,
            })
        });
        let beyond = |shift: &MachineShift| (shift.ratio - 1.0).abs() > self.options.threshold;
        shifts.filter(beyond).collect()
    }
}
