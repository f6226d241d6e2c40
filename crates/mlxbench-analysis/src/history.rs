//! Results over time: one series a target and test, on one machine and of one workload.
//!
//! A history may be of ten thousand results. What it needs of each is an [`Entry`], so that a result is
//! read, condensed and dropped.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use mlxbench_core::results::{Machine, Metric, RunResult, TargetId, Test, Verdict};
use rayon::prelude::*;

use crate::change_points::{
    ChangePoint, FEWEST_FOR_CHANGE_POINT, Pettitt, SIGNIFICANCE, change_points_at,
};
use crate::fingerprint::{hardware, workload};
use crate::metrics::estimate;
use crate::multiple;
use crate::stats::Estimate;
use crate::summary::{RowStatus, case_status};

/// What a history needs of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When it was started.
    pub started: Timestamp,
    /// mlxbench's commit.
    pub commit: Option<String>,
    /// The config's name.
    pub config: String,
    /// The model's name.
    pub model: String,
    /// Where it was measured.
    pub machine: Machine,
    /// The config's targets, in its order.
    pub targets: Vec<TargetId>,
    /// The frameworks of those that loaded the model.
    pub frameworks: BTreeMap<TargetId, String>,
    /// [`hardware`].
    hardware: String,
    /// [`workload`].
    workload: String,
    /// What may have another version from one result to the next, by name: the system, the compiler, and what
    /// else of the machine isn't hardware.
    around: Versions,
    /// The same of the targets that loaded the model: the framework with its libraries.
    own: BTreeMap<TargetId, Versions>,
    /// Every target with every test.
    cases: Vec<Case>,
}

type Versions = BTreeMap<String, String>;

/// A target's test in one result.
#[derive(Debug, Clone, PartialEq)]
struct Case {
    target: TargetId,
    test: Test,
    gap: Option<String>,
    figures: Figures,
}

/// What is looked at over time, as in a [`Row`](crate::Row).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// [`Metric::Decode`].
    pub decode_tokens_per_second: Option<Estimate>,
    /// [`Metric::Prefill`].
    pub prefill_tokens_per_second: Option<Estimate>,
    /// [`Metric::Overall`].
    pub overall_tokens_per_second: Option<Estimate>,
    /// [`Metric::Training`].
    pub trained_tokens_per_second: Option<Estimate>,
    /// [`Metric::Throughput`].
    pub served_tokens_per_second: Option<Estimate>,
    /// [`Metric::Ttft`].
    pub ttft_ns: Option<Estimate>,
    /// [`Metric::WarmTtft`].
    pub warm_ttft_ns: Option<Estimate>,
    /// The most memory that was held, by the process or on the device.
    pub peak_bytes: Option<u64>,
    /// Repetitions that were measured, and count.
    pub repetitions: usize,
}

impl Entry {
    /// What a history needs of `result`.
    pub fn of(result: &RunResult) -> Self {
        let run = &result.run;
        let cases = run.targets.iter().flat_map(|target| {
            let tests = run.tests.iter();
            tests.map(move |test| Case::of(result, target, test))
        });
        let identities = result
            .targets
            .iter()
            .map(|facts| (&facts.id, &facts.identity));
        let own = identities.clone().map(|(id, identity)| {
            let framework = [(identity.framework.clone(), identity.version.clone())];
            let versions = framework.into_iter().chain(identity.libraries.clone());
            (id.clone(), versions.collect())
        });
        let frameworks = identities.map(|(id, identity)| (id.clone(), identity.framework.clone()));
        Self {
            started: run.started,
            commit: run.mlxbench.commit.clone(),
            config: run.name.clone(),
            model: run.model.name.clone(),
            machine: run.machine.clone(),
            targets: run.targets.clone(),
            frameworks: frameworks.collect(),
            hardware: hardware(result),
            workload: workload(result),
            around: around(result),
            own: own.collect(),
            cases: cases.collect(),
        }
    }

    /// All versions around a target; `None` where it failed to start, and so said none of its own.
    fn versions(&self, target: &TargetId) -> Option<Versions> {
        let own = self.own.get(target)?.clone();
        Some(self.around.clone().into_iter().chain(own).collect())
    }
}

impl Case {
    fn of(result: &RunResult, target: &TargetId, test: &Test) -> Self {
        let samples = result.samples_of(target, test);
        let (mut repetitions, mut peak_bytes) = (0, None);
        for sample in samples {
            repetitions += 1;
            peak_bytes = peak_bytes
                .max(sample.peak_memory_bytes)
                .max(sample.device_peak_bytes);
        }
        let status = case_status(result, target, test);
        let estimate = |metric| estimate(metric, result, target, test);
        Self {
            target: target.clone(),
            test: *test,
            gap: gap(result, target, test, &status, repetitions),
            figures: Figures {
                decode_tokens_per_second: estimate(Metric::Decode),
                prefill_tokens_per_second: estimate(Metric::Prefill),
                overall_tokens_per_second: estimate(Metric::Overall),
                trained_tokens_per_second: estimate(Metric::Training),
                served_tokens_per_second: estimate(Metric::Throughput),
                ttft_ns: estimate(Metric::Ttft),
                warm_ttft_ns: estimate(Metric::WarmTtft),
                peak_bytes,
                repetitions,
            },
        }
    }
}

/// Results that may be joined by a line: the same machine, model, prompts and settings. Frameworks,
/// the system and the compiler may have other versions: that is what one looks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Which results, in the order of their time.
    pub results: Vec<usize>,
    /// What they have in common, in the order of the first result.
    pub series: Vec<Series>,
}

/// A target's test over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Which target.
    pub target: TargetId,
    /// Which test.
    pub test: Test,
    /// One a result of the group that has the target and the test.
    pub points: Vec<Point>,
    /// The versions that the target said last.
    versions: Option<Versions>,
}

/// A target's test in one result.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Which of the group's results.
    pub at: usize,
    /// What has another version than in the point before: `PyTorch 2.12 is 2.13`.
    pub changed: Option<String>,
    /// Why its figures don't count, where they don't.
    pub gap: Option<String>,
    /// The figures.
    pub figures: Figures,
}

/// Takes a figure from those of a point.
pub type Figure = fn(&Figures) -> Option<Estimate>;

impl Series {
    /// The figures that count, with the points they belong to.
    pub fn figures(&self, figure: Figure) -> impl Iterator<Item = (&Point, Estimate)> {
        let sound = self.points.iter().filter(|point| point.gap.is_none());
        sound.filter_map(move |point| Some((point, figure(&point.figures)?)))
    }

    /// Where a figure's median changed its level, at the [`significance`] of all series that
    /// are looked at: the point of the new level, and the change.
    pub fn changes(&self, figure: Figure, significance: f64) -> Vec<(&Point, ChangePoint)> {
        let (points, medians): (Vec<&Point>, Vec<f64>) = self
            .figures(figure)
            .map(|(point, estimate)| (point, estimate.median))
            .unzip();
        let changes = change_points_at(&medians, significance).into_iter();
        changes
            .map(|change| (points[change.index], change))
            .collect()
    }

    fn medians(&self, figure: Figure) -> Vec<f64> {
        let figures = self.figures(figure);
        figures.map(|(_, estimate)| estimate.median).collect()
    }
}

/// The significance at which each of these `figures` of each series of `groups` is searched for changes of
/// level: [`SIGNIFICANCE`], or the [level of the family](multiple::level) where that is less. So where no level
/// changed, all series together are given a change in 5 % of cases at most.
pub fn significance(groups: &[Group], figures: &[Figure]) -> f64 {
    let series = groups.par_iter().flat_map(|group| &group.series);
    let p_values = series.flat_map_iter(|series| {
        let p_value = |&figure: &Figure| {
            let values = series.medians(figure);
            let enough = values.len() >= FEWEST_FOR_CHANGE_POINT;
            Some(Pettitt::of(&values).filter(|_| enough)?.p_value)
        };
        figures.iter().filter_map(p_value)
    });
    multiple::level(&p_values.collect::<Vec<f64>>()).min(SIGNIFICANCE)
}

/// The groups of `entries`, in the order of their first result in time.
pub fn history(entries: &[Entry]) -> Vec<Group> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|&index| entries[index].started);
    let mut groups: Vec<Group> = Vec::new();
    let mut known: HashMap<(&str, &str), usize> = HashMap::new();
    for index in order {
        let entry = &entries[index];
        let place = *known
            .entry((&entry.hardware, &entry.workload))
            .or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group {
                results: Vec::new(),
                series: Vec::new(),
            });
        }
        groups[place].add(index, entry);
    }
    groups
}

impl Group {
    fn add(&mut self, index: usize, entry: &Entry) {
        let at = self.results.len();
        self.results.push(index);
        for case in &entry.cases {
            let same = |series: &Series| series.target == case.target && series.test == case.test;
            let place = self.series.iter().position(same).unwrap_or_else(|| {
                self.series.push(Series {
                    target: case.target.clone(),
                    test: case.test,
                    points: Vec::new(),
                    versions: None,
                });
                self.series.len() - 1
            });
            let series = &mut self.series[place];
            let now = entry.versions(&case.target);
            let pair = series.versions.as_ref().zip(now.as_ref());
            let changed = pair.and_then(|(before, now)| changed(before, now));
            series.versions = now.or(series.versions.take());
            series.points.push(Point {
                at,
                changed,
                gap: case.gap.clone(),
                figures: case.figures,
            });
        }
    }
}

/// What may have another version from one result to the next besides the frameworks.
fn around(result: &RunResult) -> Versions {
    let run = &result.run;
    let around = [
        ("the system", Some(run.machine.os.clone())),
        ("kernel", run.machine.kernel.clone()),
        ("compiler", run.mlxbench.compiler.clone()),
        ("compiler flags", run.mlxbench.compiler_flags.clone()),
        ("governor", run.conditions.frequency_governor.clone()),
        (
            "power source",
            run.conditions
                .power_source
                .map(|power| format!("{power:?}")),
        ),
        (
            "low-power mode",
            run.conditions.low_power_mode.map(|on| on.to_string()),
        ),
    ];
    let around = around.into_iter();
    let around = around.filter_map(|(name, version)| Some((name.to_owned(), version?)));
    around.collect()
}

/// What has another version in `now`.
fn changed(before: &Versions, now: &Versions) -> Option<String> {
    let news = now
        .iter()
        .filter_map(|(name, version)| match before.get(name) {
            Some(old) if old == version => None,
            Some(old) => Some(format!("{name} {old} is {version}")),
            None => Some(format!("{name} {version} is new")),
        });
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    let gone = gone.map(|name| format!("{name} is gone"));
    let all: Vec<String> = news.chain(gone).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Why the figures of a target's test don't count.
pub(crate) fn gap(
    result: &RunResult,
    target: &TargetId,
    test: &Test,
    status: &RowStatus,
    repetitions: usize,
) -> Option<String> {
    let verdict = result.verdict_of(target, test);
    match status {
        RowStatus::NotFinite => Some("the logits aren't finite".into()),
        _ if verdict == Some(Verdict::Different) => Some("it computed something different".into()),
        RowStatus::Failed { kind, message } if repetitions == 0 => {
            Some(format!("{}: {message}", kind.name()))
        }
        _ if repetitions == 0 => Some("not measured".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{result, sample, test};

    /// A result that was started in the given minute, of steps that take so many nanoseconds.
    fn at(minute: u32, step: u64) -> RunResult {
        let samples = (0..5).map(|jitter| sample(test(8, 2), &[100, 100 + step + jitter]));
        let mut result = result(samples.collect());
        result.run.started = format!("2026-11-23T07:{minute:02}:00Z").parse().unwrap();
        result
    }

    fn grouped(results: &[RunResult]) -> Vec<Group> {
        history(&results.iter().map(Entry::of).collect::<Vec<_>>())
    }

    #[test]
    fn results_are_joined_in_the_order_of_time() {
        let groups = grouped(&[at(2, 1000), at(1, 2000)]);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].results, [1, 0]);
        let decode = groups[0].series[0].figures(|figures| figures.decode_tokens_per_second);
        let medians: Vec<f64> = decode.map(|(_, rate)| rate.median.round()).collect();
        assert!(medians[0] < medians[1]);
    }

    #[test]
    fn other_machines_and_settings_are_never_joined() {
        let mut other = at(2, 1000);
        other.run.machine.cpu = "another".into();
        let mut chunk = at(3, 1000);
        chunk.run.settings.chunk += 1;
        assert_eq!(grouped(&[at(1, 1000), other, chunk]).len(), 3);
    }

    #[test]
    fn another_version_is_joined_and_told() {
        let mut newer = at(2, 1000);
        newer.targets[0].identity.version = "9".into();
        newer.run.machine.kernel = Some("7.0".into());
        let groups = grouped(&[at(1, 1000), newer]);
        let points = &groups[0].series[0].points;
        assert_eq!(points[0].changed, None);
        let changed = points[1].changed.as_ref().unwrap();
        assert!(
            changed.contains(" is 9") && changed.contains("kernel 7.0 is new"),
            "{changed}"
        );
    }

    #[test]
    fn what_failed_is_a_gap_with_its_reason() {
        let mut lost = at(2, 1000);
        lost.samples.clear();
        let groups = grouped(&[at(1, 1000), lost]);
        let points = &groups[0].series[0].points;
        assert_eq!(points[1].gap.as_deref(), Some("not measured"));
        let decode = groups[0].series[0].figures(|figures| figures.decode_tokens_per_second);
        assert_eq!(decode.count(), 1);
    }

    #[test]
    fn a_slower_commit_is_marked() {
        let results: Vec<RunResult> = (0..12)
            .map(|minute| {
                at(
                    minute,
                    if minute < 6 { 1000 } else { 1200 } + u64::from(minute),
                )
            })
            .collect();
        let groups = grouped(&results);
        let decode: Figure = |figures| figures.decode_tokens_per_second;
        let significance = significance(&groups, &[decode]);
        assert_eq!(significance, SIGNIFICANCE, "there is one series");
        let changes = groups[0].series[0].changes(decode, significance);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].0.at, 6);
        assert!((changes[0].1.change + 0.167).abs() < 0.02);
    }
}
