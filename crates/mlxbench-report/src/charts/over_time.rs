//! A figure over commits and time, with intervals and marked changes of level.

use mlxbench_analysis::history;
use mlxbench_analysis::stats::{quantile, sorted};
use mlxbench_analysis::{Estimate, Interval};
use mlxbench_core::results::Test;

use super::{point, rings};
use crate::draw::plane::{Axis, Plane, Point, Scale, Series, Stroke};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};
use crate::history::{Line, Measure, place};

/// Marks of a line at most: with more they would cover each other, and a page of thousands of results would be too
/// large to open.
const MOST_MARKS: usize = 100;

/// One chart a test that has the figure.
pub(crate) fn charts(line: &Line<'_>, measure: &Measure, palette: &Palette) -> Vec<Chart> {
    let mut tests: Vec<Test> = Vec::new();
    for series in &line.group.series {
        if !tests.contains(&series.test) {
            tests.push(series.test);
        }
    }
    let results = 0..line.group.results.len();
    let places: Vec<String> = results.map(|at| place(line.entry(at))).collect();
    let charts = tests.iter().enumerate();
    let charts = charts.filter_map(|(at, test)| chart(line, measure, &places, palette, at, test));
    charts.collect()
}

fn chart(
    line: &Line<'_>,
    measure: &Measure,
    places: &[String],
    palette: &Palette,
    at: usize,
    test: &Test,
) -> Option<Chart> {
    let each = places.len().div_ceil(MOST_MARKS);
    let mut lines = Vec::new();
    let mut shapes: Vec<&str> = Vec::new();
    let own = line.group.series.iter();
    for series in own.filter(|series| series.test == *test) {
        let points = marks(series, measure, each);
        let backend = series.target.backend.as_str();
        let shape = shapes.iter().filter(|known| **known == backend).count();
        shapes.push(backend);
        if !points.is_empty() {
            lines.push(Series {
                key: series.target.to_string(),
                label: line.name(&series.target).to_string(),
                colour: palette.of(backend),
                shape,
                stroke: Stroke::LineAndMarks,
                points,
            });
        }
    }
    if lines.is_empty() {
        return None;
    }
    let changes = line
        .changes
        .iter()
        .filter(|level| level.measure.name == measure.name && level.series.test == *test);
    let changed = changes.map(|level| Point::new(level.at as f64, level.change.after));
    lines.extend(rings("level changed", changed.collect()));
    let mut caption = format!("From {} to {}.", places.first()?, places.last()?);
    if each > 1 {
        caption += &format!(
            " A mark stands for up to {each} results: it is their median, its bar goes from the least to the most of \
                 them, and is the 95 % interval of a single one."
        );
    }
    Some(Chart {
        name: format!("{}-{at}", measure.name),
        title: format!("{}, {test}", measure.title),
        caption,
        form: Form::Plane(Plane {
            x: Axis {
                title: "commit, or day, of the result".into(),
                scale: Scale::Named(places.to_vec()),
            },
            y: Axis {
                title: measure.axis.into(),
                scale: Scale::FromZero,
            },
            series: lines,
        }),
    })
}

/// A mark for `each` so many of the group's results, with the interval of the figure where it is a single one and from
/// the least to the most where it isn't: one that is far off is seen among thousands.
fn marks(series: &history::Series, measure: &Measure, each: usize) -> Vec<Point> {
    let figures: Vec<(&history::Point, Estimate)> = series.figures(measure.figure).collect();
    let together = figures.chunk_by(|(a, _), (b, _)| a.at / each == b.at / each);
    let marks = together.filter_map(|figures| match figures {
        [(own, estimate)] => Some(point(own.at as f64, *estimate)),
        [(first, _), .., (last, _)] => {
            let medians: Vec<f64> = figures.iter().map(|(_, figure)| figure.median).collect();
            let medians = sorted(&medians);
            Some(Point {
                x: (first.at + last.at) as f64 / 2.0,
                y: quantile(&medians, 0.5)?,
                interval: Some(Interval {
                    low: *medians.first()?,
                    high: *medians.last()?,
                }),
            })
        }
        [] => None,
    });
    marks.collect()
}
