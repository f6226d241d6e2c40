//! Memory over time, for charts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Nanos;

/// The memory of a worker process, looked at from time to time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// The time between two looks; the first was at the beginning.
    pub every_ns: Nanos,
    /// What the process held at each, in bytes.
    pub memory_bytes: Vec<u64>,
}

impl Timeline {
    /// The most that the process held at a look up to `end`, counted from the beginning; `None` without looks.
    pub fn highest_until(&self, end: Nanos) -> Option<u64> {
        let last = end.0.checked_div(self.every_ns.0).unwrap_or(u64::MAX);
        let looks = (0..=last).zip(&self.memory_bytes);
        looks.map(|(_, &bytes)| bytes).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_is_of_the_looks_up_to_the_end() {
        let highest = |every_ns, end| {
            let timeline = Timeline {
                every_ns: Nanos(every_ns),
                memory_bytes: vec![3, 9, 5, 11],
            };
            timeline.highest_until(Nanos(end))
        };
        let until = [0, 19, 20, 59, 60, 1000].map(|end| highest(20, end));
        assert_eq!(until, [3, 3, 9, 9, 11, 11].map(Some));
        // Looks without a distance are all at the beginning.
        assert_eq!(highest(0, 0), Some(11));
        assert_eq!(Timeline::default().highest_until(Nanos(5)), None);
    }
}
