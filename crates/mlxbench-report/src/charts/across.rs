//! Several results in one chart: the same test on each, by precision.

use mlxbench_analysis::{Estimate, Row, metrics};
use mlxbench_core::results::Metric;

use super::{Better, of_best};
use crate::across::{Measured, by_precision, labels, shared_test};
use crate::draw::rows::{self, Bar, Rows};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};
use crate::{Digest, units};

/// Decode and prefill of all results; no chart of what none of them measured.
pub(crate) fn charts(digests: &[Digest<'_>], palette: &Palette) -> Vec<Chart> {
    let decode = chart(digests, palette, Metric::Decode, |row| {
        row.decode_tokens_per_second
    });
    let prefill = chart(digests, palette, Metric::Prefill, |row| {
        row.prefill_tokens_per_second
    });
    decode.into_iter().chain(prefill).collect()
}

fn chart(
    digests: &[Digest<'_>],
    palette: &Palette,
    metric: Metric,
    rate: fn(&Row) -> Option<Estimate>,
) -> Option<Chart> {
    let shared = shared_test(digests, metric);
    let labels = labels(digests);
    let precisions = by_precision(digests, metric, rate);
    if precisions.is_empty() {
        return None;
    }
    let lines = precisions.iter().flat_map(|(precision, own)| {
        let best = own[0].rate.median;
        let several = own.len() > 1 && shared.is_some();
        let bars = own.iter().map(|measured| {
            let Measured {
                at,
                row,
                rate,
                unfit,
                ranked,
            } = measured;
            let (digest, mut label) = (&digests[*at], labels[*at].clone());
            if shared != Some(row.test) {
                label += &format!(", {}", row.test);
            }
            let note = match unfit {
                Some(why) => why.name().to_owned(),
                None if several && *ranked => of_best(rate.median, best, Better::Higher),
                None => String::new(),
            };
            rows::Row::Bar(Bar {
                key: row.target.to_string(),
                label: format!("{}, {label}", digest.name(&row.target).short()),
                colour: palette.of(&row.target.backend),
                value: Some(rate.median),
                interval: rate.interval,
                dots: metrics::values(metric, digest.result, &row.target, &row.test),
                limit: None,
                hollow: unfit.is_some(),
                words: units::rate(rate),
                note,
            })
        });
        let heading = rows::Row::Heading(precision.to_string());
        std::iter::once(heading).chain(bars.collect::<Vec<_>>())
    });
    let lines: Vec<rows::Row> = lines.collect();
    let (name, title, axis) = match metric {
        Metric::Decode => ("decode-across", "Generation speed", "tokens/s"),
        _ => ("prefill-across", "Prompt speed", "prompt tokens/s"),
    };
    Some(Chart {
        name: name.into(),
        title: shared.map_or_else(|| title.to_owned(), |test| format!("{title}, {test}")),
        caption: "All results; those without this test with a test of their own. Bars are medians, dots are repetitions, whiskers are 95 % \
                  intervals; a hollow bar isn't ranked."
            .into(),
        form: Form::Rows(Rows {
            axis: Better::Higher.of(axis),
            rows: lines,
        }),
    })
}
