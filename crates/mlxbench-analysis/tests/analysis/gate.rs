//! Does the gate keep its word? What `examples/gate.rs` simulates at length, in short.

use rayon::prelude::*;

use crate::noise::gates::{MOST_ROUNDS, Mode, NOISES, ROWS, simulate};

const GATES: usize = 60;

#[test]
fn two_sides_are_told_apart_whatever_disturbs_them() {
    NOISES.into_par_iter().for_each(|noise| {
        let what = format!("{}: {}", Mode::Together.name(), noise.name);
        let equal = simulate(noise, Mode::Together, 1.0, ROWS, GATES, 1);
        assert_eq!(equal.failed, 0, "{what}");
        let slower = simulate(noise, Mode::Together, 0.9, ROWS, GATES, 2);
        assert!(
            slower.failed * 100 >= slower.gates * 95,
            "{what}: {}",
            slower.failed
        );
        assert_eq!(slower.same, 0, "{what}");
        assert!(slower.rounds(0.5) < MOST_ROUNDS, "{what}");
    });
}

#[test]
fn equal_sides_are_called_the_same_at_little_noise() {
    let equal = simulate(NOISES[1], Mode::Together, 1.0, ROWS, GATES, 3);
    assert!(equal.passed * 100 >= GATES * 90, "{}", equal.passed);
}

#[test]
fn a_change_of_just_the_threshold_is_rarely_called() {
    // The last with processes that are far faster than others.
    for noise in [NOISES[2], NOISES[8]] {
        let edge = simulate(noise, Mode::Together, 0.95, ROWS, GATES, 4);
        assert!(edge.failed * 100 <= GATES * 10, "{}", edge.failed);
    }
}

#[test]
fn two_quiet_runs_of_five_are_told_apart() {
    let quiet = NOISES[0];
    let slower = simulate(quiet, Mode::Apart(5, 1), 0.77, ROWS, GATES, 5);
    assert_eq!(slower.slower, GATES * ROWS);
    let equal = simulate(quiet, Mode::Apart(10, 1), 1.0, ROWS, GATES, 6);
    assert_eq!(equal.failed, 0);
    assert!(equal.passed * 100 >= GATES * 90, "{}", equal.passed);
}

#[test]
fn two_runs_of_one_process_each_mistake_its_luck_for_a_change() {
    let lucky = simulate(NOISES[1], Mode::Apart(10, 1), 1.0, ROWS, GATES, 7);
    assert!(lucky.failed * 100 > 10 * GATES, "{}", lucky.failed);
    // Several runs of the base tell how far luck goes.
    let told = simulate(NOISES[1], Mode::Bases(5, 10, 1), 1.0, ROWS, GATES, 7);
    assert!(told.failed * 100 <= 5 * GATES, "{}", told.failed);
    // And how far unlike machines lie apart.
    let unlike = simulate(NOISES[7], Mode::Bases(5, 10, 10), 1.0, ROWS, GATES, 8);
    assert!(unlike.failed * 100 <= 5 * GATES, "{}", unlike.failed);
}
