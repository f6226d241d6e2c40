//! The order of turns. Targets take turns (A B C B A C), so that drift of the machine falls on all
//! alike; each round has an order of its own, so that none always follows the same other.

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
