//! Lines and points over two axes.

use mlxbench_analysis::Interval;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::theme::{Colour, GRID, INK, MUTED};
use super::{Area, DRAWN, Layout, line, marked, marker, number, style, text, ticks, write};

/// Lines and points, each with its name beside it, or below it where a phone has no room.
#[derive(Debug, Clone)]
pub(crate) struct Plane {
    /// From left to right.
    pub(crate) x: Axis,
    /// From bottom to top.
    pub(crate) y: Axis,
    /// What is shown.
    pub(crate) series: Vec<Series>,
}

/// An axis.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    /// What it shows, with its unit.
    pub(crate) title: String,
    /// How values are spread.
    pub(crate) scale: Scale,
}

/// How values are spread along an axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scale {
    /// Evenly, from zero.
    FromZero,
    /// Evenly, over what there is.
    Linear,
    /// By their logarithm; what isn't positive can't be shown.
    Logarithmic,
    /// By their logarithm, with powers of two named.
    Doubling,
    /// At 0, 1, 2 ..., each with a name.
    Named(Vec<String>),
}

/// A line, or points.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Which target's, for filters of a page; empty where it is none's.
    pub(crate) key: String,
    /// What it is called.
    pub(crate) label: String,
    /// Its framework's colour.
    pub(crate) colour: Colour,
    /// The shape of its marks, which tells targets of a framework apart.
    pub(crate) shape: usize,
    /// How it is drawn.
    pub(crate) stroke: Stroke,
    /// From left to right.
    pub(crate) points: Vec<Point>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stroke {
    /// Marks alone.
    Marks,
    /// A line alone.
    Line,
    /// A line through marks.
    LineAndMarks,
    /// A broken line: a limit.
    Dashes,
    /// Hollow rings alone: what is worth a look.
    Rings,
}

/// A point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// From where to where `y` may lie.
    pub(crate) interval: Option<Interval>,
}

impl Point {
    /// A point without an interval.
    pub(crate) fn new(x: f64, y: f64) -> Self {
        let interval = None;
        Self { x, y, interval }
    }
}

const SIZE: i32 = 12;
/// Marks on a line.
const MARKS: usize = 6;
/// Between two names.
const GAP: i32 = 16;
const ABOVE: i32 = 24;
const BELOW: i32 = 46;

/// An axis with its range and its place in pixels.
struct Mapped<'a> {
    axis: &'a Axis,
    low: f64,
    high: f64,
    from: i32,
    to: i32,
}

impl Mapped<'_> {
    fn transformed(&self, value: f64) -> f64 {
        match self.axis.scale {
            Scale::Logarithmic | Scale::Doubling => value.log10(),
            _ => value,
        }
    }

    /// Where `value` lies, in pixels; `None` for what the axis can't show.
    fn place(&self, value: f64) -> Option<i32> {
        let (low, high) = (self.transformed(self.low), self.transformed(self.high));
        let share = (self.transformed(value) - low) / (high - low);
        let reach = f64::from(self.to - self.from);
        // Beyond the range by a rounding is at its end; an interval may lie beyond it, too.
        share
            .is_finite()
            .then(|| self.from + (share.clamp(0.0, 1.0) * reach).round() as i32)
    }

    fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let values = match &self.axis.scale {
            Scale::Named(names) => {
                let every = names.len().div_ceil(wanted.max(1)).max(1);
                let named = names.iter().enumerate().step_by(every);
                return named.map(|(at, name)| (at as f64, name.clone())).collect();
            }
            Scale::Logarithmic => ticks::logarithmic(self.low, self.high, wanted),
            Scale::Doubling => ticks::doubling(self.low, self.high, wanted),
            _ => ticks::linear(self.low, self.high, wanted),
        };
        values
            .into_iter()
            .map(|value| (value, number(value)))
            .collect()
    }
}

impl Axis {
    /// The range that holds `values`.
    fn range(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        let logarithm = matches!(self.scale, Scale::Logarithmic | Scale::Doubling);
        let positive = |value: &f64| !logarithm || *value > 0.0;
        let values = values.filter(|value| value.is_finite()).filter(positive);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low > high {
            return (1.0, 10.0);
        }
        match &self.scale {
            Scale::FromZero => (0.0, if high > 0.0 { high * 1.04 } else { 1.0 }),
            Scale::Logarithmic | Scale::Doubling => {
                let room = (high / low).powf(0.04).max(1.1);
                (low / room, high * room)
            }
            Scale::Linear if low == high => (low - 1.0, high + 1.0),
            Scale::Linear => {
                let room = (high - low) * 0.04;
                // Nothing that is counted here goes below zero.
                (
                    if low >= 0.0 {
                        (low - room).max(0.0)
                    } else {
                        low - room
                    },
                    high + room,
                )
            }
            Scale::Named(names) => (-0.5, names.len().max(1) as f64 - 0.5),
        }
    }
}

impl Plane {
    /// The targets of the series.
    pub(super) fn keys(&self) -> Vec<&str> {
        self.series
            .iter()
            .map(|series| series.key.as_str())
            .collect()
    }

    /// The series that have names, in the order of the legend.
    fn named(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|series| !series.label.is_empty())
    }

    fn legend_height(&self, layout: Layout) -> i32 {
        match layout {
            Layout::Wide | Layout::Full => 0,
            Layout::Narrow => self.named().count() as i32 * GAP + 6,
        }
    }

    /// Height of the space between the axes.
    fn plot_height(&self, layout: Layout) -> i32 {
        match layout {
            Layout::Wide | Layout::Full if self.is_cloud() => 320,
            Layout::Wide | Layout::Full => (self.named().count() as i32 * GAP).max(250),
            Layout::Narrow => 200,
        }
    }

    pub(super) fn height(&self, layout: Layout) -> i32 {
        ABOVE + self.plot_height(layout) + BELOW + self.legend_height(layout)
    }

    pub(super) fn alt(&self) -> String {
        let series = self.named().map(|series| {
            let at = |point: &Point| format!("{} at {}", number(point.y), number(point.x));
            let figures = match series.points.as_slice() {
                [] => "nothing".to_owned(),
                [only] => at(only),
                [first, .., last] => format!("from {} to {}", at(first), at(last)),
            };
            format!("{}: {figures}", series.label)
        });
        let series: Vec<String> = series.collect();
        let (x, y) = (&self.x.title, &self.y.title);
        format!("{y} against {x}. {}.", series.join("; "))
    }

    pub(super) fn draw(&self, area: &Area<'_>, layout: Layout) {
        let (x, y) = self.mapped(layout);
        self.draw_axes(area, layout, &x, &y);
        for (index, series) in self.series.iter().enumerate() {
            marked(area, index, || series.draw(area, &x, &y));
        }
        match layout {
            Layout::Wide | Layout::Full if self.is_cloud() => self.draw_beside(area, &x, &y),
            Layout::Wide | Layout::Full => self.draw_names(area, &x, &y),
            Layout::Narrow => self.draw_legend(area, y.from + BELOW),
        }
    }

    fn mapped(&self, layout: Layout) -> (Mapped<'_>, Mapped<'_>) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let ends = points().flat_map(|point| {
            let ends = point.interval.map(|interval| [interval.low, interval.high]);
            ends.into_iter().flatten().chain([point.y])
        });
        let (low, high) = self.y.range(ends);
        let bottom = ABOVE + self.plot_height(layout);
        let y = Mapped {
            axis: &self.y,
            low,
            high,
            from: bottom,
            to: ABOVE,
        };
        let words = y
            .ticks(5)
            .iter()
            .map(|(_, words)| text::width(words, 11))
            .max();
        let left = words.unwrap_or(0).min(90) + 8;
        let names = match layout {
            Layout::Wide | Layout::Full if self.is_cloud() => 10,
            Layout::Wide | Layout::Full => {
                let widest = self
                    .named()
                    .map(|series| text::width(&series.label, SIZE))
                    .max();
                widest.unwrap_or(0).min(220) + 36
            }
            Layout::Narrow => 10,
        };
        let (low, high) = self.x.range(points().map(|point| point.x));
        let x = Mapped {
            axis: &self.x,
            low,
            high,
            from: left,
            to: layout.width() - names,
        };
        (x, y)
    }

    fn draw_axes(&self, area: &Area<'_>, layout: Layout, x: &Mapped<'_>, y: &Mapped<'_>) {
        let above = style(11, MUTED, HPos::Left, VPos::Top);
        write(area, &self.y.title, (0, 2), layout.width(), &above, 11);
        let beside = style(11, MUTED, HPos::Right, VPos::Center);
        for (value, words) in y.ticks(5) {
            let Some(at) = y.place(value) else { continue };
            line(area, (x.from, at), (x.to, at), GRID, 1);
            write(area, &words, (x.from - 6, at), x.from - 6, &beside, 11);
        }
        let below = style(11, MUTED, HPos::Center, VPos::Top);
        let mut free = 0;
        for (value, words) in x.ticks(((x.to - x.from) / 60).max(2) as usize) {
            let Some(at) = x.place(value) else { continue };
            line(area, (at, y.to), (at, y.from + 4), GRID, 1);
            let room = if matches!(self.x.scale, Scale::Named(_)) {
                58
            } else {
                60
            };
            let half = text::width(&text::cut(&words, room, 11), 11) / 2;
            // Words that would leave the chart or touch their neighbour's are left out.
            let centre = at.clamp(half, layout.width() - half);
            if centre - half >= free {
                write(area, &words, (centre, y.from + 9), room, &below, 11);
                free = centre + half + 6;
            }
        }
        line(area, (x.from, y.from), (x.to, y.from), MUTED, 1);
        let half = text::width(&self.x.title, 11) / 2;
        let centre = ((x.from + x.to) / 2).min(layout.width() - half).max(half);
        let centre = if half * 2 > layout.width() {
            layout.width() / 2
        } else {
            centre
        };
        write(
            area,
            &self.x.title,
            (centre, y.from + 27),
            layout.width(),
            &below,
            11,
        );
    }

    /// Whether there are single marks alone, few enough for each to have its name beside it.
    fn is_cloud(&self) -> bool {
        let single = |series: &Series| series.stroke == Stroke::Marks && series.points.len() == 1;
        self.series.iter().all(single) && self.series.len() <= 16
    }

    /// The name of each mark beside it, wherever it covers neither another name nor a mark; a line leads to it
    /// where that is farther away.
    fn draw_beside(&self, area: &Area<'_>, x: &Mapped<'_>, y: &Mapped<'_>) {
        const HALF: i32 = SIZE / 2 + 2;
        let placed = self
            .series
            .iter()
            .enumerate()
            .filter_map(|(index, series)| {
                let point = series.points.first()?;
                let at = (x.place(point.x)?, y.place(point.y)?);
                let ends = point
                    .interval
                    .and_then(|interval| Some((y.place(interval.high)?, y.place(interval.low)?)));
                Some((index, series, at, ends.unwrap_or((at.1, at.1))))
            });
        let placed: Vec<_> = placed.collect();
        let mut taken: Vec<[i32; 4]> = placed
            .iter()
            .map(|(_, _, at, (high, low))| {
                [
                    at.0 - 7,
                    high.min(&(at.1 - 7)) - 1,
                    at.0 + 7,
                    low.max(&(at.1 + 7)) + 1,
                ]
            })
            .collect();
        let overlap =
            |a: &[i32; 4], b: &[i32; 4]| a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
        for (index, series, at, _) in &placed {
            let width = text::width(&series.label, SIZE).min(220);
            let beside = (0..40).flat_map(|step| {
                let away = (step + 1) / 2 * 8 * if step % 2 == 0 { 1 } else { -1 };
                [(at.0 + 12, at.1 + away), (at.0 - 12 - width, at.1 + away)]
            });
            let boxed =
                |(left, middle): (i32, i32)| [left, middle - HALF, left + width, middle + HALF];
            let inside = |area: &[i32; 4]| {
                area[0] >= x.from && area[2] <= x.to && area[1] >= y.to - HALF && area[3] <= y.from
            };
            let mut free = beside.filter(|&place| {
                let place = boxed(place);
                inside(&place) && !taken.iter().any(|other| overlap(&place, other))
            });
            // Where there is no place at all, the caption's table has the name.
            let Some(place) = free.next() else { continue };
            taken.push(boxed(place));
            marked(area, *index, || {
                if (place.1 - at.1).abs() > 8 {
                    let end = if place.0 > at.0 {
                        place.0 - 2
                    } else {
                        place.0 + width + 2
                    };
                    line(area, *at, (end, place.1), MUTED, 1);
                    marker(area, *at, series.shape, series.colour);
                }
                let style = style(SIZE, INK, HPos::Left, VPos::Center);
                write(area, &series.label, place, 220, &style, SIZE);
            });
        }
    }

    /// Names to the right of the plot, each as near to its last point as the others let it.
    fn draw_names(&self, area: &Area<'_>, x: &Mapped<'_>, y: &Mapped<'_>) {
        let mut names: Vec<(&Series, (i32, i32), i32)> = self
            .named()
            .filter_map(|series| {
                let end = series
                    .points
                    .iter()
                    .rev()
                    .find_map(|point| Some((x.place(point.x)?, y.place(point.y)?)))?;
                Some((series, end, end.1))
            })
            .collect();
        names.sort_by_key(|(_, end, _)| (end.1, end.0));
        let mut free = y.to;
        for (_, _, at) in &mut names {
            *at = (*at).max(free);
            free = *at + GAP;
        }
        // What was pushed beyond the bottom pushes back.
        let mut free = y.from;
        for (_, _, at) in names.iter_mut().rev() {
            *at = (*at).min(free);
            free = *at - GAP;
        }
        let ends: Vec<i32> = names.iter().map(|(_, end, _)| end.1).collect();
        for (series, end, at) in names {
            let index = self
                .series
                .iter()
                .position(|other| std::ptr::eq(other, series));
            let start = x.to + 14;
            marked(area, index.unwrap_or_default(), || {
                // Where several end at one height, lines to their names would say nothing.
                if ends.iter().filter(|height| **height == end.1).count() == 1 {
                    line(area, (end.0 + 6, end.1), (x.to + 4, end.1), GRID, 1);
                    line(area, (x.to + 4, end.1), (start - 2, at), MUTED, 1);
                }
                series.draw_key(area, (start + 6, at));
                let style = style(SIZE, INK, HPos::Left, VPos::Center);
                write(area, &series.label, (start + 16, at), 220, &style, SIZE);
            });
        }
    }

    /// Names below the plot.
    fn draw_legend(&self, area: &Area<'_>, top: i32) {
        let style = style(SIZE, INK, HPos::Left, VPos::Center);
        for (row, series) in self.named().enumerate() {
            let at = top + row as i32 * GAP + GAP / 2;
            series.draw_key(area, (8, at));
            let room = Layout::Narrow.width() - 22;
            write(area, &series.label, (20, at), room, &style, SIZE);
        }
    }
}

impl Series {
    fn draw(&self, area: &Area<'_>, x: &Mapped<'_>, y: &Mapped<'_>) {
        let placed = self.points.iter().filter_map(|point| {
            let (at, height) = (x.place(point.x)?, y.place(point.y)?);
            Some((point, (at, height)))
        });
        let placed: Vec<(&Point, (i32, i32))> = placed.collect();
        let path: Vec<(i32, i32)> = placed.iter().map(|(_, at)| *at).collect();
        match self.stroke {
            Stroke::Line | Stroke::LineAndMarks => {
                let style = self.colour.rgb().stroke_width(2);
                area.draw(&PathElement::new(path, style)).expect(DRAWN);
            }
            Stroke::Dashes => {
                for ends in path.windows(2) {
                    dashes(area, ends[0], ends[1], self.colour);
                }
            }
            Stroke::Marks | Stroke::Rings => {}
        }
        // A line has few marks: they tell it from others of its framework.
        let marked = placed.len().div_ceil(MARKS).max(1);
        for (step, (point, at)) in placed.into_iter().enumerate() {
            let ends = point
                .interval
                .and_then(|interval| Some((y.place(interval.low)?, y.place(interval.high)?)));
            if let Some((low, high)) = ends {
                line(area, (at.0, low), (at.0, high), self.colour, 2);
                for end in [low, high] {
                    line(area, (at.0 - 4, end), (at.0 + 4, end), self.colour, 2);
                }
            }
            match self.stroke {
                Stroke::Marks | Stroke::LineAndMarks => {
                    marker(area, at, self.shape, self.colour);
                }
                Stroke::Line if step % marked == marked / 2 => {
                    marker(area, at, self.shape, self.colour);
                }
                Stroke::Rings => ring(area, at, 8, self.colour),
                Stroke::Line | Stroke::Dashes => {}
            }
        }
    }

    /// What stands before its name.
    fn draw_key(&self, area: &Area<'_>, (x, y): (i32, i32)) {
        match self.stroke {
            Stroke::Marks | Stroke::LineAndMarks => marker(area, (x, y), self.shape, self.colour),
            Stroke::Line => {
                line(area, (x - 7, y), (x + 7, y), self.colour, 2);
                marker(area, (x, y), self.shape, self.colour);
            }
            Stroke::Dashes => dashes(area, (x - 7, y), (x + 7, y), self.colour),
            Stroke::Rings => ring(area, (x, y), 5, self.colour),
        }
    }
}

fn ring(area: &Area<'_>, at: (i32, i32), radius: i32, colour: Colour) {
    let style = colour.rgb().stroke_width(2);
    area.draw(&Circle::new(at, radius, style)).expect(DRAWN);
}

/// A straight broken line.
fn dashes(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: Colour) {
    const DASH: f64 = 5.0;
    let (across, up) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let count = (across.hypot(up) / DASH / 2.0).ceil().max(1.0);
    let at = |share: f64| {
        let share = share.min(1.0);
        let (x, y) = (across * share, up * share);
        (from.0 + x.round() as i32, from.1 + y.round() as i32)
    };
    for dash in 0..count as usize {
        let start = dash as f64 / count;
        line(area, at(start), at(start + 0.5 / count), colour, 2);
    }
}
