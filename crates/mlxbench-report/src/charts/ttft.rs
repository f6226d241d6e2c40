//! Time to first token: against prompt length where a run has several lengths.

use mlxbench_analysis::Row;
use mlxbench_core::results::{Metric, Test};

use super::{Figure, bars, lines, point};
use crate::draw::plane::{Axis, Plane, Scale};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};
use crate::{Digest, units};

/// How long the first token takes.
pub(super) fn chart(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let seconds = |row: &Row| {
        Some(
            row.ttft_ns
                .filter(|_| row.test.yields(Metric::Prefill))?
                .scaled(1e-9),
        )
    };
    // Generated tokens come after the first.
    let kind = |test: &Test| match test.depth() {
        0 => test.conditions(),
        depth => format!(" @ d{depth}{}", test.conditions()),
    };
    let series = lines(digest, palette, kind, |row| {
        Some(point(row.test.prompt_tokens() as f64, seconds(row)?))
    });
    let caption = "From the handing over of the prompt to the first token that can be read.";
    let form = if series.is_empty() {
        let prefills = |row: &Row| row.test.yields(Metric::Prefill);
        let axis = "seconds, median and 95 % interval";
        let figure = |row: &Row| {
            let seconds = seconds(row)?;
            Some(Figure {
                value: seconds.median,
                interval: seconds.interval,
                limit: None,
                words: units::time(seconds.median * 1e9),
            })
        };
        Form::Rows(bars(digest, palette, axis, prefills, figure)?)
    } else {
        Form::Plane(Plane {
            x: Axis {
                title: "tokens of the prompt".into(),
                scale: Scale::Logarithmic,
            },
            y: Axis {
                title: "seconds to the first token".into(),
                scale: Scale::Logarithmic,
            },
            series,
        })
    };
    Some(Chart {
        name: "ttft".into(),
        title: "Time to first token".into(),
        caption: caption.into(),
        form,
    })
}
