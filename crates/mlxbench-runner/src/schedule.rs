//! The order of turns. Targets take turns (A B C B A C), so that drift of the machine falls on all
//! alike; each round has an order of its own, so that none always follows the same other.

use mlxbench_core::results::ROUNDS_OF_BLOCK;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

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
