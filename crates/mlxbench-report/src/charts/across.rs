//! Several results in one chart: the same test on each, by precision.

use mlxbench_analysis::{Estimate, Row, metrics};
use mlxbench_core::Precision;
use mlxbench_core::results::Metric;

use super::{Better, of_best};
use crate::across::{labels, shared_test, tests};
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
    let (labels, tests) = (labels(digests), tests(digests, metric));
    let mut precisions: Vec<(Precision, Vec<(Bar, bool)>)> = Vec::new();
    for ((digest, label), test) in digests.iter().zip(&labels).zip(tests) {
        let Some(test) = test else { continue };
        let label = match shared == Some(test) {
            true => label.clone(),
            false => format!("{label}, {test}"),
        };
        let rows = digest.summary.rows.iter().filter(|row| row.test == test);
        for row in rows {
            let Some(rate) = rate(row) else { continue };
            let unfit = digest.unfit(row);
            let bar = Bar {
                key: row.target.to_string(),
                label: format!("{}, {label}", digest.name(&row.target).short()),
                colour: palette.of(&row.target.backend),
                value: Some(rate.median),
                interval: rate.interval,
                dots: metrics::values(metric, digest.result, &row.target, &test),
                limit: None,
                hollow: unfit.is_some(),
                words: units::rate(&rate),
                note: unfit.clone().unwrap_or_default(),
            };
            let precision = row.target.placement.precision;
            // Rates of other tests are no share of this one's best.
            let bar = (
                bar,
                unfit.is_none() && (shared.is_none() || shared == Some(test)),
            );
            match precisions.iter_mut().find(|(known, _)| *known == precision) {
                Some((_, bars)) => bars.push(bar),
                None => precisions.push((precision, vec![bar])),
            }
        }
    }
    let value = |(bar, _): &(Bar, bool)| bar.value.unwrap_or_default();
    for (_, bars) in &mut precisions {
        bars.sort_by(|a, b| b.1.cmp(&a.1).then(value(b).total_cmp(&value(a))));
        let best = value(&bars[0]);
        let several = bars.len() > 1 && shared.is_some();
        for (bar, _) in bars.iter_mut().filter(|(_, ranked)| several && *ranked) {
            bar.note = of_best(bar.value.unwrap_or_default(), best, Better::Higher);
        }
    }
    precisions.sort_by(|(_, a), (_, b)| value(&b[0]).total_cmp(&value(&a[0])));
    if precisions.is_empty() {
        return None;
    }
    let lines = precisions.into_iter().flat_map(|(precision, bars)| {
        let heading = rows::Row::Heading(precision.to_string());
        let bars = bars.into_iter().map(|(bar, _)| rows::Row::Bar(bar));
        std::iter::once(heading).chain(bars)
    });
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
            rows: lines.collect(),
        }),
    })
}
