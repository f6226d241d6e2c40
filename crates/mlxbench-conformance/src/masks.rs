//! Masks written out by hand, for those that adapters make on their devices.

use std::ops::Range;

use mlxbench_core::gemma::cache::Append;
use mlxbench_core::gemma::pass::{Mask, Pass};

/// A pass, and what its tokens see.
pub struct MaskCase {
    /// The pass.
    pub pass: Pass,
    /// A row for each new token, with an `x` for each entry read that it sees and a `.` for each that it
    /// doesn't.
    rows: &'static [&'static str],
}

impl MaskCase {
    /// The mask as numbers to add to scores, of [`Pass::mask_shape`], row after row.
    pub fn additive(&self) -> Vec<f32> {
        let number = |seen| if seen { 0.0 } else { f32::NEG_INFINITY };
        let entries = self.rows.iter().flat_map(|row| row.chars());
        entries.map(|entry| number(entry == 'x')).collect()
    }
}

/// Positions of entries are below 101.
pub fn cases() -> [MaskCase; 6] {
    let causal = |positions, entries, rows| case(positions, entries, Mask::Causal, rows);
    let windowed =
        |window, positions, entries, rows| case(positions, entries, Mask::Windowed(window), rows);
    [
        causal(0..3, 0..3, &["x..", "xx.", "xxx"]),
        causal(1..3, 0..3, &["xx.", "xxx"]),
        causal(5..7, 0..7, &["xxxxxx.", "xxxxxxx"]),
        windowed(2, 2..4, 0..4, &[".xx.", "..xx"]),
        windowed(4, 5..9, 2..9, &["xxxx...", ".xxxx..", "..xxxx.", "...xxxx"]),
        windowed(
            3,
            98..101,
            90..101,
            &["......xxx..", ".......xxx.", "........xxx"],
        ),
    ]
}

/// The entries lie elsewhere in the cache than in the text.
fn case(
    positions: Range<usize>,
    entries: Range<usize>,
    mask: Mask,
    rows: &'static [&'static str],
) -> MaskCase {
    let pass = Pass {
        append: Append {
            keep: None,
            write: 0..positions.len(),
            read: 3..3 + entries.len(),
            read_position: entries.start,
        },
        positions,
        mask,
    };
    MaskCase { pass, rows }
}
