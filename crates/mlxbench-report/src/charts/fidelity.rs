//! Speed against how near the reference a target's probabilities are; those of quantised weights, how near
//! full precision.

use mlxbench_analysis::Row;

use super::{point, series};
use crate::Digest;
use crate::draw::plane::{Axis, Plane, Scale, Stroke};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};

/// Below this, divergence is rounding of the figure itself, and a logarithm needs an end.
const LEAST: f64 = 1e-12;

/// Decode rate against the mean KL divergence: from full precision for quantised weights, which were never
/// meant to be the reference's. `None` where nothing was compared.
pub(super) fn chart(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let test = digest.main_test()?;
    let rows = digest.summary.rows.iter().filter(|row| row.test == test);
    let quantised = rows.clone().any(|row| row.quantisation_cost.is_some());
    let points = rows.filter_map(|row| {
        let kl = mean_kl(digest, row)?.max(LEAST);
        let at = point(kl, row.decode_tokens_per_second?);
        Some(series(
            digest,
            palette,
            &row.target,
            Stroke::Marks,
            vec![at],
        ))
    });
    let points: Vec<_> = points.collect();
    let (costs, from) = match quantised {
        true => (
            " Quantised targets stand where their scheme does: KL(full precision || dequantised) over a \
             text. Those without fidelity are left out.",
            "mean KL, nats: left is nearer",
        ),
        false => ("", "mean KL(reference || target), nats: left is nearer"),
    };
    (!points.is_empty()).then(|| Chart {
        name: "fidelity".into(),
        title: format!("Speed against fidelity, {test}"),
        caption: format!(
            "Up is faster, left is nearer to the reference: the mean Kullback-Leibler divergence of \
             the probabilities of the next token. Less than {LEAST:e} is shown as that.{costs}"
        ),
        form: Form::Plane(Plane {
            x: Axis {
                title: from.into(),
                scale: Scale::Logarithmic,
            },
            y: Axis {
                title: "tokens/s".into(),
                scale: Scale::FromZero,
            },
            series: points,
        }),
    })
}

fn mean_kl(digest: &Digest<'_>, row: &Row) -> Option<f64> {
    if let Some(cost) = &row.quantisation_cost {
        return Some(cost.figures.as_ref()?.mean_kl);
    }
    let known = digest.result.equivalence_of(&row.target)?;
    Some(known.fidelity.as_ref()?.mean_kl)
}
