//! Which target is fastest within each precision, and of all; by how much, with what certainty.

use std::collections::BTreeMap;

use mlxbench_core::Precision;
use mlxbench_core::results::{Metric, RunResult, TargetId, Test, Verdict, Warmup};

use crate::metrics::values_by_process;
use crate::stats::Estimate;
use crate::summary::{Row, RowStatus, Summary};

/// A lead below this isn't worth a name, however sure it is.
pub const SMALLEST_LEAD: f64 = 1.01;

/// The targets of a test in the order of a rate. Like is compared with like: targets of one precision
/// do the same arithmetic, those of several don't.
#[derive(Debug, Clone, PartialEq)]
pub struct Standings<'a> {
    /// The fastest of each precision beside all others of that precision, the fastest precision first.
    pub within: Vec<Leader<'a>>,
    /// The fastest of all beside the fastest of each other precision; `None` where nobody can lead.
    pub overall: Option<Leader<'a>>,
    /// Targets that were measured and can't lead, nor count as beaten.
    pub set_aside: Vec<SetAside<'a>>,
}

/// The fastest of some targets.
#[derive(Debug, Clone, PartialEq)]
pub struct Leader<'a> {
    /// Its row.
    pub row: &'a Row,
    /// All others, the fastest first.
    pub rivals: Vec<Rival<'a>>,
}

/// A target that a leader is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Rival<'a> {
    /// Its row.
    pub row: &'a Row,
    /// How many times as fast the leader is: the ratio of the medians.
    pub ratio: Estimate,
}

/// What a ratio says of two targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    /// The interval of the ratio lies above 1, and the ratio is no less than [`SMALLEST_LEAD`].
    Sure,
    /// The two can't be told apart, or differ by next to nothing.
    Tie,
    /// The repetitions are too few for an interval.
    Unknown,
}

/// A target that can't lead.
#[derive(Debug, Clone, PartialEq)]
pub struct SetAside<'a> {
    /// Its row.
    pub row: &'a Row,
    /// Why.
    pub reason: Unfit,
    /// Whether it is faster than whoever leads in its precision; where nobody does, than the fastest of all.
    pub faster: bool,
}

/// Why a target's rate can't lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Its logits aren't finite.
    NotFinite,
    /// It computes something different from the reference.
    Different,
    /// Its times still changed when warm-up ended.
    Unsteady {
        /// Repetitions of warm-up.
        warmups: usize,
    },
}

impl Rival<'_> {
    /// What its ratio says.
    pub fn lead(&self) -> Lead {
        match self.ratio.interval {
            None => Lead::Unknown,
            Some(interval) if interval.low > 1.0 && self.ratio.median >= SMALLEST_LEAD => {
                Lead::Sure
            }
            Some(_) => Lead::Tie,
        }
    }
}

impl<'a> Leader<'a> {
    /// The precision that it leads in.
    pub fn precision(&self) -> Precision {
        self.row.target.placement.precision
    }

    /// The leader and whoever ties with it.
    pub fn first_place(&self) -> Vec<&'a Row> {
        let tied = self.rivals.iter().filter(|rival| rival.lead() == Lead::Tie);
        std::iter::once(self.row)
            .chain(tied.map(|rival| rival.row))
            .collect()
    }
}

/// The standings of `test` by the median of `metric`, a rate that `rate` takes from a row. A target that
/// computes something different from the reference, whose logits weren't finite in any test or whose warm-up never became steady
/// is set aside.
pub fn standings<'a>(
    result: &RunResult,
    summary: &'a Summary,
    test: &Test,
    metric: Metric,
    rate: impl Fn(&Row) -> Option<Estimate>,
) -> Standings<'a> {
    let median = |row: &Row| rate(row).map_or(f64::NEG_INFINITY, |rate| rate.median);
    let measured = summary.rows.iter();
    let measured = measured.filter(|row| row.test == *test && rate(row).is_some());
    let mut measured: Vec<&Row> = measured.collect();
    measured.sort_by(|a, b| median(b).total_cmp(&median(a)));
    let values = |row: &Row| values_by_process(metric, result, &row.target, &row.test);
    let leader = |ranked: &[&'a Row]| {
        let (&row, others) = ranked.split_first()?;
        let rivals = others.iter().filter_map(|&other| {
            let ratio = Estimate::of_ratio_of_processes(&values(row), &values(other))?;
            Some(Rival { row: other, ratio })
        });
        Some(Leader {
            row,
            rivals: rivals.collect(),
        })
    };
    let mut precisions: Vec<(Precision, Vec<&Row>)> = Vec::new();
    let mut unfit: Vec<(&Row, Unfit)> = Vec::new();
    for row in measured {
        let precision = row.target.placement.precision;
        match Unfit::of(result, summary, row) {
            Some(reason) => unfit.push((row, reason)),
            None => match precisions.iter_mut().find(|(known, _)| *known == precision) {
                Some((_, ranked)) => ranked.push(row),
                None => precisions.push((precision, vec![row])),
            },
        }
    }
    let within = precisions.iter().filter_map(|(_, ranked)| leader(ranked));
    let within: Vec<Leader<'a>> = within.collect();
    let fastest: Vec<&Row> = within.iter().map(|leader| leader.row).collect();
    let overall = leader(&fastest);
    let set_aside = unfit.into_iter().map(|(row, reason)| {
        let precision = row.target.placement.precision;
        let mut own = within.iter();
        let own = own.find(|leader| leader.precision() == precision);
        let best = own.or(overall.as_ref());
        let faster = best.is_some_and(|leader| median(row) > median(leader.row));
        SetAside {
            row,
            reason,
            faster,
        }
    });
    Standings {
        set_aside: set_aside.collect(),
        overall,
        within,
    }
}

impl Unfit {
    /// Why a row can't lead; `None` where nothing speaks against it: its work may not have been looked at.
    pub fn of(result: &RunResult, summary: &Summary, row: &Row) -> Option<Self> {
        Self::of_work(result, summary, row).or_else(|| {
            let unsteady = unsteady_warmup(result, &row.target, &row.test)?;
            let warmups = unsteady.end_to_end_ns.len();
            Some(Self::Unsteady { warmups })
        })
    }

    /// What makes all figures of a row worthless: those of its target, or the row's own conversation or training.
    pub fn of_work(result: &RunResult, summary: &Summary, row: &Row) -> Option<Self> {
        let own = match result.verdict_of(&row.target, &row.test) {
            _ if row.status == RowStatus::NotFinite => Some(Self::NotFinite),
            Some(Verdict::Different) => Some(Self::Different),
            _ => None,
        };
        Self::of_target(result, summary, &row.target).or(own)
    }

    /// What makes all figures of a target worthless, memory as well: the logits of any of its tests weren't finite, or
    /// it computes something different. Losses that aren't finite speak against their own training alone.
    pub fn of_target(result: &RunResult, summary: &Summary, target: &TargetId) -> Option<Self> {
        let own = summary.rows.iter().filter(|row| row.target == *target);
        let mut own = own.filter(|row| row.test.as_lora().is_none());
        let verdict = result.equivalence_of(target).map(|known| known.verdict);
        if own.any(|row| row.status == RowStatus::NotFinite) {
            return Some(Self::NotFinite);
        }
        (verdict == Some(Verdict::Different)).then_some(Self::Different)
    }

    /// In two words.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFinite => "not finite",
            Self::Different => "different work",
            Self::Unsteady { .. } => "not steady",
        }
    }
}

/// The last warm-up of a case's process, where in half of its processes or more the times still changed when
/// warm-up ended. One time alone can't tell.
pub fn unsteady_warmup<'a>(
    result: &'a RunResult,
    target: &TargetId,
    test: &Test,
) -> Option<&'a Warmup> {
    let own = result.warmups.iter();
    let own = own.filter(|warmup| warmup.target == *target && warmup.test == *test);
    let last: BTreeMap<Option<usize>, &Warmup> =
        own.map(|warmup| (warmup.process, warmup)).collect();
    let unsteady = last
        .values()
        .filter(|last| !last.steady && last.end_to_end_ns.len() > 1);
    let unsteady: Vec<&&Warmup> = unsteady.collect();
    unsteady
        .last()
        .filter(|_| 2 * unsteady.len() >= last.len())
        .map(|warmup| **warmup)
}

#[cfg(test)]
mod tests {
    use mlxbench_core::Nanos;
    use mlxbench_core::results::{Equivalence, Sample};

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

    fn decode<'a>(result: &RunResult, summary: &'a Summary) -> Standings<'a> {
        standings(result, summary, &test(8, 2), Metric::Decode, |row| {
            row.decode_tokens_per_second
        })
    }

    /// `a > b, c`: a leader, and its rivals.
    fn names(leader: &Leader<'_>) -> String {
        let rivals = leader
            .rivals
            .iter()
            .map(|rival| rival.row.target.to_string());
        let rivals: Vec<String> = rivals.collect();
        format!("{} > {}", leader.row.target, rivals.join(", "))
    }

    #[test]
    fn each_precision_has_a_leader_with_all_its_rivals() {
        // Whoever mixes precisions calls b the fastest framework; in bf16 it is a.
        let result = raced(&[
            ("a/cpu/bf16", 1000),
            ("b/cpu/f32", 900),
            ("b/cpu/bf16", 1300),
            ("a/cpu/f32", 1800),
            ("c/cpu/f32", 1900),
        ]);
        let summary = summarize(&result);
        let standings = decode(&result, &summary);
        let within: Vec<String> = standings.within.iter().map(names).collect();
        assert_eq!(
            within,
            [
                "b/cpu/f32 > a/cpu/f32, c/cpu/f32",
                "a/cpu/bf16 > b/cpu/bf16"
            ]
        );
        let second = &standings.within[0].rivals[0];
        assert!((second.ratio.median - 1802.0 / 902.0).abs() < 1e-9);
        assert_eq!(second.lead(), Lead::Sure);
        assert_eq!(names(&standings.overall.unwrap()), "b/cpu/f32 > a/cpu/bf16");
    }

    #[test]
    fn weights_in_another_format_are_another_precision() {
        let result = raced(&[("a/cpu/q4-bf16", 500), ("a/cpu/bf16", 1000)]);
        let summary = summarize(&result);
        let standings = decode(&result, &summary);
        assert!(
            standings
                .within
                .iter()
                .all(|leader| leader.rivals.is_empty())
        );
        assert_eq!(standings.within.len(), 2);
    }

    #[test]
    fn a_dead_heat_is_a_tie() {
        let result = raced(&[
            ("a/cpu/f32", 1000),
            ("b/cpu/f32", 1000),
            ("c/cpu/f32", 2000),
        ]);
        let summary = summarize(&result);
        let standings = decode(&result, &summary);
        let [leader] = &standings.within[..] else {
            panic!("{standings:?}")
        };
        let leads: Vec<Lead> = leader.rivals.iter().map(Rival::lead).collect();
        assert_eq!(leads, [Lead::Tie, Lead::Sure]);
        assert_eq!(leader.first_place().len(), 2);
    }

    #[test]
    fn a_lead_of_next_to_nothing_is_a_tie_however_sure() {
        let result = raced(&[("a/cpu/f32", 10_000), ("b/cpu/f32", 10_050)]);
        let summary = summarize(&result);
        let rival = decode(&result, &summary).within[0].rivals[0].clone();
        assert!(rival.ratio.interval.unwrap().low > 1.0);
        assert_eq!(rival.lead(), Lead::Tie);
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
        let standings = decode(&result, &summary);
        assert_eq!(names(&standings.within[0]), "a/cpu/f32 > ");
        let [aside] = &standings.set_aside[..] else {
            panic!("{standings:?}")
        };
        assert_eq!((aside.reason, aside.faster), (Unfit::Different, true));
    }

    #[test]
    fn a_target_that_never_became_steady_cant_lead() {
        let mut result = raced(&[("a/cpu/f32", 2000), ("b/cpu/f32", 900)]);
        let warmup = |times: &[u64], steady| Warmup {
            target: "b/cpu/f32".parse().unwrap(),
            test: test(8, 2),
            process: None,
            end_to_end_ns: times.iter().copied().map(Nanos).collect(),
            steady,
        };
        let leads = |result: &RunResult| {
            let summary = summarize(result);
            names(&decode(result, &summary).within[0])
        };
        result.warmups = vec![warmup(&[900], false)];
        assert_eq!(leads(&result), "b/cpu/f32 > a/cpu/f32", "one can't tell");
        result.warmups.push(warmup(&[9000, 4000, 2000], false));
        assert_eq!(leads(&result), "a/cpu/f32 > ");
        let summary = summarize(&result);
        let aside = decode(&result, &summary).set_aside[0].reason;
        assert_eq!(aside, Unfit::Unsteady { warmups: 3 });
        // In a precision where nobody leads it is held against the fastest of all.
        let mut narrow = result.clone();
        let unsteady = warmup(&[9000, 4000, 2000], false);
        narrow.warmups = vec![unsteady];
        for target in &mut narrow.run.targets {
            if target.to_string() == "a/cpu/f32" {
                *target = "a/cpu/bf16".parse().unwrap();
            }
        }
        for sample in &mut narrow.samples {
            if sample.target.to_string() == "a/cpu/f32" {
                sample.target = "a/cpu/bf16".parse().unwrap();
            }
        }
        let summary = summarize(&narrow);
        assert!(decode(&narrow, &summary).set_aside[0].faster);
        for sample in &mut narrow.samples {
            if sample.target.to_string() == "b/cpu/f32" {
                sample.token_ns[1].0 = 9000;
            }
        }
        let summary = summarize(&narrow);
        assert!(!decode(&narrow, &summary).set_aside[0].faster);
        // Of two processes one is enough; of three it isn't.
        let of_process = |process, times, steady| Warmup {
            process: Some(process),
            ..warmup(times, steady)
        };
        let mut several = result.clone();
        let steady = |process| of_process(process, &[950, 951], true);
        several.warmups = vec![of_process(0, &[9000, 2000], false), steady(1)];
        assert_eq!(leads(&several), "a/cpu/f32 > ");
        several.warmups.push(steady(2));
        assert_eq!(leads(&several), "b/cpu/f32 > a/cpu/f32");
        // A new process warms up anew.
        result.warmups.push(warmup(&[950, 951], true));
        assert_eq!(leads(&result), "b/cpu/f32 > a/cpu/f32");
    }

    #[test]
    fn nobody_leads_where_nothing_was_measured() {
        let result = raced(&[]);
        let summary = summarize(&result);
        let standings = decode(&result, &summary);
        assert_eq!((standings.within.len(), standings.overall), (0, None));
    }
}
