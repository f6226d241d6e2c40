//! The order of repetitions. Targets take turns (A B C A B C), so that drift of the machine falls
//! on all alike.

use mlxbench_core::results::Residency;

/// One repetition to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Index of the target.
    pub target: usize,
    /// Index of the test.
    pub test: usize,
    /// Which measured repetition, counted from 0; `None` for warm-up.
    pub repetition: Option<usize>,
}

/// What decides the order.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Number of targets.
    pub targets: usize,
    /// Number of tests.
    pub tests: usize,
    /// Measured repetitions a case.
    pub repetitions: usize,
    /// Unmeasured ones before them, in each process.
    pub warmup: usize,
    /// Which workers stay loaded.
    pub residency: Residency,
}

/// All repetitions in order.
///
/// Workers that stay loaded take turns at each test: warm-ups, then repetitions. Workers that are
/// loaded one at a time take turns at one repetition of all tests, warm-ups before each test.
pub fn schedule(shape: Shape) -> Vec<Step> {
    let Shape {
        targets,
        tests,
        repetitions,
        warmup,
        residency,
    } = shape;
    let warmups = || std::iter::repeat_n(None, warmup);
    let mut steps = Vec::new();
    match residency {
        Residency::Together => {
            for test in 0..tests {
                for repetition in warmups().chain((0..repetitions).map(Some)) {
                    steps.extend((0..targets).map(|target| Step {
                        target,
                        test,
                        repetition,
                    }));
                }
            }
        }
        Residency::OneAtATime => {
            for measured in 0..repetitions {
                for target in 0..targets {
                    for test in 0..tests {
                        let turn = warmups().chain([Some(measured)]);
                        steps.extend(turn.map(|repetition| Step {
                            target,
                            test,
                            repetition,
                        }));
                    }
                }
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(residency: Residency) -> String {
        let shape = Shape {
            targets: 2,
            tests: 2,
            repetitions: 2,
            warmup: 1,
            residency,
        };
        let name = |step: &Step| {
            let repetition = step.repetition.map_or("w".into(), |n| n.to_string());
            format!(
                "{}{}{repetition}",
                ["A", "B"][step.target],
                ["x", "y"][step.test]
            )
        };
        schedule(shape)
            .iter()
            .map(name)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn loaded_together_targets_take_turns_at_each_repetition() {
        let expected = "Axw Bxw Ax0 Bx0 Ax1 Bx1 Ayw Byw Ay0 By0 Ay1 By1";
        assert_eq!(names(Residency::Together), expected);
    }

    #[test]
    fn loaded_one_at_a_time_targets_take_turns_at_each_round() {
        let expected = "Axw Ax0 Ayw Ay0 Bxw Bx0 Byw By0 Axw Ax1 Ayw Ay1 Bxw Bx1 Byw By1";
        assert_eq!(names(Residency::OneAtATime), expected);
    }
}
