//! Speed against the bytes of all weights as they are kept.

use mlxbench_analysis::Row;

use super::memory::GIB;
use super::{point, series};
use crate::Digest;
use crate::draw::plane::{Axis, Plane, Scale, Stroke};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};

/// Decode rate against the size of the weights; `None` where no quantised target has one.
pub(super) fn chart(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let test = digest.main_test()?;
    let rows = digest.summary.rows.iter();
    let shown = |row: &&Row| row.test == test && row.decode_tokens_per_second.is_some();
    let rows: Vec<&Row> = rows.filter(shown).collect();
    if rows.iter().all(|row| row.quantisation_cost.is_none()) {
        return None;
    }
    let marks = rows.into_iter().filter_map(|row| {
        let bytes = digest.result.storage_of(&row.target)?.weights_bytes();
        let at = point(bytes as f64 / GIB, row.decode_tokens_per_second?);
        let mark = Stroke::Marks;
        Some(series(digest, palette, &row.target, mark, vec![at]))
    });
    let marks: Vec<_> = marks.collect();
    (!marks.is_empty()).then(|| Chart {
        name: "weights".into(),
        title: format!("Speed against the size of the weights, {test}"),
        caption: "Up is faster, left is smaller: all weights as they are kept, scales included. A decode \
                  step reads nearly all of them once, so where memory bandwidth is the limit, half the \
                  bytes are twice the speed."
            .into(),
        form: Form::Plane(Plane {
            x: Axis {
                title: "GiB of weights".into(),
                scale: Scale::FromZero,
            },
            y: Axis {
                title: "tokens/s".into(),
                scale: Scale::FromZero,
            },
            series: marks,
        }),
    })
}
