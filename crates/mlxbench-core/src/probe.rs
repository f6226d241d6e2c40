//! How fast a device can be, in a framework's own terms: single products with weight matrices of a
//! model's shapes. A product with one row reads the weights as decode does, one with many rows
//! multiplies as prefill does.

use crate::backend::Product;
use crate::clock::Clock;
pub use crate::product::ProductShape;
use crate::{Nanos, Result};

/// Bytes of weights that take turns in a product with one row, so that no cache holds them all.
pub const WORKING_SET_BYTES: u64 = 256 << 20;

/// Turns that are timed at least, unless one takes longer than the whole probe should.
const FEWEST_TURNS: usize = 3;

/// The time of one product: after an untimed turn over all `copies`, the fastest of the turns that
/// fit into `least`, divided by the copies. The fastest, as STREAM does: what is looked for is the
/// device's limit.
///
/// # Errors
/// The framework's own.
pub fn fastest(
    product: &mut impl Product,
    clock: &impl Clock,
    copies: usize,
    least: Nanos,
) -> Result<Nanos> {
    let mut turn = || {
        let start = clock.now();
        for copy in 0..copies {
            product.multiply(copy)?;
        }
        product.synchronize()?;
        Ok(clock.now().since(start))
    };
    let mut best: Nanos = turn()?;
    if best <= least {
        let start = clock.now();
        best = turn()?;
        let mut turns = 1;
        // A virtual clock may stand still.
        while turns < FEWEST_TURNS || (best > Nanos(0) && clock.now().since(start) < least) {
            best = best.min(turn()?);
            turns += 1;
        }
    }
    Ok(Nanos(best.0 / copies as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;

    /// The first turn takes ten times as long, the others a little less each time.
    struct Warming {
        clock: VirtualClock,
        products: u64,
    }

    impl Product for Warming {
        fn multiply(&mut self, _copy: usize) -> Result<()> {
            let cost = if self.products < 2 {
                1000
            } else {
                100 - self.products
            };
            self.clock.advance(Nanos(cost));
            self.products += 1;
            Ok(())
        }

        fn synchronize(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn probe(least: u64) -> (Nanos, u64) {
        let clock = VirtualClock::default();
        let mut product = Warming {
            clock: clock.clone(),
            products: 0,
        };
        let best = fastest(&mut product, &clock, 2, Nanos(least)).unwrap();
        (best, product.products)
    }

    #[test]
    fn the_fastest_turn_after_the_first_counts() {
        // After the warm-up, twelve turns fill the time; the last takes 76 and 75.
        assert_eq!(probe(2000), (Nanos(75), 26));
    }

    #[test]
    fn a_turn_that_takes_all_the_time_is_the_only_one() {
        assert_eq!(probe(1999), (Nanos(1000), 2));
    }
}
