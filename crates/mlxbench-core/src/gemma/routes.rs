//! Which tokens go through which experts, for frameworks where the host decides.

/// An expert, and the tokens that go through it.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Which expert.
    pub expert: usize,
    /// The tokens, by their rows.
    pub rows: Vec<u32>,
    /// What the expert counts for each of them.
    pub shares: Vec<f32>,
}

/// The routes of tokens whose router gave `scores`, of shape `[rows, experts]`: each goes through the `top_k` experts
/// with the highest scores, of equal ones the first. Their shares are the softmax over these scores, times the
/// expert's factor. Experts without tokens are left out.
pub fn routes(scores: &[f32], factors: &[f32], top_k: usize) -> Vec<Route> {
    let mut of_experts: Vec<Route> = (0..factors.len())
        .map(|expert| Route {
            expert,
            rows: Vec::new(),
            shares: Vec::new(),
        })
        .collect();
    for (row, scores) in scores.chunks(factors.len().max(1)).enumerate() {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        order.truncate(top_k);
        let highest = order.first().map_or(0.0, |&first| scores[first]);
        let weight = |expert: usize| (scores[expert] - highest).exp();
        let sum: f32 = order.iter().map(|&expert| weight(expert)).sum();
        for expert in order {
            let route = &mut of_experts[expert];
            route.rows.push(row as u32);
            route.shares.push(weight(expert) / sum * factors[expert]);
        }
    }
    of_experts.retain(|route| !route.rows.is_empty());
    of_experts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_goes_through_the_highest_and_shares_sum_to_one_times_the_factors() {
        let scores = [1.0, 3.0, 2.0, 3.0, -1.0, 0.0];
        let routes = routes(&scores, &[1.0, 2.0, 1.0], 2);
        let of = |expert: usize| routes.iter().find(|route| route.expert == expert).unwrap();
        // Row 0: experts 1 and 2, a score apart; row 1: experts 0 and 2, three apart.
        let share = |apart: f32| 1.0 / (1.0 + (-apart).exp());
        assert_eq!(of(0).rows, [1]);
        assert_eq!(of(1).rows, [0]);
        assert_eq!(of(2).rows, [0, 1]);
        assert_eq!(of(1).shares, [2.0 * share(1.0)]);
        let sums = [
            of(1).shares[0] / 2.0 + of(2).shares[0],
            of(0).shares[0] + of(2).shares[1],
        ];
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{sums:?}");
        assert!((of(0).shares[0] - share(3.0)).abs() < 1e-6);
    }

    #[test]
    fn experts_without_tokens_are_left_out() {
        let routes = routes(&[0.5, 0.5, 0.25], &[1.0; 3], 1);
        assert_eq!(
            routes.iter().map(|route| route.expert).collect::<Vec<_>>(),
            [0]
        );
        assert_eq!(routes[0].shares, [1.0]);
    }
}
