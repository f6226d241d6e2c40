mod few;

use mlxbench_core::results::{Equivalence, Failure, FailureKind, Fidelity, Sample, Verdict};

use super::compared::Figure;
use super::standing::OTHER_THAN_BASE;
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

/// A run whose worker died after so many repetitions.
fn died_after(repetitions: usize) -> RunResult {
    let mut died = run(1000);
    died.samples.truncate(repetitions);
    died.failures.push(Failure {
        target: target(),
        test: Some(test(8, 2)),
        kind: FailureKind::Died,
        message: "killed".into(),
        retried: false,
    });
    died
}

fn judged_equivalent(mut run: RunResult, verdict: Verdict) -> RunResult {
    run.equivalences.push(Equivalence {
        target: target(),
        verdict,
        reason: None,
        fidelity: None,
    });
    run
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

/// `run` with its repetitions spread over so many processes.
fn spread_over(processes: usize, mut run: RunResult) -> RunResult {
    let each = run.samples.len() / processes;
    for sample in &mut run.samples {
        sample.process = Some(sample.repetition / each);
    }
    run
}

#[test]
fn processes_are_what_is_compared_not_their_repetitions() {
    let compared = |processes| {
        let [base, new] = [1000, 1200].map(|step| spread_over(processes, run(step)));
        decode(&compare(&base, &new, &Options::default()))
            .change
            .clone()
    };
    // All repetitions of a process may be slow by its luck, and two of two are by a chance of one in six.
    assert!(matches!(compared(2), Change::Inconclusive { .. }));
    assert_eq!(compared(6), Change::Worse);
}

#[test]
fn a_single_process_is_told_whose_luck_passes_for_a_change() {
    let told = |base: RunResult, new| compare(&base, &new, &Options::default()).single_process;
    assert!(told(run(1000), run(1000)));
    assert!(told(spread_over(6, run(1000)), run(1000)));
    assert!(!told(spread_over(6, run(1000)), spread_over(6, run(1000))));
}

#[test]
fn a_base_of_several_runs_is_all_of_them_and_those_of_another_machine_are_left_out() {
    let mut other = run(3000);
    other.run.machine.cpu = "another".into();
    let earlier = [run(1400), run(1200), other];
    let comparison = compare_runs(&run(1000), &earlier, &run(1200), &Options::default());
    assert_eq!((comparison.base_runs, comparison.left_out), (3, 1));
    let row = decode(&comparison);
    let change = row.new.unwrap().median / row.base.unwrap().median;
    assert!((change / row.ratio.unwrap().median - 1.0).abs() < 0.01);
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
        metrics: [Compared::Decode, Compared::Ttft, Compared::Memory].into(),
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
fn a_figure_that_was_asked_for_and_is_nowhere_is_no_pass() {
    let asked = |metrics: &[Compared]| {
        let options = Options {
            metrics: metrics.into(),
            ..Options::default()
        };
        compare(&run(1000), &run(1000), &options)
    };
    let comparison = asked(&[Compared::Decode, Compared::LatencyP99, Compared::Energy]);
    assert_eq!(comparison.gate, Gate::Inconclusive);
    let [p99, energy] = &comparison.unmeasured[..] else {
        panic!("{:?}", comparison.unmeasured)
    };
    assert!(p99.contains("368 decode steps"), "{p99}");
    assert_eq!(energy, "energy was not measured in both");
    assert_eq!(asked(&[Compared::Decode]).gate, Gate::Pass);
    assert!(asked(&Compared::DEFAULT).unmeasured.is_empty());
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
    let died = died_after(2);
    let comparison = compare(&base, &died, &Options::default());
    let reason = "died: killed".to_owned();
    assert_eq!(decode(&comparison).change, Change::Broken { reason });
    assert_eq!((comparison.gate, comparison.rows.len()), (Gate::Fail, 1));
    let other = judged_equivalent(run(900), Verdict::Different);
    assert_eq!(compare(&base, &other, &Options::default()).gate, Gate::Fail);
    // It was as wrong before.
    let comparison = compare(&other, &other, &Options::default());
    assert_eq!(comparison.gate, Gate::Inconclusive);
    let reason = "in both it computes something different from the reference".to_owned();
    assert_eq!(decode(&comparison).change, Change::NotComparable { reason });
}

/// A run of `--ab` in which side b computes something else than the reference, which is of `backend`.
fn other_work_of_side_b(reference: &str, fidelity: Option<Fidelity>) -> RunResult {
    let mut run = result(Vec::new());
    run.run.targets = ["mock/cpu/f32@a", "mock/cpu/f32@b"]
        .map(|name| name.parse().unwrap())
        .into();
    run.run.settings.reference = Some(reference.parse().unwrap());
    let targets = run.run.targets.clone();
    run.samples = targets
        .iter()
        .flat_map(|target| measured(target, 1000))
        .collect();
    for (target, verdict) in targets
        .into_iter()
        .zip([Verdict::Identical, Verdict::Different])
    {
        run.equivalences.push(Equivalence {
            target,
            verdict,
            reason: None,
            fidelity: fidelity.clone(),
        });
    }
    run
}

#[test]
fn a_new_build_of_the_reference_that_computes_something_else_is_not_broken() {
    let figures = Fidelity {
        positions: 8,
        largest_logit_difference: 3.0,
        mean_kl: 1.0,
        largest_kl: 2.0,
        agreeing_positions: 2,
        first_divergence: None,
    };
    let compared = |run: &RunResult| compare_sides(run, &Options::default()).unwrap();
    // Its old build is the yardstick, and may be what is wrong.
    let own = compared(&other_work_of_side_b("mock/cpu/f32", Some(figures.clone())));
    let reason = OTHER_THAN_BASE.to_owned();
    assert_eq!(decode(&own).change, Change::NotComparable { reason });
    assert_eq!(own.gate, Gate::Inconclusive);
    // Against another's, it was right before and is wrong now.
    let others = compared(&other_work_of_side_b("candle/cpu/f32", Some(figures)));
    assert_eq!(others.gate, Gate::Fail);
    // Logits that aren't finite are right for nobody.
    let infinite = compared(&other_work_of_side_b("mock/cpu/f32", None));
    assert_eq!(infinite.gate, Gate::Fail);
}

#[test]
fn what_failed_in_both_is_named() {
    let died = died_after(0);
    let comparison = compare(&died, &died, &Options::default());
    assert_eq!(comparison.rows, []);
    assert_eq!(
        comparison.failing,
        ["mock/cpu/f32 pp8+tg2: in both died: killed"]
    );
    let mut missing = died.clone();
    missing.failures[0].kind = FailureKind::Missing;
    missing.failures[0].message = "no worker".into();
    let comparison = compare(&missing, &died, &Options::default());
    let expected =
        "mock/cpu/f32 pp8+tg2: in the base missing: no worker; in the new result died: killed";
    assert_eq!(comparison.failing, [expected]);
    let measured = compare(&run(1000), &run(1000), &Options::default());
    assert_eq!(measured.failing, [""; 0]);
}

#[test]
fn work_that_is_no_longer_checked_is_no_pass() {
    let [checked, unchecked] = [Verdict::Identical, Verdict::Unchecked]
        .map(|verdict| judged_equivalent(run(1000), verdict));
    let gate = |base, new| compare(base, new, &Options::default()).gate;
    assert_eq!(gate(&checked, &unchecked), Gate::Inconclusive);
    assert_eq!(gate(&unchecked, &unchecked), Gate::Pass);
}

#[test]
fn what_fails_now_fails_the_gate_whatever_is_asked_for() {
    let died = died_after(0);
    // No repetition has an energy.
    let options = Options {
        metrics: vec![Compared::Energy],
        ..Options::default()
    };
    assert_eq!(compare(&run(1000), &died, &options).gate, Gate::Fail);
}

#[test]
fn what_failed_before_is_no_regression() {
    let died = died_after(2);
    let comparison = compare(&died, &run(1000), &Options::default());
    let reason = "in the base died: killed".to_owned();
    assert_eq!(
        decode(&comparison).change,
        Change::NotComparable {
            reason: reason.clone()
        }
    );
    // Nor is it silent where not one repetition was measured.
    let comparison = compare(&died_after(0), &run(1000), &Options::default());
    assert_eq!(decode(&comparison).change, Change::NotComparable { reason });
    assert_eq!(comparison.gate, Gate::Inconclusive);
    let nothing = compare(&died_after(0), &died_after(0), &Options::default());
    assert_eq!(nothing.rows, []);
    assert_eq!(
        compare(&died, &died, &Options::default()).gate,
        Gate::Inconclusive
    );
    let mut infinite = run(1000);
    infinite.samples[0].finite = false;
    assert_eq!(
        compare(&infinite, &run(2000), &Options::default()).gate,
        Gate::Inconclusive
    );
    assert_eq!(
        compare(&run(1000), &infinite, &Options::default()).gate,
        Gate::Fail
    );
}

#[test]
fn a_figure_that_is_gone_is_no_pass() {
    let mut blind = run(1000);
    for sample in &mut blind.samples {
        sample.peak_memory_bytes = None;
    }
    let comparison = compare(&run(1000), &blind, &Options::default());
    let reason = "the new result has no such figure".to_owned();
    let gone = comparison.rows.iter().map(|row| (row.metric, &row.change));
    let gone: Vec<_> = gone
        .filter(|(_, change)| **change != Change::Same)
        .collect();
    assert_eq!(
        gone,
        [(Compared::Memory, &Change::NotComparable { reason })]
    );
    assert_eq!(comparison.gate, Gate::Inconclusive);
    assert_eq!(
        compare(&blind, &run(1000), &Options::default()).gate,
        Gate::Pass
    );
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
    assert_eq!(comparison.too_few, None);
    run.samples.retain(|sample| sample.repetition < 4);
    let few = compare_sides(&run, &Options::default()).unwrap();
    assert!(few.too_few.is_some_and(|few| few.time && few.memory));
}

#[test]
fn runs_that_differ_widen_the_interval_of_one_more() {
    let options = Options {
        metrics: vec![Compared::Decode],
        ..Options::default()
    };
    let new = run(1120);
    let one = compare(&run(1000), &new, &options);
    assert_eq!(
        (decode(&one).change.clone(), one.base_runs),
        (Change::Worse, 1)
    );
    // Of five runs of the same build each is a few per cent apart from the others.
    let earlier = [940, 1060, 950, 1040].map(run);
    let five = compare_runs(&run(1000), &earlier, &new, &options);
    assert_eq!(five.base_runs, 5);
    assert!(matches!(decode(&five).change, Change::Inconclusive { .. }));
    let steady = [1001, 999, 1000, 1002].map(run);
    let steady = compare_runs(&run(1000), &steady, &new, &options);
    assert_eq!(decode(&steady).change, Change::Worse);
    // One of another version doesn't belong to them.
    let mut other = run(500);
    other.targets[0].identity.version = "0".into();
    assert_eq!(
        compare_runs(&run(1000), &[other], &new, &options).base_runs,
        1
    );
}

#[test]
fn half_a_block_of_two_sides_counts_for_nothing() {
    let figures = |values: &[f64]| -> Vec<Figure> {
        let rounds = values.iter().enumerate();
        rounds
            .map(|(round, &value)| Figure { round, value })
            .collect()
    };
    let (base, new) = (figures(&[10.0; 5]), figures(&[9.0; 5]));
    let (_, ratio, whole) = paired(&base, &new, 2);
    assert_eq!(ratio.unwrap().n, 5);
    let (.., even) = paired(&base[..4], &new[..4], 2);
    let blocks = |measured: Option<Measured>| match measured {
        Some(Measured::Together(pairs)) => pairs,
        _ => panic!("pairs"),
    };
    assert_eq!(blocks(whole), blocks(even));
    assert!(paired(&base[..1], &new[..1], 2).2.is_none());
    // One that is lost in the middle doesn't pair rounds of others.
    let lost = |mut figures: Vec<Figure>| {
        for (at, figure) in figures.iter_mut().enumerate() {
            figure.value += at as f64;
        }
        figures.remove(2);
        figures
    };
    let (.., gone) = paired(&lost(figures(&[10.0; 6])), &lost(figures(&[9.0; 6])), 2);
    let (.., left) = paired(
        &figures(&[10.0, 11.0, 14.0, 15.0]),
        &figures(&[9.0, 10.0, 13.0, 14.0]),
        2,
    );
    assert_eq!(blocks(gone), blocks(left));
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
