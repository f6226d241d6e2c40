//! A figure over commits and time, with intervals and marked changes of level.

use mlxbench_analysis::ChangePoint;
use mlxbench_analysis::history::{self, Group};
use mlxbench_core::results::Test;

use super::{point, rings};
use crate::draw::plane::{Axis, Plane, Point, Scale, Series, Stroke};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};
use crate::history::{Joined, Measure};

/// A change of level, and the first point after it.
pub(crate) type Change<'a> = (&'a history::Point, ChangePoint);

/// One chart a test; `places` are those of the group's results.
pub(crate) fn charts(
    joined: &Joined<'_>,
    group: &Group,
    measure: &Measure,
    places: &[String],
    palette: &Palette,
) -> Vec<Chart> {
    let mut tests: Vec<Test> = Vec::new();
    for series in &group.series {
        if !tests.contains(&series.test) {
            tests.push(series.test);
        }
    }
    let charts = tests.iter().enumerate();
    let charts =
        charts.filter_map(|(at, test)| chart(joined, group, measure, places, palette, at, test));
    charts.collect()
}

fn chart(
    joined: &Joined<'_>,
    group: &Group,
    measure: &Measure,
    places: &[String],
    palette: &Palette,
    at: usize,
    test: &Test,
) -> Option<Chart> {
    let mut lines = Vec::new();
    let mut changed = Vec::new();
    let mut shapes: Vec<&str> = Vec::new();
    for series in group.series.iter().filter(|series| series.test == *test) {
        let figures = series.figures(measure.figure);
        let points = figures.map(|(own, estimate)| point(own.at as f64, estimate));
        let points: Vec<Point> = points.collect();
        let backend = series.target.backend.as_str();
        let shape = shapes.iter().filter(|known| **known == backend).count();
        shapes.push(backend);
        for (after, change) in series.changes(measure.figure, joined.significance) {
            changed.push(Point::new(after.at as f64, change.after));
        }
        if !points.is_empty() {
            lines.push(Series {
                key: series.target.to_string(),
                label: joined.name(group, &series.target).to_string(),
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
    lines.extend(rings("level changed", changed));
    Some(Chart {
        name: format!("{}-{at}", measure.name),
        title: format!("{}, {test}", measure.title),
        caption: format!("From {} to {}.", places.first()?, places.last()?),
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
