//! Which framework is fastest here, by how much, with what certainty.

use mlxbench_core::results::{Metric, RunResult, Test, Verdict};

use crate::metrics::values_by_process;
use crate::stats::Estimate;
use crate::summary::{Row, RowStatus, Summary};

/// The fastest target of a test, and how far ahead it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Leader<'a> {
    /// The fastest.
    pub row: &'a Row,
    /// The fastest of the other frameworks; of the same framework's other targets where there is
    /// no other framework.
    pub runner_up: Option<RunnerUp<'a>>,
    /// Targets that would be faster, but didn't do the same work.
    pub set_aside: Vec<&'a Row>,
}

/// Who comes second.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerUp<'a> {
    /// Its row.
    pub row: &'a Row,
    /// How many times as fast the leader is: the ratio of the medians.
    pub ratio: Estimate,
}

impl RunnerUp<'_> {
    /// Whether the interval of the ratio leaves out 1; `None` where there is no interval.
    pub fn certain(&self) -> Option<bool> {
        let interval = self.ratio.interval?;
        Some(interval.low > 1.0)
    }
}

/// The leader of `test` by the median of `metric`, a rate that `rate` takes from a row. `None` when
/// no target has one. A target that did other work than the reference, or whose logits weren't
/// finite, can't lead.
pub fn leader<'a>(
    result: &RunResult,
    summary: &'a Summary,
    test: &Test,
    metric: Metric,
    rate: impl Fn(&Row) -> Option<Estimate>,
) -> Option<Leader<'a>> {
    let median = |row: &Row| rate(row).map(|rate| rate.median);
    let measured = summary.rows.iter();
    let measured = measured.filter(|row| row.test == *test && median(row).is_some());
    let mut measured: Vec<&Row> = measured.collect();
    measured.sort_by(|a, b| {
        median(b)
            .partial_cmp(&median(a))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let (fit, unfit): (Vec<&Row>, Vec<&Row>) = measured
        .into_iter()
        .partition(|row| did_the_work(result, row));
    let (row, others) = fit.split_first()?;
    let other_framework = |other: &&&Row| other.target.backend != row.target.backend;
    let second = others.iter().find(other_framework).or(others.first());
    let values = |row: &Row| values_by_process(metric, result, &row.target, &row.test);
    let runner_up = second.and_then(|second| {
        let ratio = Estimate::of_ratio_of_processes(&values(row), &values(second))?;
        Some(RunnerUp { row: second, ratio })
    });
    let faster = |other: &&Row| median(other) > median(row);
    Some(Leader {
        row,
        runner_up,
        set_aside: unfit.into_iter().filter(faster).collect(),
    })
}

/// Whether nothing speaks against a row's work: it may not have been looked at.
fn did_the_work(result: &RunResult, row: &Row) -> bool {
    let verdict = result
        .equivalence_of(&row.target)
        .map(|known| known.verdict);
    row.status != RowStatus::NotFinite && verdict != Some(Verdict::Different)
}

#[cfg(test)]
mod tests {
    use mlxbench_core::results::{Equivalence, Sample, TargetId};

    use super::*;
    use crate::fixture::{result, sample, test};
    use crate::summary::summarize;

    /// Five repetitions of each target, whose one decode step takes about so many nanoseconds.
    fn raced(targets: &[(&str, u64)]) -> RunResult {
        let samples = targets.iter().flat_map(|(name, step)| {
            let target: TargetId = name.parse().unwrap();
            (0..5).map(move |jitter| Sample {
                target: target.clone(),
                ..sample(test(8, 2), &[100, 100 + step + jitter])
            })
        });
        let mut result = result(samples.collect());
        result.run.targets = targets
            .iter()
            .map(|(name, _)| name.parse().unwrap())
            .collect();
        result
    }

    fn decode<'a>(result: &RunResult, summary: &'a Summary) -> Option<Leader<'a>> {
        leader(result, summary, &test(8, 2), Metric::Decode, |row| {
            row.decode_tokens_per_second
        })
    }

    #[test]
    fn the_fastest_leads_by_its_distance_to_the_next_framework() {
        let result = raced(&[
            ("a/cpu/f32", 2000),
            ("b/cpu/f32", 900),
            ("b/cpu/bf16", 1000),
        ]);
        let summary = summarize(&result);
        let leader = decode(&result, &summary).unwrap();
        assert_eq!(leader.row.target.to_string(), "b/cpu/f32");
        let second = leader.runner_up.unwrap();
        assert_eq!(second.row.target.to_string(), "a/cpu/f32");
        assert!((second.ratio.median - 2002.0 / 902.0).abs() < 1e-9);
        assert_eq!(second.certain(), Some(true));
    }

    #[test]
    fn a_dead_heat_is_not_certain() {
        let result = raced(&[("a/cpu/f32", 1000), ("b/cpu/f32", 1000)]);
        let summary = summarize(&result);
        let second = decode(&result, &summary).unwrap().runner_up.unwrap();
        assert_eq!(second.certain(), Some(false));
    }

    #[test]
    fn other_work_never_leads_but_is_named() {
        let mut result = raced(&[("a/cpu/f32", 2000), ("b/cpu/f32", 900)]);
        result.equivalences = vec![Equivalence {
            target: "b/cpu/f32".parse().unwrap(),
            verdict: Verdict::Different,
            reason: None,
            fidelity: None,
        }];
        let summary = summarize(&result);
        let leader = decode(&result, &summary).unwrap();
        assert_eq!(leader.row.target.to_string(), "a/cpu/f32");
        assert_eq!(leader.runner_up, None);
        assert_eq!(leader.set_aside[0].target.to_string(), "b/cpu/f32");
    }

    #[test]
    fn nobody_leads_where_nothing_was_measured() {
        let result = raced(&[]);
        assert_eq!(decode(&result, &summarize(&result)), None);
    }
}
