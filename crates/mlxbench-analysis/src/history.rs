//! Results over time: one series a target and test, on one machine and of one workload.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mlxbench_core::results::{RunResult, TargetFacts, TargetId, Test, Verdict};

use crate::change_points::{
    ChangePoint, FEWEST_FOR_CHANGE_POINT, Pettitt, SIGNIFICANCE, change_points_at,
};
use crate::fingerprint::{hardware, workload};
use crate::multiple;
use crate::stats::Estimate;
use crate::summary::{Row, RowStatus, Summary};

/// Results that may be joined by a line: the same machine, model, prompts and settings. Frameworks,
/// the system and the compiler may have other versions: that is what one looks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// [`hardware`].
    pub hardware: String,
    /// [`workload`].
    pub workload: String,
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
}

/// A target's test in one result.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Which of the group's results.
    pub at: usize,
    /// When it was started.
    pub started: Timestamp,
    /// mlxbench's commit.
    pub commit: Option<String>,
    /// What has another version than in the point before: `PyTorch 2.12 is 2.13`.
    pub changed: Option<String>,
    /// Why its figures don't count, where they don't.
    pub gap: Option<String>,
    /// The figures.
    pub row: Row,
}

/// Takes a figure from a row.
pub type Figure = fn(&Row) -> Option<Estimate>;

impl Series {
    /// The figures that count, with the points they belong to.
    pub fn figures(&self, figure: Figure) -> impl Iterator<Item = (&Point, Estimate)> {
        let sound = self.points.iter().filter(|point| point.gap.is_none());
        sound.filter_map(move |point| Some((point, figure(&point.row)?)))
    }

    /// Where a figure's median changed its level, at the [`significance`] of all series that
    /// are looked at: the point of the new level, and the change.
    pub fn changes(&self, figure: Figure, significance: f64) -> Vec<(&Point, ChangePoint)> {
        let figures: Vec<(&Point, Estimate)> = self.figures(figure).collect();
        let changes = change_points_at(&medians(&figures), significance).into_iter();
        changes
            .map(|change| (figures[change.index].0, change))
            .collect()
    }
}

fn medians(figures: &[(&Point, Estimate)]) -> Vec<f64> {
    figures
        .iter()
        .map(|(_, estimate)| estimate.median)
        .collect()
}

/// The significance at which each of these `figures` of each series of `groups` is searched for changes of
/// level: [`SIGNIFICANCE`], or the [level of the family](multiple::level) where that is less. So where no level
/// changed, all series together are given a change in 5 % of cases at most.
pub fn significance(groups: &[Group], figures: &[Figure]) -> f64 {
    let series = groups.iter().flat_map(|group| &group.series);
    let p_values = series.flat_map(|series| {
        let p_value = |&figure: &Figure| {
            let values = medians(&series.figures(figure).collect::<Vec<_>>());
            let enough = values.len() >= FEWEST_FOR_CHANGE_POINT;
            Some(Pettitt::of(&values).filter(|_| enough)?.p_value)
        };
        figures.iter().filter_map(p_value)
    });
    multiple::level(&p_values.collect::<Vec<f64>>()).min(SIGNIFICANCE)
}

/// The groups of `results`, in the order of their first result in time, from the summaries of the
/// same results.
pub fn history(results: &[(&RunResult, &Summary)]) -> Vec<Group> {
    let mut order: Vec<usize> = (0..results.len()).collect();
    order.sort_by_key(|&index| results[index].0.run.started);
    let mut groups: Vec<Group> = Vec::new();
    for index in order {
        let (result, summary) = results[index];
        let (hardware, workload) = (hardware(result), workload(result));
        let known = |group: &&mut Group| group.hardware == hardware && group.workload == workload;
        let group = match groups.iter_mut().find(known) {
            Some(group) => group,
            None => {
                groups.push(Group {
                    hardware,
                    workload,
                    results: Vec::new(),
                    series: Vec::new(),
                });
                groups.last_mut().expect("one was added")
            }
        };
        group.results.push(index);
        for row in &summary.rows {
            group.add(group.results.len() - 1, result, row, results);
        }
    }
    groups
}

impl Group {
    fn add(
        &mut self,
        at: usize,
        result: &RunResult,
        row: &Row,
        results: &[(&RunResult, &Summary)],
    ) {
        let same = |series: &&mut Series| series.target == row.target && series.test == row.test;
        let series = match self.series.iter_mut().find(same) {
            Some(series) => series,
            None => {
                self.series.push(Series {
                    target: row.target.clone(),
                    test: row.test,
                    points: Vec::new(),
                });
                self.series.last_mut().expect("one was added")
            }
        };
        let before = series.points.iter().rev();
        let mut before = before.map(|point| results[self.results[point.at]].0);
        // A target that failed to start has said no versions.
        let before = before.find(|result| facts(result, &row.target).is_some());
        let before = before.filter(|_| facts(result, &row.target).is_some());
        let versions = |result| versions(result, &row.target);
        series.points.push(Point {
            at,
            started: result.run.started,
            commit: result.run.mlxbench.commit.clone(),
            changed: before.and_then(|before| changed(&versions(before), &versions(result))),
            gap: gap(result, row),
            row: row.clone(),
        });
    }
}

fn facts<'a>(result: &'a RunResult, target: &TargetId) -> Option<&'a TargetFacts> {
    result.targets.iter().find(|facts| facts.id == *target)
}

/// What may have another version from one result to the next, by name: the target's framework with
/// its libraries, the system, the compiler, and what else of the machine isn't hardware.
fn versions(result: &RunResult, target: &TargetId) -> BTreeMap<String, String> {
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
    let own = facts(result, target).map(|facts| {
        let identity = &facts.identity;
        let framework = [(identity.framework.clone(), identity.version.clone())];
        framework.into_iter().chain(identity.libraries.clone())
    });
    around.chain(own.into_iter().flatten()).collect()
}

/// What has another version in `now`.
fn changed(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
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

/// Why a row's figures don't count.
pub(crate) fn gap(result: &RunResult, row: &Row) -> Option<String> {
    let verdict = result
        .equivalence_of(&row.target)
        .map(|known| known.verdict);
    match &row.status {
        RowStatus::NotFinite => Some("the logits aren't finite".into()),
        _ if verdict == Some(Verdict::Different) => Some("it computed something different".into()),
        RowStatus::Failed { kind, message } if row.repetitions == 0 => {
            Some(format!("{}: {message}", kind.name()))
        }
        _ if row.repetitions == 0 => Some("not measured".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{result, sample, test};
    use crate::summary::summarize;

    /// A result that was started in the given minute, of steps that take so many nanoseconds.
    fn at(minute: u32, step: u64) -> RunResult {
        let samples = (0..5).map(|jitter| sample(test(8, 2), &[100, 100 + step + jitter]));
        let mut result = result(samples.collect());
        result.run.started = format!("2026-11-23T07:{minute:02}:00Z").parse().unwrap();
        result
    }

    fn grouped(results: &[RunResult]) -> Vec<Group> {
        let summaries: Vec<Summary> = results.iter().map(summarize).collect();
        let pairs: Vec<(&RunResult, &Summary)> = results.iter().zip(&summaries).collect();
        history(&pairs)
    }

    #[test]
    fn results_are_joined_in_the_order_of_time() {
        let groups = grouped(&[at(2, 1000), at(1, 2000)]);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].results, [1, 0]);
        let decode = groups[0].series[0].figures(|row| row.decode_tokens_per_second);
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
        let decode = groups[0].series[0].figures(|row| row.decode_tokens_per_second);
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
        let decode: Figure = |row| row.decode_tokens_per_second;
        let significance = significance(&groups, &[decode]);
        assert_eq!(significance, SIGNIFICANCE, "there is one series");
        let changes = groups[0].series[0].changes(decode, significance);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].0.at, 6);
        assert!((changes[0].1.change + 0.167).abs() < 0.02);
    }
}
