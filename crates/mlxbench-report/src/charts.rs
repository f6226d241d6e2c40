//! One file a chart: what a result becomes on axes. A new chart is a file here and a line in
//! [`of_result`].

pub(crate) mod breakdown;
mod energy;
mod fidelity;
mod latency;
mod lengths;
mod memory;
pub(crate) mod over_time;
mod rates;
mod roofline;
mod ttft;
mod weights;

use mlxbench_analysis::{Estimate, Interval, Row, RowStatus};
use mlxbench_core::results::{TargetId, Test};

use crate::Digest;
use crate::draw::plane::{Point, Series, Stroke};
use crate::draw::rows::{self, Bar, Rows};
use crate::draw::theme::{Colour, INK, Palette};
use crate::draw::{Chart, Form};

/// All charts that `digest` has figures for.
pub(crate) fn of_result(digest: &Digest<'_>, palette: &Palette) -> Vec<Chart> {
    let made = [
        rates::decode(digest, palette),
        rates::prefill(digest, palette),
        ttft::chart(digest, palette),
        latency::distribution(digest, palette),
        latency::by_position(digest, palette),
        memory::peaks(digest, palette),
        memory::over_time(digest, palette),
        fidelity::chart(digest, palette),
        weights::chart(digest, palette),
        energy::chart(digest, palette),
    ];
    let made = made.into_iter().flatten();
    let mut charts: Vec<Chart> = made.chain(lengths::charts(digest, palette)).collect();
    for chart in &mut charts {
        tell_absent(digest, chart, |_| true);
    }
    charts.extend(roofline::charts(digest, palette));
    charts
}

/// Adds to a chart's caption which of the targets that belong there have no line or mark in it, and
/// why. Bars say so themselves.
fn tell_absent(digest: &Digest<'_>, chart: &mut Chart, belongs: impl Fn(&TargetId) -> bool) {
    let Form::Plane(plane) = &chart.form else {
        return;
    };
    let shown = |label: &str| {
        let more = format!("{label} ");
        let mut labels = plane.series.iter().map(|series| &series.label);
        labels.any(|shown| shown == label || shown.starts_with(&more))
    };
    let targets = digest.result.run.targets.iter();
    let absent = targets.filter(|target| belongs(target) && !shown(&digest.label(target)));
    let absent = absent.map(|target| format!("{target} ({})", digest.failure(target)));
    let absent: Vec<String> = absent.collect();
    if !absent.is_empty() {
        chart.caption += &format!(" Not in it: {}.", absent.join(", "));
    }
}

/// Bars of all rows that `takes_part`, the longest first within each test, those without a figure
/// last, with why.
fn bars(
    digest: &Digest<'_>,
    palette: &Palette,
    axis: &str,
    takes_part: impl Fn(&Row) -> bool,
    figure: impl Fn(&Row) -> Option<Figure>,
) -> Option<Rows> {
    let tests: Vec<&Test> = digest.result.run.tests.iter().collect();
    let mut lines = Vec::new();
    let mut any = false;
    for test in &tests {
        let rows = digest.summary.rows.iter();
        let rows = rows.filter(|row| row.test == **test && takes_part(row));
        let mut figures: Vec<(&Row, Option<Figure>)> = rows.map(|row| (row, figure(row))).collect();
        // A test that has no such figure says nothing; a target that failed at it does.
        let silent = |(row, figure): &(&Row, Option<Figure>)| {
            figure.is_none() && row.status == RowStatus::Ok
        };
        if figures.iter().all(silent) {
            continue;
        }
        let length = |figure: &Option<Figure>| figure.as_ref().map_or(-1.0, |figure| figure.value);
        figures.sort_by(|(_, a), (_, b)| length(b).total_cmp(&length(a)));
        if tests.len() > 1 {
            lines.push(rows::Row::Heading(test.to_string()));
        }
        lines.extend(figures.into_iter().map(|(row, figure)| {
            any |= figure.is_some();
            let words = match &figure {
                Some(figure) if row.repetitions < row.planned_repetitions => {
                    let (some, planned) = (row.repetitions, row.planned_repetitions);
                    format!("{} · {some} of {planned}", figure.words)
                }
                Some(figure) => figure.words.clone(),
                None => digest.why_not(row),
            };
            rows::Row::Bar(Bar {
                label: digest.label(&row.target),
                colour: palette.of(&row.target.backend),
                value: figure.as_ref().map(|figure| figure.value),
                interval: figure.as_ref().and_then(|figure| figure.interval),
                limit: figure.as_ref().and_then(|figure| figure.limit),
                words,
            })
        }));
    }
    any.then(|| Rows {
        axis: axis.into(),
        rows: lines,
    })
}

/// What a bar shows.
struct Figure {
    value: f64,
    interval: Option<Interval>,
    limit: Option<f64>,
    words: String,
}

/// A line through the points of each target and of each kind of test that `point` has one for; in
/// a kind, whose name follows the target's, tests differ in nothing but what is on the axis. Lines of a single point are left out.
fn lines(
    digest: &Digest<'_>,
    palette: &Palette,
    kind: impl Fn(&Test) -> String,
    point: impl Fn(&Row) -> Option<Point>,
) -> Vec<Series> {
    let mut series: Vec<(TargetId, String, Vec<Point>)> = Vec::new();
    for row in &digest.summary.rows {
        let Some(point) = point(row) else { continue };
        let key = kind(&row.test);
        match series
            .iter_mut()
            .find(|(id, known, _)| *id == row.target && *known == key)
        {
            Some((_, _, points)) => points.push(point),
            None => series.push((row.target.clone(), key, vec![point])),
        }
    }
    // A line goes somewhere: tests may differ in what isn't on the axis.
    series.retain(|(_, _, points)| points.iter().any(|point| point.x != points[0].x));
    let mut kinds: Vec<&String> = series.iter().map(|(_, kind, _)| kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let several = kinds.len() > 1;
    let lines = series.into_iter().map(|(target, kind, mut points)| {
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let kind = if several { kind.as_str() } else { "" };
        let label = digest.label(&target) + kind;
        Series {
            label,
            colour: palette.of(&target.backend),
            shape: digest.shape(&target),
            stroke: Stroke::LineAndMarks,
            points,
        }
    });
    lines.collect()
}

/// A point whose height is an estimate.
fn point(x: f64, estimate: Estimate) -> Point {
    Point {
        x,
        y: estimate.median,
        interval: estimate.interval,
    }
}

/// A line or marks of one target.
fn series(
    digest: &Digest<'_>,
    palette: &Palette,
    target: &TargetId,
    stroke: Stroke,
    points: Vec<Point>,
) -> Series {
    Series {
        label: digest.label(target),
        colour: palette.of(&target.backend),
        shape: digest.shape(target),
        stroke,
        points,
    }
}

/// Rings around points that are worth a look; `None` where there are none.
fn rings(label: &str, points: Vec<Point>) -> Option<Series> {
    (!points.is_empty()).then(|| Series {
        label: label.into(),
        colour: INK,
        shape: 0,
        stroke: Stroke::Rings,
        points,
    })
}

/// A broken line: a limit.
fn limit(label: String, colour: Colour, points: Vec<Point>) -> Series {
    Series {
        label,
        colour,
        shape: 0,
        stroke: Stroke::Dashes,
        points,
    }
}

/// At most `most` of `points`, evenly, the last among them: more can't be seen.
fn thinned(points: Vec<Point>, most: usize) -> Vec<Point> {
    let every = points.len().div_ceil(most).max(1);
    let last = points.last().copied();
    let kept = points.iter().copied().step_by(every);
    let mut kept: Vec<Point> = kept.collect();
    if kept.last() != last.as_ref() {
        kept.extend(last);
    }
    kept
}
