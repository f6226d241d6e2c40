//! Energy per token.

use mlxbench_analysis::Row;

use super::{Better, Figure, by_test};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};
use crate::{Digest, units};

/// Joules per token; `None` where no meter was read.
pub(super) fn chart(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let figure = |row: &Row| {
        let joules = row.joules_per_token?;
        Some(Figure {
            value: joules.median,
            interval: joules.interval,
            dots: Vec::new(),
            limit: None,
            words: units::joules(&joules),
            beside: String::new(),
            timed: true,
        })
    };
    let rows = by_test(digest, palette, "J/token", Better::Lower, 1, figure)?;
    Some(Chart {
        name: "energy".into(),
        title: "Energy per token".into(),
        caption: "What the meter counted beyond the machine's idle power, over all tokens of a \
                  repetition, prompt and generated."
            .into(),
        form: Form::Rows(rows),
    })
}
