//! The order of turns. Targets take turns (A B C B A C), so that drift of the machine falls on all
//! alike; each round has an order of its own, so that none always follows the same other. Every few rounds all
//! go on in new processes.

use std::ops::Range;

use mlxbench_core::limits::REPETITIONS;
use mlxbench_core::results::{ROUNDS_OF_BLOCK, Settings};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// The order of `targets` in a round. The same seed and round give the same order.
pub(crate) fn order(targets: &[usize], seed: u64, round: usize) -> Vec<usize> {
    let mut order = targets.to_vec();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(round as u64));
    // Fisher and Yates; the bias of the remainder is below 2^-50 for any count of targets.
    for last in (1..order.len()).rev() {
        order.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
    }
    order
}

/// The order of `targets` in a round of a block of two: drawn for the first, and back in the second. Of two targets
/// the one that is measured first in a block is so by a fair coin, and last in the end: whatever changes
/// steadily while they are measured falls on both alike, and all else falls on either by that coin.
pub(crate) fn there_and_back(targets: &[usize], seed: u64, round: usize) -> Vec<usize> {
    let mut order = order(targets, seed, round / ROUNDS_OF_BLOCK);
    if !round.is_multiple_of(ROUNDS_OF_BLOCK) {
        order.reverse();
    }
    order
}

/// The rounds of each target's process number `process`, counted from 0. The processes share the repetitions as
/// evenly as can be, the first ones with one more where they don't divide; what is measured beyond
/// goes on at the same pace, up to the most repetitions.
pub(crate) fn rounds_of(process: usize, settings: &Settings) -> Range<usize> {
    let (repetitions, processes) = (settings.repetitions, settings.processes());
    let most = settings.max_repetitions.unwrap_or(REPETITIONS);
    let begin = |process: usize| (process * repetitions).div_ceil(processes);
    begin(process)..begin(process + 1).min(most.max(begin(process) + 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::stop::tests::settings;

    /// So many rounds each process of a run has.
    fn shares(repetitions: usize, processes: usize, most: Option<usize>) -> Vec<usize> {
        let settings = Settings {
            repetitions,
            processes: Some(processes),
            max_repetitions: most,
            ..settings()
        };
        let mut next = 0;
        let rounds = (0..).map(|process| rounds_of(process, &settings));
        let rounds = rounds.take_while(|rounds| rounds.start < most.unwrap_or(repetitions));
        let share = |rounds: Range<usize>| {
            assert_eq!(rounds.start, next, "none is left out");
            next = rounds.end;
            rounds.len()
        };
        rounds.map(share).collect()
    }

    #[test]
    fn processes_share_the_repetitions_evenly() {
        assert_eq!(shares(6, 3, None), [2, 2, 2]);
        assert_eq!(shares(7, 3, None), [3, 2, 2]);
        assert_eq!(shares(5, 1, None), [5]);
        assert_eq!(shares(4, 4, None), [1, 1, 1, 1]);
        assert_eq!(shares(2, 3, None), [1, 1], "none without a repetition");
    }

    #[test]
    fn repetitions_beyond_the_least_get_processes_of_their_own() {
        assert_eq!(shares(6, 3, Some(11)), [2, 2, 2, 2, 2, 1]);
    }

    #[test]
    fn every_target_has_one_turn_in_a_round() {
        for round in 0..20 {
            let mut order = order(&[1, 4, 7, 9], 3, round);
            order.sort_unstable();
            assert_eq!(order, [1, 4, 7, 9]);
        }
    }

    #[test]
    fn a_block_goes_there_and_back_and_its_start_is_a_fair_coin() {
        let starts = (0..400).map(|block| {
            let there = there_and_back(&[0, 1, 2, 3], 11, 2 * block);
            let mut back = there_and_back(&[0, 1, 2, 3], 11, 2 * block + 1);
            back.reverse();
            assert_eq!(there, back);
            let place = |target| there.iter().position(|&other| other == target);
            place(0) < place(1)
        });
        let first = starts.filter(|&first| first).count();
        assert!((160..240).contains(&first), "{first} of 400");
    }

    #[test]
    fn rounds_differ_and_repeat_by_seed() {
        let rounds = |seed| {
            (0..60)
                .map(|round| order(&[0, 1, 2], seed, round))
                .collect::<Vec<_>>()
        };
        assert_eq!(rounds(5), rounds(5));
        assert_ne!(rounds(5), rounds(6));
        let orders: BTreeSet<_> = rounds(5).into_iter().collect();
        assert_eq!(orders.len(), 6, "all orders of three come up");
    }
}
