//! Attention masks as plain numbers: what tests hold the adapters' masks against, which are made on the device.

/// The additive mask of `queries` tokens that follow one another from position `query_start`, over
/// `keys` cached tokens from position `key_start`: 0 where the key is visible, minus infinity
/// where it is not. Shape `[queries, keys]`, row after row.
///
/// A key is visible when it isn't later than the query and, with a window `W`, when
/// `query - key < W`.
pub fn additive(
    query_start: usize,
    queries: usize,
    key_start: usize,
    keys: usize,
    window: Option<usize>,
) -> Vec<f32> {
    let mut mask = Vec::with_capacity(queries * keys);
    for query in query_start..query_start + queries {
        for key in key_start..key_start + keys {
            let visible = key <= query && window.is_none_or(|window| query - key < window);
            mask.push(if visible { 0.0 } else { f32::NEG_INFINITY });
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(mask: &[f32]) -> Vec<bool> {
        mask.iter().map(|&m| m == 0.0).collect()
    }

    #[test]
    fn a_global_layer_sees_all_earlier_positions() {
        let mask = additive(1, 2, 0, 3, None);
        assert_eq!(visible(&mask), [true, true, false, true, true, true]);
    }

    #[test]
    fn a_window_of_two_sees_itself_and_one_before() {
        let mask = additive(2, 2, 0, 4, Some(2));
        assert_eq!(
            visible(&mask),
            [false, true, true, false, false, false, true, true]
        );
    }
}
