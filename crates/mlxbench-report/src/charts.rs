//! One file a chart: what a result becomes on axes. A new chart is a file here and a line in
//! [`of_result`].

pub(crate) mod across;
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

use std::cmp::Ordering;

use mlxbench_analysis::{Estimate, Interval, Row, RowStatus, Unfit};
use mlxbench_core::Precision;
use mlxbench_core::results::{TargetId, Test};

use crate::digest::NO_FIGURE;
use crate::draw::plane::{Point, Series, Stroke};
use crate::draw::rows::{self, Bar, Rows};
use crate::draw::theme::{Colour, INK, Palette};
use crate::draw::{Chart, Form};
use crate::{Digest, quantisation};

/// The charts that answer: how fast tokens are generated and prompts are read, at what memory.
pub(crate) fn of_answer(digest: &Digest<'_>, palette: &Palette) -> Vec<Chart> {
    let made = [
        rates::decode(digest, palette),
        rates::prefill(digest, palette),
        rates::training(digest, palette),
        memory::peaks(digest, palette),
    ];
    made.into_iter().flatten().collect()
}

/// The charts that explain, where there is something to see.
pub(crate) fn of_details(digest: &Digest<'_>, palette: &Palette) -> Vec<Chart> {
    let made = [
        fidelity::chart(digest, palette),
        weights::chart(digest, palette),
        ttft::chart(digest, palette),
    ];
    let lengths = lengths::charts(digest, palette);
    let rest = [
        rates::decode_by_test(digest, palette),
        rates::prefill_by_test(digest, palette),
        memory::peaks_by_test(digest, palette),
        energy::chart(digest, palette),
        latency::distribution(digest, palette),
        latency::by_position(digest, palette),
        memory::over_time(digest, palette),
    ];
    let made = made.into_iter().flatten().chain(lengths);
    let mut charts: Vec<Chart> = made.chain(rest.into_iter().flatten()).collect();
    for chart in &mut charts {
        tell_absent(digest, chart, |_| true);
    }
    charts.extend(roofline::charts(digest, palette));
    charts
}

/// All charts that `digest` has figures for.
pub(crate) fn of_result(digest: &Digest<'_>, palette: &Palette) -> Vec<Chart> {
    let mut charts = of_answer(digest, palette);
    charts.extend(of_details(digest, palette));
    charts
}

/// Adds to a chart's caption which of the targets that belong there have no line or mark in it, and
/// why. Bars say so themselves.
fn tell_absent(digest: &Digest<'_>, chart: &mut Chart, belongs: impl Fn(&TargetId) -> bool) {
    let Form::Plane(plane) = &chart.form else {
        return;
    };
    let shown = |target: &TargetId| {
        let key = target.to_string();
        plane.series.iter().any(|series| series.key == key)
    };
    let targets = digest.result.run.targets.iter();
    let absent = targets.filter(|target| belongs(target) && !shown(target));
    let absent = absent.map(|target| {
        let why = match digest.result.run.settings.reference.as_ref() == Some(target) {
            true if digest.failure(target) == NO_FIGURE => "the reference",
            _ => digest.failure(target),
        };
        format!("{} ({why})", digest.name(target))
    });
    let absent: Vec<String> = absent.collect();
    if !absent.is_empty() {
        chart.caption += &format!(" Not in it: {}.", absent.join(", "));
    }
}

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

impl Better {
    /// What an axis says of it.
    fn words(self) -> &'static str {
        match self {
            Self::Higher => "higher is better",
            Self::Lower => "lower is better",
        }
    }

    /// `axis` with it.
    fn of(self, axis: &str) -> String {
        format!("{axis}, {}", self.words())
    }

    /// The order of two figures, the better one first.
    pub(crate) fn order(self, a: f64, b: f64) -> Ordering {
        match self {
            Self::Higher => b.total_cmp(&a),
            Self::Lower => a.total_cmp(&b),
        }
    }
}

/// Bars of one test under a heading for each precision, the best first: like is compared with like. Those without a
/// figure come last, with why.
fn by_precision(
    digest: &Digest<'_>,
    palette: &Palette,
    test: &Test,
    axis: &str,
    better: Better,
    figure: impl Fn(&Row) -> Option<Figure>,
) -> Option<Rows> {
    let rows = digest.summary.rows.iter().filter(|row| row.test == *test);
    let figures: Vec<(&Row, Option<Figure>)> = rows.map(|row| (row, figure(row))).collect();
    let precisions = grouped(digest, figures, better, |figure| figure.value);
    let mut lines = Vec::new();
    for (precision, figures) in &precisions {
        let rows = figures.iter().map(|(row, _)| *row);
        let cost = quantisation::of_rows(rows).into_iter().next();
        let cost =
            cost.map(|cost| format!(" (fidelity of {})", quantisation::fidelity_in_short(cost)));
        lines.push(rows::Row::Heading(format!(
            "{precision}{}",
            cost.unwrap_or_default()
        )));
        let best = figures.iter().find_map(|(row, figure)| {
            let fit = figure
                .as_ref()
                .filter(|figure| unfit(digest, row, figure).is_none());
            fit.map(|figure| figure.value)
        });
        let several = figures
            .iter()
            .filter(|(_, figure)| figure.is_some())
            .count()
            > 1;
        lines.extend(figures.iter().map(|(row, figure)| {
            let ranked = figure
                .as_ref()
                .filter(|figure| several && unfit(digest, row, figure).is_none());
            let beside = best.zip(ranked);
            let beside = beside.map(|(best, figure)| of_best(figure.value, best, better));
            let label = digest.name(&row.target).short();
            bar(digest, palette, row, figure.as_ref(), label, beside)
        }));
    }
    let any = lines
        .iter()
        .any(|line| matches!(line, rows::Row::Bar(bar) if bar.value.is_some()));
    any.then(|| Rows {
        axis: better.of(axis),
        rows: lines,
    })
}

/// A row and its figure, where it has one.
type Ranked<'a, F> = (&'a Row, Option<F>);

/// Rows with their figures by precision: the best precision first, and within each the best row; a row that can't
/// lead comes after those that can.
pub(crate) fn grouped<'a, F>(
    digest: &Digest<'_>,
    figures: Vec<Ranked<'a, F>>,
    better: Better,
    value: impl Fn(&F) -> f64,
) -> Vec<(Precision, Vec<Ranked<'a, F>>)> {
    let worst = match better {
        Better::Higher => f64::NEG_INFINITY,
        Better::Lower => f64::INFINITY,
    };
    let rank = |(row, figure): &Ranked<'_, F>| {
        let value = figure.as_ref().map_or(worst, &value);
        (figure.is_none(), digest.worthless(row).is_some(), value)
    };
    let order = |a: &Ranked<'_, F>, b: &Ranked<'_, F>| {
        let ((none_a, unfit_a, a), (none_b, unfit_b, b)) = (rank(a), rank(b));
        (none_a, unfit_a)
            .cmp(&(none_b, unfit_b))
            .then(better.order(a, b))
    };
    let mut precisions: Vec<(Precision, Vec<Ranked<'a, F>>)> = Vec::new();
    for (row, figure) in figures {
        let precision = row.target.placement.precision;
        match precisions.iter_mut().find(|(known, _)| *known == precision) {
            Some((_, rows)) => rows.push((row, figure)),
            None => precisions.push((precision, vec![(row, figure)])),
        }
    }
    for (_, rows) in &mut precisions {
        rows.sort_by(order);
    }
    precisions.sort_by(|(_, a), (_, b)| order(&a[0], &b[0]));
    precisions
}

/// Why a figure isn't ranked: times that never became steady are no fault of a figure that isn't one of them.
fn unfit(digest: &Digest<'_>, row: &Row, figure: &Figure) -> Option<Unfit> {
    match figure.timed {
        true => digest.unfit(row),
        false => digest.worthless(row),
    }
}

/// `0.72x of best`, `best`; `1.94x of least` where less is better.
fn of_best(value: f64, best: f64, better: Better) -> String {
    let name = match better {
        Better::Higher => "best",
        Better::Lower => "least",
    };
    match value == best {
        true => name.into(),
        false => format!("{:.2}x of {name}", value / best),
    }
}

/// The bar of a row: hollow, with why, where its figure isn't to be relied on.
fn bar(
    digest: &Digest<'_>,
    palette: &Palette,
    row: &Row,
    figure: Option<&Figure>,
    label: String,
    beside: Option<String>,
) -> rows::Row {
    let words = match figure {
        Some(figure) => figure.words.clone(),
        None => digest.why_not(row),
    };
    let (some, planned) = (row.repetitions, row.planned_repetitions);
    let few = (some < planned).then(|| format!("{some} of {planned} repetitions"));
    let unfit = figure.and_then(|figure| unfit(digest, row, figure));
    let own = figure
        .map(|figure| figure.beside.clone())
        .filter(|own| !own.is_empty());
    let notes = own
        .into_iter()
        .chain(beside)
        .chain(few)
        .chain(unfit.map(|why| why.name().to_owned()));
    let notes: Vec<String> = notes.collect();
    rows::Row::Bar(Bar {
        key: row.target.to_string(),
        label,
        colour: palette.of(&row.target.backend),
        value: figure.map(|figure| figure.value),
        interval: figure.and_then(|figure| figure.interval),
        dots: figure.map(|figure| figure.dots.clone()).unwrap_or_default(),
        limit: figure.and_then(|figure| figure.limit),
        hollow: unfit.is_some(),
        words,
        note: notes.join(", "),
    })
}

/// Bars of all rows that `takes_part`, under a heading for each test where there are several, the best first. `None`
/// where fewer than `fewest` tests have a figure.
fn by_test(
    digest: &Digest<'_>,
    palette: &Palette,
    axis: &str,
    better: Better,
    fewest: usize,
    figure: impl Fn(&Row) -> Option<Figure>,
) -> Option<Rows> {
    let tests = digest.result.run.tests.iter();
    let tests = tests.filter_map(|test| {
        let rows = digest.summary.rows.iter().filter(|row| row.test == *test);
        let mut figures: Vec<(&Row, Option<Figure>)> = rows.map(|row| (row, figure(row))).collect();
        // A test that has no such figure says nothing; a target that failed at it does.
        figures.retain(|(row, figure)| figure.is_some() || row.status != RowStatus::Ok);
        let any = figures.iter().any(|(_, figure)| figure.is_some());
        let value = |figure: &Option<Figure>| figure.as_ref().map(|figure| figure.value);
        figures.sort_by(|(_, a), (_, b)| match (value(a), value(b)) {
            (Some(a), Some(b)) => better.order(a, b),
            (a, b) => a.is_none().cmp(&b.is_none()),
        });
        any.then_some((test, figures))
    });
    let tests: Vec<_> = tests.collect();
    if tests.len() < fewest {
        return None;
    }
    let several = tests.len() > 1;
    let mut lines = Vec::new();
    for (test, figures) in tests {
        if several {
            lines.push(rows::Row::Heading(test.to_string()));
        }
        lines.extend(figures.iter().map(|(row, figure)| {
            let label = digest.name(&row.target).to_string();
            bar(digest, palette, row, figure.as_ref(), label, None)
        }));
    }
    Some(Rows {
        axis: better.of(axis),
        rows: lines,
    })
}

/// What a bar shows.
struct Figure {
    value: f64,
    interval: Option<Interval>,
    dots: Vec<f64>,
    limit: Option<f64>,
    words: String,
    /// What is said beside it.
    beside: String,
    /// Whether it is a time or follows from one.
    timed: bool,
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
            key: target.to_string(),
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
        key: target.to_string(),
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
        key: String::new(),
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
        key: String::new(),
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
