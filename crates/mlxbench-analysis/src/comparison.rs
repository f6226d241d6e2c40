//! What changed between two results, row by row, and a gate over all rows.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mlxbench_core::results::{
    RunResult, Sample, Side, Sides, StreamKernel, TargetId, Test, Verdict,
};
use serde::Serialize;

use crate::fingerprint::{Difference, DifferenceKind, differences};
use crate::metrics;
use crate::ranks::{Bounds, Logs, Resemblance, fewest_paired};
use crate::roofline::stream_rate;
use crate::stats::{Estimate, Interval, percentile, sorted};
use crate::summary::{RowStatus, case_status};

/// The probability with which the intervals of all rows of a [`Comparison`] hold together.
pub const FAMILY_CONFIDENCE: f64 = 0.99;

/// Changes of memory by fewer bytes than these are none, whatever share they are: a process' allocator,
/// threads and libraries take more or less from start to start, and all repetitions of a run share one
/// start.
pub const LEAST_MEMORY_BYTES: f64 = (16 << 20) as f64;

/// A figure that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compared {
    /// [`Metric::Decode`](crate::Metric::Decode).
    Decode,
    /// [`Metric::Prefill`](crate::Metric::Prefill).
    Prefill,
    /// [`Metric::Ttft`](crate::Metric::Ttft): of a test with a prompt the inverse of its prefill rate.
    Ttft,
    /// The 99th percentile of the inter-token latencies of each repetition that has 100 of them.
    LatencyP99,
    /// The most memory that was held in a repetition, by the process or on its device.
    Memory,
    /// [`Metric::EnergyPerToken`](crate::Metric::EnergyPerToken).
    Energy,
}

impl Compared {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Decode,
        Self::Prefill,
        Self::Ttft,
        Self::LatencyP99,
        Self::Memory,
        Self::Energy,
    ];

    /// Those that are compared unless somebody says otherwise: without the time to first token, which
    /// says what prefill says.
    pub const DEFAULT: [Self; 5] = [
        Self::Decode,
        Self::Prefill,
        Self::LatencyP99,
        Self::Memory,
        Self::Energy,
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
        }
    }

    /// Whether more of it is better.
    pub fn higher_is_better(self) -> bool {
        matches!(self, Self::Decode | Self::Prefill)
    }

    /// What each repetition of a case measured, in tokens a second, nanoseconds, bytes or joules a token.
    fn figures(self, result: &RunResult, target: &TargetId, test: &Test) -> Vec<Figure> {
        let idle = metrics::idle_watts(result, target);
        let figure = |sample: &Sample| match self {
            Self::Decode => metrics::decode_rate(sample),
            Self::Prefill => metrics::prefill_rate(sample),
            Self::Ttft => metrics::ttft(sample).map(|time| time.0 as f64),
            Self::LatencyP99 => {
                let latencies: Vec<f64> = metrics::inter_token(sample)
                    .map(|time| time.0 as f64)
                    .collect();
                percentile(&sorted(&latencies), 99)
            }
            Self::Memory => sample
                .peak_memory_bytes
                .max(sample.device_peak_bytes)
                .map(|bytes| bytes as f64),
            Self::Energy => metrics::joules_per_token(sample, idle?),
        };
        let samples = result.samples_of(target, test);
        let figure = |sample: &Sample| {
            let value = figure(sample).filter(|value| *value > 0.0)?;
            Some(Figure {
                round: sample.repetition,
                value,
            })
        };
        samples.filter_map(figure).collect()
    }
}

/// What one repetition measured.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figure {
    round: usize,
    value: f64,
}

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
    /// that only the new one failed at.
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

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Change {
    /// The whole interval lies beyond the threshold, on the better side.
    Better,
    /// The whole interval lies beyond the threshold, on the worse side.
    Worse,
    /// The whole interval lies within the threshold.
    Same,
    /// The interval reaches over a threshold.
    Inconclusive {
        /// So many repetitions of both sides would probably decide; `None` when it would take more
        /// than [`MOST_PLANNED`](crate::ranks::MOST_PLANNED).
        repetitions: Option<usize>,
    },
    /// Something else than what was to be compared differs.
    NotComparable {
        /// What.
        reason: String,
    },
    /// The base was measured, and this fails.
    Broken {
        /// How.
        reason: String,
    },
}

/// What a [`Comparison`] comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nothing got worse.
    Pass,
    /// Something got worse, for sure.
    Fail,
    /// Nothing got worse for sure, but not all could be told.
    Inconclusive,
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
    let [a, b] = Side::BOTH.map(|side| one_side(result, side));
    if a.run.targets.is_empty() || b.run.targets.is_empty() {
        return None;
    }
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

/// The rounds that a paired comparison of so many rows should have: half as many again as it needs
/// to tell anything, since an interval that ends at the outermost ratios is a wide one.
pub fn rounds_for(rows: usize) -> usize {
    fewest_paired(tail(rows)) * 3 / 2
}

/// How many rows so many targets of a paired comparison can have in these tests.
pub fn possible_rows(targets: usize, tests: &[Test], metrics: &[Compared]) -> usize {
    let possible = |test: &Test, metric: Compared| match metric {
        Compared::Decode => test.generate_tokens >= 2,
        Compared::Prefill => test.prompt_tokens > 0,
        Compared::LatencyP99 => test.generate_tokens > 100,
        Compared::Ttft | Compared::Memory | Compared::Energy => true,
    };
    let of_test = |test: &Test| {
        let metrics = metrics.iter();
        metrics.filter(|&&metric| possible(test, metric)).count()
    };
    targets * tests.iter().map(of_test).sum::<usize>()
}

/// What an interval of one of `rows` may leave out at either end, so that all hold together.
pub fn tail(rows: usize) -> f64 {
    (1.0 - FAMILY_CONFIDENCE) / 2.0 / rows.max(1) as f64
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
            .filter(|case| case_measured(base, case))
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
            let all: BTreeSet<Case> = self::cases(not_in).into_iter().collect();
            let measured = |result: &RunResult, case: &Case| case_measured(result, case);
            let cases = self::cases(of).into_iter();
            cases
                .filter(|case| measured(of, case))
                .filter(|case| !all.contains(case) || is_missing(not_in, case))
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
        let (target, test) = case;
        let mut metrics = self.options.metrics.clone();
        metrics.sort_unstable();
        metrics.dedup();
        let mut drafts = Vec::new();
        let broken = self.broken(case);
        let obstacle = self.obstacle(target, differences);
        for metric in metrics {
            let before = metric.figures(self.base, target, test);
            let after = metric.figures(self.new, target, test);
            let change = match (&broken, &obstacle) {
                (Some(reason), _) if !before.is_empty() => Change::Broken {
                    reason: reason.clone(),
                },
                _ if before.is_empty() || after.is_empty() => continue,
                (_, Some(reason)) => Change::NotComparable {
                    reason: reason.clone(),
                },
                _ => Change::Inconclusive { repetitions: None },
            };
            let (ratio, logs) = match self.paired {
                false => unpaired(&before, &after),
                true => paired(&before, &after),
            };
            let judged = matches!(change, Change::Inconclusive { .. });
            let is_broken = matches!(change, Change::Broken { .. });
            drafts.push(Draft {
                row: ComparedRow {
                    target: target.clone(),
                    test: *test,
                    metric,
                    base: Estimate::of(&values(&before)),
                    new: Estimate::of(&values(&after)),
                    ratio: ratio.filter(|_| judged),
                    bounds: None,
                    change,
                },
                logs: logs.filter(|_| judged),
            });
            if is_broken {
                break; // What failed, failed as a whole.
            }
        }
        drafts
    }

    /// Why the new side of a case that the base has is worth nothing.
    fn broken(&self, (target, test): &Case) -> Option<String> {
        let different = |result: &RunResult| {
            let known = result.equivalence_of(target);
            known.is_some_and(|known| known.verdict == Verdict::Different)
        };
        match case_status(self.new, target, test) {
            RowStatus::Failed { kind, message } => Some(format!("{}: {message}", kind.name())),
            RowStatus::NotFinite => Some("the logits aren't finite any more".into()),
            _ if different(self.new) && !different(self.base) => {
                Some("it does other work than the reference now".into())
            }
            _ => None,
        }
    }

    /// Why a target's figures can't be compared.
    fn obstacle(&self, target: &TargetId, differences: &[Difference]) -> Option<String> {
        let different = |result: &RunResult| {
            let known = result.equivalence_of(target);
            known.is_some_and(|known| known.verdict == Verdict::Different)
        };
        if different(self.base) {
            return Some("the base does other work than its reference".into());
        }
        let stands_against = |known: &&Difference| {
            let own = known.target.as_ref().is_none_or(|other| other == target);
            let allowed = self.paired || self.options.across.contains(&known.kind);
            own && !allowed
        };
        let found: Vec<String> = differences
            .iter()
            .filter(stands_against)
            .map(|known| format!("{} was {}, is {}", known.what, known.before, known.after))
            .collect();
        (!found.is_empty()).then(|| found.join("; "))
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

/// What follows from where a ratio lies.
pub fn change(bounds: &Bounds, seen: f64, threshold: f64, higher_is_better: bool) -> Change {
    // A threshold above all of it leaves nothing to be lost.
    let (low, high) = ((1.0 - threshold).max(0.0), 1.0 + threshold);
    let undecided = || Change::Inconclusive {
        repetitions: bounds.repetitions(seen, low, high),
    };
    let Some(interval) = bounds.interval else {
        return undecided();
    };
    if low <= interval.low && interval.high <= high {
        Change::Same
    } else if interval.low > high {
        if higher_is_better {
            Change::Better
        } else {
            Change::Worse
        }
    } else if interval.high < low {
        if higher_is_better {
            Change::Worse
        } else {
            Change::Better
        }
    } else {
        undecided()
    }
}

/// What the rows come to.
fn gate(rows: &[ComparedRow], vanished: &[String]) -> Gate {
    let any = |is: fn(&Change) -> bool| rows.iter().any(|row| is(&row.change));
    if any(|change| matches!(change, Change::Worse | Change::Broken { .. })) {
        return Gate::Fail;
    }
    let open = any(|change| !matches!(change, Change::Better | Change::Same));
    if open || rows.is_empty() || !vanished.is_empty() {
        return Gate::Inconclusive;
    }
    Gate::Pass
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

#[cfg(test)]
mod tests {
    use mlxbench_core::results::{Equivalence, Failure, FailureKind};

    use super::*;
    use crate::fixture::{result, sample, target, test};

    /// Twelve repetitions whose one decode step takes about so many nanoseconds.
    fn measured(target: &TargetId, step: u64) -> Vec<Sample> {
        let jitter = [0, 3, 1, 4, 2, 5, 0, 3, 1, 4, 2, 5];
        let rounds = jitter.into_iter().enumerate();
        rounds
            .map(|(repetition, jitter)| Sample {
                target: target.clone(),
                repetition,
                ..sample(test(8, 2), &[1000, 1000 + step + jitter])
            })
            .collect()
    }

    fn run(step: u64) -> RunResult {
        result(measured(&target(), step))
    }

    fn decode(comparison: &Comparison) -> &ComparedRow {
        let mut rows = comparison.rows.iter();
        rows.find(|row| row.metric == Compared::Decode).unwrap()
    }

    #[test]
    fn a_slower_build_fails_the_gate_and_a_faster_one_passes() {
        let slower = compare(&run(1000), &run(1110), &Options::default());
        assert_eq!(decode(&slower).change, Change::Worse);
        assert_eq!(slower.gate, Gate::Fail);
        let faster = compare(&run(1110), &run(1000), &Options::default());
        assert_eq!(decode(&faster).change, Change::Better);
        assert_eq!(faster.gate, Gate::Pass);
        let interval = decode(&faster).bounds.unwrap();
        assert!(1.09 < interval.low && interval.high < 1.13);
    }

    #[test]
    fn the_same_build_is_the_same() {
        let same = compare(&run(1000), &run(1010), &Options::default());
        assert!(same.rows.iter().all(|row| row.change == Change::Same));
        assert_eq!((same.gate, same.judged), (Gate::Pass, 3));
    }

    #[test]
    fn times_and_memory_are_worse_when_they_grow() {
        let holding = |bytes: u64| {
            let mut run = run(1000);
            for sample in &mut run.samples {
                sample.peak_memory_bytes = Some(bytes);
            }
            run
        };
        let (lean, fat) = (holding(1 << 30), holding(1200 << 20));
        let options = Options {
            metrics: Compared::ALL.into(),
            ..Options::default()
        };
        let comparison = compare(&lean, &fat, &options);
        let memory = comparison.rows.iter();
        let memory = memory.filter(|row| row.metric == Compared::Memory);
        assert_eq!(memory.map(|row| &row.change).next(), Some(&Change::Worse));
        let allowed = Options {
            memory_threshold: 0.25,
            ..options
        };
        assert_eq!(compare(&lean, &fat, &allowed).gate, Gate::Pass);
        // What a process takes more from one start to the next.
        let small = compare(&holding(4 << 20), &holding(9 << 20), &Options::default());
        assert_eq!(small.gate, Gate::Pass);
    }

    #[test]
    fn too_few_repetitions_are_inconclusive_and_say_how_many_would_do() {
        let few = |step| {
            let mut few = run(step);
            few.samples.truncate(3);
            few
        };
        let comparison = compare(&few(1000), &few(2000), &Options::default());
        assert_eq!(comparison.gate, Gate::Inconclusive);
        let Change::Inconclusive { repetitions } = decode(&comparison).change else {
            panic!("{:?}", decode(&comparison).change);
        };
        assert!(repetitions.unwrap() >= 6);
    }

    #[test]
    fn what_differs_stands_against_a_comparison_unless_it_is_meant() {
        let (base, mut new) = (run(1000), run(1000));
        new.targets[0].identity.version = "2".into();
        let comparison = compare(&base, &new, &Options::default());
        let reason = "version was 1, is 2".to_owned();
        assert_eq!(decode(&comparison).change, Change::NotComparable { reason });
        assert_eq!(comparison.gate, Gate::Inconclusive);
        assert_eq!(comparison.judged, 0);
        let meant = Options {
            across: vec![DifferenceKind::Versions],
            ..Options::default()
        };
        assert_eq!(compare(&base, &new, &meant).gate, Gate::Pass);
    }

    #[test]
    fn what_fails_now_or_does_other_work_breaks_the_gate() {
        let base = run(1000);
        let mut died = run(1000);
        died.samples.truncate(2);
        died.failures.push(Failure {
            target: target(),
            test: Some(test(8, 2)),
            kind: FailureKind::Died,
            message: "killed".into(),
            retried: false,
        });
        let comparison = compare(&base, &died, &Options::default());
        let reason = "died: killed".to_owned();
        assert_eq!(decode(&comparison).change, Change::Broken { reason });
        assert_eq!((comparison.gate, comparison.rows.len()), (Gate::Fail, 1));
        let mut other = run(900);
        other.equivalences.push(Equivalence {
            target: target(),
            verdict: Verdict::Different,
            reason: None,
            fidelity: None,
        });
        assert_eq!(compare(&base, &other, &Options::default()).gate, Gate::Fail);
        // It was as wrong before.
        let comparison = compare(&other, &other, &Options::default());
        assert_eq!(comparison.gate, Gate::Inconclusive);
    }

    #[test]
    fn new_and_vanished_cases_are_named() {
        let base = run(1000);
        let mut new = run(1000);
        let other: TargetId = "mock/cpu/bf16".parse().unwrap();
        new.run.targets.push(other.clone());
        new.samples.extend(measured(&other, 1000));
        let comparison = compare(&base, &new, &Options::default());
        assert_eq!(comparison.added, ["mock/cpu/bf16 pp8+tg2"]);
        assert_eq!(comparison.gate, Gate::Pass);
        let comparison = compare(&new, &base, &Options::default());
        assert_eq!(comparison.vanished, ["mock/cpu/bf16 pp8+tg2"]);
        assert_eq!(comparison.gate, Gate::Inconclusive);
    }

    #[test]
    fn sides_of_a_run_are_compared_round_by_round() {
        // The machine grows slower fivefold while the run goes on: pairs don't mind.
        let side = |side, slower: u64| {
            let target = TargetId {
                side: Some(side),
                ..target()
            };
            let mut samples = measured(&target, 1000);
            for (round, sample) in samples.iter_mut().enumerate() {
                let slowed = |ns: u64| ns * (10 + 4 * round as u64) * slower / 1000;
                sample.token_ns = [1000, 2000]
                    .map(|ns| mlxbench_core::Nanos(slowed(ns)))
                    .into();
            }
            samples
        };
        let mut run = result(Vec::new());
        run.run.targets = ["mock/cpu/f32@a", "mock/cpu/f32@b"]
            .map(|name| name.parse().unwrap())
            .into();
        run.samples = side(Side::A, 1000);
        run.samples.extend(side(Side::B, 1100));
        let comparison = compare_sides(&run, &Options::default()).unwrap();
        assert!(comparison.paired);
        assert_eq!(decode(&comparison).change, Change::Worse);
        let unpaired = compare(
            &one_side(&run, Side::A),
            &one_side(&run, Side::B),
            &Options::default(),
        );
        assert!(matches!(
            decode(&unpaired).change,
            Change::Inconclusive { .. }
        ));
        assert_eq!(compare_sides(&self::run(1000), &Options::default()), None);
    }

    #[test]
    fn a_paired_gate_has_the_rounds_that_its_rows_need() {
        let tests = [test(512, 128), test(512, 0), test(0, 32)];
        let rows = possible_rows(2, &tests, &[Compared::Decode, Compared::LatencyP99]);
        assert_eq!(rows, 2 * 3);
        assert_eq!((rounds_for(1), rounds_for(40)), (13, 21));
    }

    #[test]
    fn a_machine_that_reads_memory_more_slowly_is_told() {
        use mlxbench_core::Nanos;
        use mlxbench_core::results::StreamProbe;
        let probed = |ns| {
            let mut run = run(1000);
            run.streams.push(StreamProbe {
                kernel: StreamKernel::Read,
                threads: 2,
                moved_bytes: 1 << 30,
                time_ns: Nanos(ns),
            });
            run
        };
        let comparison = compare(&probed(100), &probed(125), &Options::default());
        assert_eq!(comparison.machine_shifts[0].what, "STREAM read");
        assert!((comparison.machine_shifts[0].ratio - 0.8).abs() < 1e-12);
        let comparison = compare(&probed(100), &probed(104), &Options::default());
        assert_eq!(comparison.machine_shifts, []);
    }
}
