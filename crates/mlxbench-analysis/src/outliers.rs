//! Samples far from the rest, flagged by Tukey's fences and never dropped.

use serde::Serialize;

use crate::stats::{quantile, sorted};

/// The fewest samples that have [`Fences`]: of three, none can lie beyond a fence, however far off
/// it is, since it moves the quartile on its side as well. Of four, none can lie beyond a severe
/// one.
pub const FEWEST_FOR_FENCES: usize = 4;

/// Quartile ranges from a quartile to the fence of mild outliers.
const MILD: f64 = 1.5;

/// Quartile ranges from a quartile to the fence of severe outliers.
const SEVERE: f64 = 3.0;

/// How far off a sample is, and on which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outlier {
    /// More than 3 quartile ranges below the first quartile.
    LowSevere,
    /// More than 1.5 quartile ranges below the first quartile.
    LowMild,
    /// More than 1.5 quartile ranges above the third quartile.
    HighMild,
    /// More than 3 quartile ranges above the third quartile.
    HighSevere,
}

/// Where samples begin to be outliers, in their unit (Tukey, *Exploratory Data Analysis*, 1977,
/// section 2D; criterion's classification, with [`quantile`]'s quartiles). When half of the samples
/// or more are equal there may be no room between quartiles, and any other sample is severe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fences {
    low_severe: f64,
    low_mild: f64,
    high_mild: f64,
    high_severe: f64,
}

impl Fences {
    /// The fences of finite `samples`, in any order. `None` for fewer than [`FEWEST_FOR_FENCES`].
    pub fn of(samples: &[f64]) -> Option<Self> {
        if samples.len() < FEWEST_FOR_FENCES {
            return None;
        }
        let sorted = sorted(samples);
        let (first, third) = (quantile(&sorted, 0.25)?, quantile(&sorted, 0.75)?);
        let range = third - first;
        Some(Self {
            low_severe: first - SEVERE * range,
            low_mild: first - MILD * range,
            high_mild: third + MILD * range,
            high_severe: third + SEVERE * range,
        })
    }

    /// What `sample` is; `None` when it lies within the fences or on one of the inner two.
    pub fn classify(&self, sample: f64) -> Option<Outlier> {
        if sample < self.low_severe {
            Some(Outlier::LowSevere)
        } else if sample < self.low_mild {
            Some(Outlier::LowMild)
        } else if sample > self.high_severe {
            Some(Outlier::HighSevere)
        } else if sample > self.high_mild {
            Some(Outlier::HighMild)
        } else {
            None
        }
    }
}

/// How many samples are outliers of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outliers {
    /// [`Outlier::LowSevere`].
    pub low_severe: usize,
    /// [`Outlier::LowMild`].
    pub low_mild: usize,
    /// [`Outlier::HighMild`].
    pub high_mild: usize,
    /// [`Outlier::HighSevere`].
    pub high_severe: usize,
}

impl Outliers {
    /// Counts the outliers of finite `samples`, by their own [`Fences`]; which ones they are says
    /// [`Fences::classify`]. `None` for fewer than [`FEWEST_FOR_FENCES`] samples.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let fences = Fences::of(samples)?;
        let mut counts = Self::default();
        for outlier in samples.iter().filter_map(|&sample| fences.classify(sample)) {
            match outlier {
                Outlier::LowSevere => counts.low_severe += 1,
                Outlier::LowMild => counts.low_mild += 1,
                Outlier::HighMild => counts.high_mild += 1,
                Outlier::HighSevere => counts.high_severe += 1,
            }
        }
        Some(counts)
    }

    /// How many there are of any kind.
    pub fn total(&self) -> usize {
        self.low_severe + self.low_mild + self.high_mild + self.high_severe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quartiles 11 and 13: fences at 5, 8, 16 and 19.
    fn fences() -> Fences {
        Fences::of(&[10.0, 11.0, 12.0, 13.0, 14.0]).unwrap()
    }

    #[test]
    fn a_sample_is_what_its_distance_says() {
        for (sample, expected) in [
            (4.9, Some(Outlier::LowSevere)),
            (7.9, Some(Outlier::LowMild)),
            (12.0, None),
            (16.1, Some(Outlier::HighMild)),
            (19.1, Some(Outlier::HighSevere)),
        ] {
            assert_eq!(fences().classify(sample), expected);
        }
    }

    #[test]
    fn a_fence_belongs_to_its_inner_side() {
        assert_eq!(fences().classify(16.0), None);
        assert_eq!(fences().classify(8.0), None);
        assert_eq!(fences().classify(19.0), Some(Outlier::HighMild));
        assert_eq!(fences().classify(5.0), Some(Outlier::LowMild));
    }

    #[test]
    fn outliers_are_counted_by_kind() {
        let samples = [10.0, 10.1, 9.9, 10.0, 10.2, 9.8, 10.1, 10.5, 2.0, 30.0, 9.5];
        let outliers = Outliers::of(&samples).unwrap();
        let expected = Outliers {
            low_severe: 1,
            low_mild: 0,
            high_mild: 0,
            high_severe: 1,
        };
        assert_eq!(outliers, expected);
        assert_eq!(outliers.total(), 2);
    }

    #[test]
    fn fences_need_four_samples() {
        assert_eq!(Outliers::of(&[1.0, 1.0, 1e9]), None);
        assert_eq!(Outliers::of(&[1.0, 1.0, 1.0, 1e9]).unwrap().high_mild, 1);
    }

    #[test]
    fn beside_equal_samples_any_other_is_severe() {
        let outliers = Outliers::of(&[7.0, 7.0, 7.0, 7.0, 6.9]).unwrap();
        assert_eq!((outliers.low_severe, outliers.total()), (1, 1));
    }
}
