//! Many tests at once: of forty at 5 %, two find something where there is nothing.

/// How often tests of one family, where nothing is to be found by any, may find something all the same.
pub const FAMILY: f64 = 0.05;

/// The level at which each of the tests with these p-values is to be read, so that of everything found
/// at most a share of [`FAMILY`] is chance: k / m of it, where the k least of m p-values are the most
/// that all reach that (Benjamini & Hochberg, *Journal of the Royal Statistical Society B* 57, 1995).
///
/// Where there is nothing to be found, any is found with a probability of [`FAMILY`] at most; where much
/// is, the level rises up to it, unlike Bonferroni's. It holds for independent tests and such that
/// err together (Benjamini & Yekutieli, *Annals of Statistics* 29, 2001), as those of one machine do.
pub fn level(p_values: &[f64]) -> f64 {
    let mut sorted = p_values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let share = |count: usize| FAMILY * count as f64 / sorted.len() as f64;
    let found = (1..=sorted.len()).rfind(|&count| sorted[count - 1] <= share(count));
    share(found.unwrap_or(1)).min(FAMILY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_test_keeps_the_whole_level() {
        assert_eq!(level(&[0.04]), FAMILY);
        assert_eq!(level(&[0.9]), FAMILY);
        assert_eq!(level(&[]), FAMILY);
    }

    #[test]
    fn a_small_p_value_among_many_is_chance() {
        let mut p_values = vec![0.5; 39];
        p_values.push(0.01);
        assert!(level(&p_values) < 0.01);
    }

    // The example of Benjamini & Hochberg 1995, section 3.2: of 15 hypotheses four are rejected.
    #[test]
    fn the_papers_example_rejects_four() {
        let p_values = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0,
        ];
        let level = level(&p_values);
        assert_eq!(p_values.iter().filter(|p| **p <= level).count(), 4);
        assert!((level - 4.0 * 0.05 / 15.0).abs() < 1e-12);
    }

    #[test]
    fn what_all_tests_find_is_found_at_the_whole_level() {
        assert_eq!(level(&[0.04; 40]), FAMILY);
    }
}
