//! How much groups differ from each other, beyond what their members do: repetitions of processes, processes of runs.

/// The standard deviation of normal noise over its median absolute deviation (Rousseeuw & Croux, *Journal of the
/// American Statistical Association* 88, 1993).
pub(crate) const OVER_MEDIAN_ABSOLUTE: f64 = 1.4826;

/// The components of variance of a one-way layout with one random factor and groups of unequal sizes (Searle,
/// Casella & McCulloch, *Variance Components*, 1992, section 3.6).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Components {
    /// Between groups, less what the members of a group explain: negative where that is all.
    pub(crate) between: f64,
    /// Of the members of one group; 0 where no group has two.
    pub(crate) within: f64,
}

impl Components {
    /// `None` of fewer than two groups, and where one is empty.
    pub(crate) fn of<G: AsRef<[f64]>>(groups: &[G]) -> Option<Self> {
        let groups = || groups.iter().map(AsRef::as_ref);
        let sizes = || groups().map(|group| group.len() as f64);
        let (k, n) = (groups().count() as f64, sizes().sum::<f64>());
        if k < 2.0 || sizes().any(|size| size == 0.0) {
            return None;
        }
        let squares = |group: &[f64], center: f64| {
            let squares = group.iter().map(|x| (x - center).powi(2));
            squares.sum::<f64>()
        };
        let grand = groups().flatten().sum::<f64>() / n;
        let among = groups().map(|group| group.len() as f64 * (mean(group) - grand).powi(2));
        let inside: f64 = groups().map(|group| squares(group, mean(group))).sum();
        let within = inside / (n - k).max(1.0);
        let size = (n - sizes().map(|size| size * size).sum::<f64>() / n) / (k - 1.0);
        Some(Self {
            between: (among.sum::<f64>() / (k - 1.0) - within) / size,
            within,
        })
    }
}

/// The arithmetic mean of `values`, of which there is one at least.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The natural logarithms of `values`; `None` where one isn't positive and finite.
pub(crate) fn logs(values: &[f64]) -> Option<Vec<f64>> {
    let log = |value: &f64| Some(value.ln()).filter(|log| log.is_finite());
    values.iter().map(log).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout of Snedecor & Cochran's turnip leaves (*Statistical Methods*, 1989, example 13.3.1): calcium of
    /// four leaves, four determinations each, 0.0066 within and 0.0724 between.
    #[test]
    fn a_textbooks_example() {
        let leaves = [
            [3.28, 3.09, 3.03, 3.03],
            [3.52, 3.48, 3.38, 3.38],
            [2.88, 2.80, 2.81, 2.76],
            [3.34, 3.38, 3.23, 3.26],
        ];
        let Components { between, within } = Components::of(&leaves).unwrap();
        assert!((within - 0.0066).abs() < 5e-5, "{within}");
        assert!((between - 0.0724).abs() < 5e-5, "{between}");
    }

    #[test]
    fn what_cannot_be_told_is_none() {
        assert_eq!(Components::of(&[vec![1.0, 2.0]]), None);
        assert_eq!(Components::of(&[vec![1.0], vec![]]), None);
        assert_eq!(logs(&[1.0, 0.0]), None);
        assert_eq!(logs(&[f64::INFINITY]), None);
    }
}
