//! Time to first token against prompt length.

use mlxbench_analysis::Row;
use mlxbench_core::results::{Metric, Test};

use super::{lines, point};
use crate::Digest;
use crate::draw::plane::{Axis, Plane, Scale};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};

/// How long the first token takes; `None` of a single prompt length.
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
    if series.is_empty() {
        return None;
    }
    Some(Chart {
        name: "ttft".into(),
        title: "Time to first token by prompt length".into(),
        caption: "From submitting the prompt to the first token.".into(),
        form: Form::Plane(Plane {
            x: Axis {
                title: "prompt tokens".into(),
                scale: Scale::Doubling,
            },
            y: Axis {
                title: "seconds to the first token".into(),
                scale: Scale::Logarithmic,
            },
            series,
        }),
    })
}
