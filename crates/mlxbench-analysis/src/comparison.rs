//! What changed between two results, row by row, and a gate over all rows.

mod compared;
mod origin;
mod standing;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use mlxbench_core::results::{RunResult, Side, Sides, StreamKernel, TargetId, Test};
use serde::Serialize;

use crate::fingerprint::{Difference, DifferenceKind, differences};
use crate::ranks::{Logs, Resemblance};
use crate::roofline::stream_rate;
use crate::stats::{Estimate, Interval};

pub use compared::Compared;
pub use origin::Origin;
pub use verdict::{Change, FAMILY_CONFIDENCE, Gate, change, possible_rows, rounds_for, tail};

use compared::Figure;
use standing::{Case, case_measured, cases, is_missing};
use verdict::gate;

/// Changes of memory by fewer bytes than these are none, whatever share they are: a process' allocator,
/// threads and libraries take more or less from start to start, and all repetitions of a run share one
/// start.
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
    /// Rows that are judged together: [`FAMILY_CONFIDENCE`] is divided among them.
    pub judged: usize,
    /// How much the repetitions of each figure resemble those before them.
    pub resemblances: BTreeMap<Compared, Resemblance>,
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
    /// The interval that decides: all rows' intervals hold together with [`FAMILY_CONFIDENCE`].
    pub bounds: Option<Interval>,
    /// What follows.
    #[serde(flatten)]
    pub change: Change,
}

/// Compares `new` with `base`, which were measured at different times.
pub fn compare(base: &RunResult, new: &RunResult, options: &Options) -> Comparison {
    Comparing {
        base,
        new,
        paired: false,
        options,
    }
    .compare()
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
        new: &b,
        paired: true,
        options,
    };
    let mut comparison = comparing.compare();
    if let Some(Sides { a, b }) = &result.run.sides {
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
    new: &'a RunResult,
    paired: bool,
    options: &'a Options,
}

/// A row before it is known how many there are.
struct Draft {
    row: ComparedRow,
    /// The figures that are judged.
    logs: Option<Logs>,
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
        let judged = drafts.iter().filter(|draft| draft.logs.is_some()).count();
        let resemblances: BTreeMap<Compared, Resemblance> = self
            .options
            .metrics
            .iter()
            .map(|&metric| {
                let own = drafts.iter().filter(|draft| draft.row.metric == metric);
                let logs = own.filter_map(|draft| draft.logs.as_ref());
                (metric, Resemblance::of(logs))
            })
            .collect();
        let rows: Vec<ComparedRow> = drafts
            .into_iter()
            .map(|draft| {
                let resemblance = resemblances.get(&draft.row.metric).copied();
                self.judge(draft, judged, resemblance.unwrap_or(Resemblance::NONE))
            })
            .collect();
        let names = |of: &RunResult, not_in: &RunResult| -> Vec<String> {
            standing::cases(of)
                .iter()
                .filter(|case| case_measured(of, case) && is_missing(not_in, case))
                .map(|(target, test)| format!("{target} {test}"))
                .collect()
        };
        let vanished = names(base, new);
        let fails = |case: &&Case| !case_measured(base, case) && !case_measured(new, case);
        let failing = cases.iter().filter(fails).filter_map(|case| {
            let (target, test) = case;
            Some(format!("{target} {test}: {}", self.fails_in_both(case)?))
        });
        Comparison {
            failing: failing.collect(),
            base: Origin::of(base),
            new: Origin::of(new),
            paired: self.paired,
            options: self.options.clone(),
            judged,
            resemblances,
            gate: gate(&rows, &vanished),
            rows,
            differences,
            machine_shifts: self.machine_shifts(),
            added: names(new, base),
            vanished,
        }
    }

    fn rows_of(&self, case: &Case, differences: &[Difference]) -> Vec<Draft> {
        let mut metrics = self.options.metrics.clone();
        metrics.sort_unstable();
        metrics.dedup();
        let (target, test) = case;
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
        let gone = || apart("the new result has no such figure");
        let settled = settled.or_else(|| after.is_empty().then(gone));
        let (ratio, logs) = match (&settled, self.paired) {
            (Some(_), _) => (None, None),
            (None, false) => unpaired(&before, &after),
            (None, true) => paired(&before, &after),
        };
        let change = match (settled, &logs) {
            (Some(settled), _) => settled,
            (None, None) => apart("no round has it on both sides"),
            (None, Some(_)) => Change::Inconclusive { repetitions: None },
        };
        Draft {
            row: ComparedRow {
                target: target.clone(),
                test: *test,
                metric,
                base: Estimate::of(&values(&before)),
                new: Estimate::of(&values(&after)),
                ratio,
                bounds: None,
                change,
            },
            logs,
        }
    }

    fn judge(
        &self,
        Draft { mut row, logs }: Draft,
        judged: usize,
        resemblance: Resemblance,
    ) -> ComparedRow {
        let (Some(logs), Some(ratio), Some(base)) = (logs, row.ratio, row.base) else {
            return row;
        };
        let threshold = self.options.threshold_of(row.metric, base.median);
        let bounds = logs
            .bounds(tail(judged))
            .resembling(resemblance, ratio.median);
        row.bounds = bounds.interval;
        row.change = change(
            &bounds,
            ratio.median,
            threshold,
            row.metric.higher_is_better(),
        );
        row
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

fn values(figures: &[Figure]) -> Vec<f64> {
    figures.iter().map(|figure| figure.value).collect()
}

fn unpaired(base: &[Figure], new: &[Figure]) -> (Option<Estimate>, Option<Logs>) {
    let (base, new) = (values(base), values(new));
    (Estimate::of_ratio(&new, &base), Logs::unpaired(&base, &new))
}

fn paired(base: &[Figure], new: &[Figure]) -> (Option<Estimate>, Option<Logs>) {
    let ratio = |before: &Figure| {
        let after = new.iter().find(|after| after.round == before.round)?;
        Some(after.value / before.value)
    };
    let ratios: Vec<f64> = base.iter().filter_map(ratio).collect();
    (Estimate::of(&ratios), Logs::paired(&ratios))
}
