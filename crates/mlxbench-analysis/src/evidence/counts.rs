//! How likely ranks are when both sides are alike: by counting, or normal where there is too much to count.

use statrs::distribution::{ContinuousCDF, Normal};

/// Above so many pairs of figures the ranks' distribution is taken as normal.
const MOST_EXACT: usize = 40_000;

/// The largest k for which a sample of `m` has fewer than k of its `n m` differences to one of `n`
/// below zero with a probability of at most `tail`, the two being alike. `None` where there is none.
pub(super) fn mann_whitney_rank(n: usize, m: usize, tail: f64) -> Option<usize> {
    let pairs = n * m;
    if pairs > MOST_EXACT {
        let (n, m, pairs) = (n as f64, m as f64, pairs as f64);
        let deviation = (pairs * (n + m + 1.0) / 12.0).sqrt();
        return normal_rank(pairs / 2.0, deviation, tail);
    }
    // How many orders have u pairs the wrong way round, from u = 0: the coefficients of Gauss's
    // binomial (Mann & Whitney 1947).
    let most = pairs / 2;
    let mut orders = vec![0.0; most + 1];
    orders[0] = 1.0;
    for i in 1..=n {
        for u in (m + i..=most).rev() {
            orders[u] -= orders[u - m - i];
        }
        for u in i..=most {
            orders[u] += orders[u - i];
        }
    }
    rank(&orders, choose(n + m, n), tail)
}

/// How many of `counts`, from the first, make up at most the share `tail` of `total`.
fn rank(counts: &[f64], total: f64, tail: f64) -> Option<usize> {
    let mut sum = 0.0;
    let within = |count: &&f64| {
        sum += **count;
        sum / total <= tail
    };
    let rank = counts.iter().take_while(within).count();
    (rank > 0).then_some(rank)
}

/// The same where the count is normally distributed, with a correction for its being whole.
pub(super) fn normal_rank(mean: f64, deviation: f64, tail: f64) -> Option<usize> {
    let last = mean + deviation * Normal::standard().inverse_cdf(tail) - 0.5;
    (last >= 0.0).then(|| last.floor() as usize + 1)
}

/// How many ways there are to choose `k` of `n`; infinite where that is past all numbers.
pub(super) fn choose(n: usize, k: usize) -> f64 {
    (1..=k)
        .map(|i| (n - k + i) as f64 / i as f64)
        .product::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_published_tables() {
        // One-sided 2.5 % and 0.5 % (Hollander, Wolfe & Chicken, table A.6; U at most).
        assert_eq!(mann_whitney_rank(10, 10, 0.025), Some(24));
        assert_eq!(mann_whitney_rank(5, 8, 0.025), Some(7));
        assert_eq!(mann_whitney_rank(5, 5, 0.005), Some(1));
        assert_eq!(mann_whitney_rank(5, 5, 0.003), None);
    }

    #[test]
    fn many_repetitions_have_the_normal_rank() {
        let exact = mann_whitney_rank(200, 200, 0.001).unwrap() as f64;
        let (n, deviation) = (200.0, (40_000.0_f64 * 401.0 / 12.0).sqrt());
        let normal = normal_rank(n * n / 2.0, deviation, 0.001).unwrap() as f64;
        assert!((exact - normal).abs() < 15.0, "{exact} and {normal}");
        assert!(mann_whitney_rank(10_000, 10_000, 1e-4).is_some());
    }
}
