//! Does the gate keep its word? What `examples/gate.rs` simulates at length, in short.

use crate::noise::gates::{Mode, NOISES, Seen, simulate};

const GATES: usize = 200;

#[test]
fn a_gate_of_forty_rows_neither_cries_wolf_nor_sleeps() {
    // The last noise sets runs apart: nothing but pairs can tell that from a change.
    let (apart, within) = NOISES.split_last().expect("there are several");
    let unpaired = within.iter().map(|noise| (noise, Mode::Unpaired, 10));
    let paired = NOISES.iter().map(|noise| (noise, Mode::Paired, 20));
    for (noise, mode, repetitions) in unpaired.chain(paired) {
        let seen = simulate(*noise, mode, repetitions, GATES);
        let Seen {
            false_alarms,
            slowed,
            called,
            same,
            inconclusive,
            ..
        } = seen;
        let what = format!("{}, {}", noise.name, mode.name());
        assert!(false_alarms * 100 <= GATES, "{what}: {false_alarms}");
        assert_eq!(same, 0, "{what}");
        assert_eq!(called + inconclusive, slowed, "{what}");
        // What is open is decided by as many repetitions as were asked for.
        let decided = seen.then_called as f64 / seen.tried_again.max(1) as f64;
        assert!(
            called * 100 > slowed * 95 || (decided > 0.7 && seen.then_same == 0),
            "{what}: {called} of {slowed} called, then {decided} with {:?}",
            seen.asked_for
        );
    }
    let fooled = simulate(*apart, Mode::Unpaired, 30, GATES);
    assert!(
        fooled.false_alarms * 100 > GATES,
        "two runs can't be told apart"
    );
}
