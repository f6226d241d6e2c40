//! What so few repetitions can tell that rows have to help each other.

use super::*;

/// The first repetitions of three targets, whose decode step takes about so many nanoseconds.
fn of_three(repetitions: usize, step: u64) -> RunResult {
    let targets: [TargetId; 3] =
        ["mock/cpu/f32", "mock/cpu/bf16", "mock/cpu/f16"].map(|name| name.parse().unwrap());
    let samples = targets.iter().flat_map(|target| measured(target, step));
    let samples = samples
        .filter(|sample| sample.repetition < repetitions)
        .map(|mut sample| {
            // Prefill is as much slower.
            sample.token_ns[0].0 = step + sample.repetition as u64;
            sample.token_ns[1].0 = 2 * (step + sample.repetition as u64);
            sample
        });
    let mut run = result(samples.collect());
    run.run.targets = targets.into();
    run
}

#[test]
fn five_repetitions_tell_a_result_that_is_slower_in_every_row() {
    let slower = compare(&of_three(5, 1000), &of_three(5, 1300), &Options::default());
    assert_eq!((slower.gate, slower.judged), (Gate::Fail, 9));
    let worse = slower.rows.iter().filter(|row| row.change == Change::Worse);
    assert_eq!(worse.count(), 6, "all but memory");
    let itself = compare(&of_three(5, 1000), &of_three(5, 1000), &Options::default());
    assert!(itself.rows.iter().all(|row| row.change == Change::Same));
    assert_eq!((itself.gate, itself.too_few), (Gate::Pass, None));
}

#[test]
fn three_beside_three_tell_what_all_rows_of_time_agree_about() {
    // Times to first token grow where rates fall, and memory stays.
    let options = Options {
        metrics: Compared::ALL.into(),
        ..Options::default()
    };
    let slower = compare(&of_three(3, 1000), &of_three(3, 1300), &options);
    let verdicts = |comparison: &Comparison, metric: Compared| -> Vec<Change> {
        let rows = comparison.rows.iter().filter(|row| row.metric == metric);
        rows.map(|row| row.change.clone()).collect()
    };
    for metric in [Compared::Decode, Compared::Prefill, Compared::Ttft] {
        assert_eq!(
            verdicts(&slower, metric),
            vec![Change::Worse; 3],
            "{metric:?}"
        );
    }
    assert_eq!(verdicts(&slower, Compared::Memory), vec![Change::Same; 3]);
    assert_eq!((slower.gate, slower.too_few), (Gate::Fail, None));
    let ttft = slower.rows.iter().find(|row| row.metric == Compared::Ttft);
    let bounds = ttft.unwrap().bounds.unwrap();
    assert!(1.05 < bounds.low && bounds.high < 1.5, "{bounds:?}");
}

#[test]
fn three_beside_three_that_do_not_agree_say_that_they_are_too_few() {
    let mut one_slower = of_three(3, 1000);
    one_slower.samples.truncate(6);
    one_slower
        .samples
        .extend(of_three(3, 1300).samples.split_off(6));
    let comparison = compare(&of_three(3, 1000), &one_slower, &Options::default());
    assert_eq!(comparison.gate, Gate::Inconclusive);
    let time = TooFew {
        time: true,
        memory: false,
        repetitions: ENOUGH_REPETITIONS,
        base: true,
        new: true,
    };
    assert_eq!(comparison.too_few, Some(time));
    for row in &comparison.rows {
        if let Change::Inconclusive { repetitions, .. } = row.change {
            assert!(repetitions.unwrap() >= ENOUGH_REPETITIONS, "{row:?}");
        }
    }
}

#[test]
fn the_side_that_is_short_is_named() {
    let few = |repetitions| of_three(repetitions, 1000);
    let side = |base, new| {
        let too_few = compare(&few(base), &few(new), &Options::default()).too_few;
        too_few.map(|too_few| (too_few.base, too_few.new))
    };
    assert_eq!(side(1, 5), Some((true, true)), "five aren't ten");
    assert_eq!(side(1, 10), Some((true, false)));
    assert_eq!(side(10, 1), Some((false, true)));
    assert_eq!(side(5, 5), None);
}

#[test]
fn memory_that_changed_in_one_row_of_few_is_said_to_be_beyond_them() {
    let holding = |step, bytes: [u64; 3]| {
        let mut run = of_three(3, step);
        for (at, sample) in run.samples.iter_mut().enumerate() {
            sample.peak_memory_bytes = Some(bytes[at / 3]);
        }
        run
    };
    let (lean, fat) = (1 << 30, 3 << 30);
    let (before, after) = (holding(1000, [lean; 3]), holding(1300, [fat, lean, lean]));
    let comparison = compare(&before, &after, &Options::default());
    assert_eq!(comparison.gate, Gate::Fail, "by time");
    let too_few = comparison.too_few.unwrap();
    assert_eq!((too_few.time, too_few.memory), (false, true));
}

#[test]
fn results_that_can_tell_nothing_say_so() {
    let few = |step| {
        let mut few = run(step);
        few.samples.truncate(2);
        few
    };
    let comparison = compare(&few(1000), &few(2000), &Options::default());
    let too_few = comparison.too_few.unwrap();
    assert_eq!(too_few.repetitions, ENOUGH_REPETITIONS);
    assert_eq!((too_few.time, too_few.memory), (true, true));
    assert_eq!(comparison.gate, Gate::Inconclusive);
}

#[test]
fn too_few_repetitions_are_inconclusive_and_say_how_many_would_do() {
    let few = |step| {
        let mut few = run(step);
        few.samples.truncate(2);
        few
    };
    let comparison = compare(&few(1000), &few(2000), &Options::default());
    assert_eq!(comparison.gate, Gate::Inconclusive);
    let Change::Inconclusive { repetitions, .. } = decode(&comparison).change else {
        panic!("{:?}", decode(&comparison).change);
    };
    assert!(repetitions.unwrap() >= 3);
}
