//! Speed against how near the reference a target's probabilities are.

use super::{point, series};
use crate::Digest;
use crate::draw::plane::{Axis, Plane, Scale, Stroke};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};

/// Below this, divergence is rounding of the figure itself, and a logarithm needs an end.
const LEAST: f64 = 1e-12;

/// Decode rate against the mean KL divergence; `None` where nothing was compared.
pub(super) fn chart(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let test = digest.main_test()?;
    let rows = digest.summary.rows.iter().filter(|row| row.test == test);
    let points = rows.filter_map(|row| {
        let fidelity = digest
            .result
            .equivalence_of(&row.target)?
            .fidelity
            .as_ref()?;
        let at = point(fidelity.mean_kl.max(LEAST), row.decode_tokens_per_second?);
        Some(series(
            digest,
            palette,
            &row.target,
            Stroke::Marks,
            vec![at],
        ))
    });
    let points: Vec<_> = points.collect();
    (!points.is_empty()).then(|| Chart {
        name: "fidelity".into(),
        title: format!("Speed against fidelity, {test}"),
        caption: format!(
            "Up is faster, left is nearer to the reference: the mean Kullback-Leibler divergence of \
             the probabilities of the next token. Less than {LEAST:e} is shown as that."
        ),
        form: Form::Plane(Plane {
            x: Axis {
                title: "mean KL(reference || target), nats".into(),
                scale: Scale::Logarithmic,
            },
            y: Axis {
                title: "tokens a second".into(),
                scale: Scale::FromZero,
            },
            series: points,
        }),
    })
}
