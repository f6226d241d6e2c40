//! Decode and prefill rate by target, with intervals.

use mlxbench_analysis::{Estimate, Row};
use mlxbench_core::results::Metric;

use super::{Figure, bars};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};
use crate::{Digest, units};

const AXIS: &str = "tokens a second, median and 95 % interval";

/// How fast tokens are generated.
pub(super) fn decode(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let generates = |row: &Row| row.test.yields(Metric::Decode);
    let figure = |row: &Row| figure(row.decode_tokens_per_second, row.mbu, "MBU");
    let rows = bars(digest, palette, AXIS, generates, figure)?;
    Some(Chart {
        name: "decode".into(),
        title: "Decode rate".into(),
        caption: "Tokens generated a second after the first. The whisker is the interval in which \
                  the median lies with 95 % certainty; MBU is the share of the memory bandwidth \
                  that was measured on the device."
            .into(),
        form: Form::Rows(rows),
    })
}

/// How fast prompts are read.
pub(super) fn prefill(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let prefills = |row: &Row| row.test.yields(Metric::Prefill);
    let figure = |row: &Row| figure(row.prefill_tokens_per_second, row.mfu, "MFU");
    let rows = bars(digest, palette, AXIS, prefills, figure)?;
    Some(Chart {
        name: "prefill".into(),
        title: "Prefill rate".into(),
        caption: "Tokens of the prompt read a second, up to the first generated token. MFU is the \
                  share of the matrix-product rate that was measured on the device in the dtype that is computed in."
            .into(),
        form: Form::Rows(rows),
    })
}

fn figure(rate: Option<Estimate>, share: Option<Estimate>, name: &str) -> Option<Figure> {
    let rate = rate?;
    let share = share.map(|share| format!(" · {name} {}", units::share(share.median)));
    Some(Figure {
        value: rate.median,
        interval: rate.interval,
        limit: None,
        words: format!("{}{}", units::rate(&rate), share.unwrap_or_default()),
    })
}
