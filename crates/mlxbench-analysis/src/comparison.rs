//! What changed between two results, row by row, and a gate over all rows.

mod compared;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use jiff::Timestamp;
use mlxbench_core::results::{RunResult, Side, Sides, StreamKernel, TargetId, Test, Verdict};
use serde::Serialize;

use crate::fingerprint::{Difference, DifferenceKind, differences};
use crate::ranks::{Logs, Resemblance};
use crate::roofline::stream_rate;
use crate::stats::{Estimate, Interval};
use crate::summary::{RowStatus, case_status};

pub use compared::Compared;
pub use verdict::{Change, FAMILY_CONFIDENCE, Gate, change, possible_rows, rounds_for, tail};

use compared::Figure;
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
    /// What it all comes to.
    pub gate: Gate,
}

/// Where a side of a [`Comparison`] comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Origin {
    /// The config's name.
    pub name: String,
    /// When it was measured.
    pub started: Timestamp,
    /// The commit of mlxbench.
    pub commit: Option<String>,
    /// The model.
    pub model: String,
    /// The processor.
    pub cpu: String,
    /// The worker's command, of a side of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Origin {
    fn of(result: &RunResult) -> Self {
        let run = &result.run;
        Self {
            name: run.name.clone(),
            started: run.started,
            commit: run.mlxbench.commit.clone(),
            model: run.model.name.clone(),
            cpu: run.machine.cpu.clone(),
            command: None,
        }
    }
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
            // What failed in both from the start says nothing of what changed.
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
            self::cases(of)
                .iter()
                .filter(|case| case_measured(of, case) && is_missing(not_in, case))
                .map(|(target, test)| format!("{target} {test}"))
                .collect()
        };
        let vanished = names(base, new);
        Comparison {
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

    /// What is known of a case's rows before any figure is looked at.
    fn settled(&self, case: &Case, differences: &[Difference]) -> Option<Change> {
        let (target, _) = case;
        if let Some(reason) = worthless(self.base, case) {
            let reason = format!("in the base {reason}");
            return Some(Change::NotComparable { reason });
        }
        if let Some(reason) = worthless(self.new, case) {
            return Some(Change::Broken { reason });
        }
        let is_unchecked = |result: &RunResult| {
            let known = result.equivalence_of(target);
            known.is_some_and(|known| known.verdict == Verdict::Unchecked)
        };
        if is_unchecked(self.new) && !is_unchecked(self.base) {
            let reason = "whether it still does the same work couldn't be checked".into();
            return Some(Change::NotComparable { reason });
        }
        let stands_against = |known: &&Difference| {
            let own = known.target.as_ref().is_none_or(|other| other == target);
            own && !self.paired && !self.options.across.contains(&known.kind)
        };
        let found = differences.iter().filter(stands_against);
        let found: Vec<String> = found.map(Difference::change).collect();
        let reason = found.join("; ");
        (!found.is_empty()).then_some(Change::NotComparable { reason })
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

type Case = (TargetId, Test);

fn cases(result: &RunResult) -> Vec<Case> {
    let tests = &result.run.tests;
    let of_target = |target: &TargetId| {
        let target = target.clone();
        tests.iter().map(move |&test| (target.clone(), test))
    };
    result.run.targets.iter().flat_map(of_target).collect()
}

fn case_measured(result: &RunResult, (target, test): &Case) -> bool {
    result.samples_of(target, test).next().is_some()
}

/// Whether nothing is known of a case, not even a failure.
fn is_missing(result: &RunResult, (target, test): &Case) -> bool {
    case_status(result, target, test) == RowStatus::Missing
}

/// Why a case's figures say nothing, whatever they are.
fn worthless(result: &RunResult, (target, test): &Case) -> Option<String> {
    let verdict = result.equivalence_of(target).map(|known| known.verdict);
    match case_status(result, target, test) {
        RowStatus::Failed { kind, message } => Some(format!("{}: {message}", kind.name())),
        RowStatus::NotFinite => Some("the logits aren't finite".into()),
        _ if verdict == Some(Verdict::Different) => {
            Some("it does other work than the reference".into())
        }
        RowStatus::Ok | RowStatus::Missing => None,
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
