//! Energy a token.

use mlxbench_analysis::Row;

use super::{Figure, bars};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};
use crate::{Digest, units};

/// Joules a token; `None` where no meter was read.
pub(super) fn chart(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let figure = |row: &Row| {
        let joules = row.joules_per_token?;
        Some(Figure {
            value: joules.median,
            interval: joules.interval,
            limit: None,
            words: units::joules(&joules),
        })
    };
    let rows = bars(digest, palette, "joules a token", |_| true, figure)?;
    Some(Chart {
        name: "energy".into(),
        title: "Energy a token".into(),
        caption: "What the meter counted beyond the machine's idle power, over all tokens of a \
                  repetition, prompt and generated."
            .into(),
        form: Form::Rows(rows),
    })
}
