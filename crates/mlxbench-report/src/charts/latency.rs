//! Inter-token latency: its distribution, and how it goes along a generation.

use mlxbench_analysis::metrics;
use mlxbench_analysis::stats::{quantile, sorted};
use mlxbench_core::results::{Metric, TargetId};

use super::{rings, series};
use crate::Digest;
use crate::draw::plane::{Axis, Plane, Point, Scale, Series, Stroke};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};

/// Steps of a distribution's curve, and points of a line: more can't be seen.
const POINTS: usize = 120;

/// Which share of latencies is at most so long.
pub(super) fn distribution(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let test = &digest.main_test()?;
    let curve = |target: &TargetId| {
        let latencies = sorted(&metrics::values(
            Metric::InterToken,
            digest.result,
            target,
            test,
        ));
        let steps = latencies.len().min(POINTS);
        let at = |step: usize| {
            let share = step as f64 / (steps - 1).max(1) as f64;
            Some(Point::new(
                quantile(&latencies, share)? * 1e-6,
                share * 100.0,
            ))
        };
        (0..steps).filter_map(at).collect()
    };
    let series = each_target(digest, palette, Stroke::Line, curve);
    (!series.is_empty()).then(|| Chart {
        name: "latency-distribution".into(),
        title: format!("Inter-token latency, {test}"),
        caption:
            "Over all repetitions. A steep line is an even pace; a long tail to the right means \
                  stalls."
                .into(),
        form: Form::Plane(Plane {
            x: Axis {
                title: "ms from token to token".into(),
                scale: Scale::Logarithmic,
            },
            y: Axis {
                title: "cumulative % of tokens".into(),
                scale: Scale::FromZero,
            },
            series,
        }),
    })
}

/// The median latency of each position.
pub(super) fn by_position(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let test = &digest.main_test()?;
    let curve = |target: &TargetId| {
        let samples = digest.result.samples_of(target, test);
        let repetitions: Vec<Vec<f64>> = samples
            .map(|sample| {
                metrics::inter_token(sample)
                    .map(|time| time.0 as f64)
                    .collect()
            })
            .collect();
        let positions = repetitions.iter().map(Vec::len).max().unwrap_or(0);
        // Neighbours share a point where there are many: none is left out of the median.
        let together = positions.div_ceil(POINTS).max(1);
        let at = |first: usize| {
            let latencies = repetitions
                .iter()
                .flat_map(|repetition| repetition.iter().skip(first).take(together).copied());
            let latencies: Vec<f64> = latencies.collect();
            let median = quantile(&sorted(&latencies), 0.5)?;
            let last = (first + together).min(positions);
            // The latency before the second token is that of position 2.
            let centre = (first + 2 + last + 1) as f64 / 2.0;
            Some(Point::new(centre, median * 1e-6))
        };
        (0..positions).step_by(together).filter_map(at).collect()
    };
    let mut series = each_target(digest, palette, Stroke::Line, curve);
    let rows = digest.summary.rows.iter().filter(|row| row.test == *test);
    let steps = rows.flat_map(|row| &row.latency_steps);
    let steps = steps.map(|step| Point::new(step.token as f64, step.after_ns * 1e-6));
    series.extend(rings("jumps", steps.collect()));
    (!series.is_empty()).then(|| Chart {
        name: "latency-by-position".into(),
        title: format!("Latency along the generation, {test}"),
        caption:
            "The median over all repetitions of the time before each token: a line that rises \
                  shows what a growing context costs, a peak what happens always at the same place."
                .into(),
        form: Form::Plane(Plane {
            x: Axis {
                title: "position of the generated token".into(),
                scale: Scale::Linear,
            },
            y: Axis {
                title: "ms per token".into(),
                scale: Scale::FromZero,
            },
            series,
        }),
    })
}

/// The lines of all targets that have one.
fn each_target(
    digest: &Digest<'_>,
    palette: &Palette,
    stroke: Stroke,
    curve: impl Fn(&TargetId) -> Vec<Point>,
) -> Vec<Series> {
    let targets = digest.result.run.targets.iter();
    let lines = targets.map(|target| (target, curve(target)));
    let lines = lines.filter(|(_, points)| points.len() > 1);
    lines
        .map(|(target, points)| series(digest, palette, target, stroke, points))
        .collect()
}
