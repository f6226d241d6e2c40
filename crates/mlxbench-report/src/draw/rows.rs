//! One bar a target, with its interval and its repetitions.

use std::ops::Range;

use mlxbench_analysis::Interval;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::theme::{Colour, GRID, INK, MUTED, SURFACE};
use super::{Area, DRAWN, Layout, line, marked, number, style, text, ticks, write};

/// Bars below one another, from zero.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// What the axis shows, with its unit: `tokens a second`.
    pub(crate) axis: String,
    /// The bars and their headings, from top to bottom.
    pub(crate) rows: Vec<Row>,
}

/// A line of the chart.
#[derive(Debug, Clone)]
pub(crate) enum Row {
    /// What the bars below have in common.
    Heading(String),
    /// A target.
    Bar(Bar),
}

/// A target's bar.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    /// Which target's, for filters of a page: `candle/cpu/f32`.
    pub(crate) key: String,
    /// What it is called: `candle f32`.
    pub(crate) label: String,
    /// Its framework's colour.
    pub(crate) colour: Colour,
    /// How long, in the axis' unit; nothing is drawn for `None`.
    pub(crate) value: Option<f64>,
    /// From where to where the figure may lie.
    pub(crate) interval: Option<Interval>,
    /// What single repetitions measured.
    pub(crate) dots: Vec<f64>,
    /// Where a limit lies that the bar is compared with.
    pub(crate) limit: Option<f64>,
    /// Whether the figure isn't to be relied on: the bar is hollow, and the note says why.
    pub(crate) hollow: bool,
    /// The figure in words, or why there is none.
    pub(crate) words: String,
    /// What is said beside it: `0.72x of best`.
    pub(crate) note: String,
}

const SIZE: i32 = 12;
const AXIS: i32 = 40;
const HEADING: i32 = 26;
/// Below a phone's bar, for its note.
const NOTE: i32 = 16;
/// Dots that can be told from one another.
const DOTS: usize = 60;

/// Where things lie from left to right.
struct Columns {
    bars: Range<i32>,
    words: Range<i32>,
    notes: Range<i32>,
}

impl Rows {
    pub(super) fn height(&self, layout: Layout) -> i32 {
        let rows = self.rows.iter().map(|row| row_height(row, layout));
        rows.sum::<i32>() + AXIS
    }

    pub(super) fn alt(&self) -> String {
        let rows = self.rows.iter().map(|row| match row {
            Row::Heading(heading) => format!("{heading}:"),
            Row::Bar(bar) if bar.note.is_empty() => format!("{}: {};", bar.label, bar.words),
            Row::Bar(bar) => format!("{}: {}, {};", bar.label, bar.words, bar.note),
        });
        let rows: Vec<String> = rows.collect();
        format!("{} In {}.", rows.join(" "), self.axis)
    }

    pub(super) fn draw(&self, area: &Area<'_>, layout: Layout) {
        let columns = self.columns(layout);
        let most = self.most();
        let place = |value: f64| {
            let share = (value / most).clamp(0.0, 1.0);
            let Columns { bars, .. } = &columns;
            bars.start + (share * f64::from(bars.end - bars.start)).round() as i32
        };
        let bottom = self.height(layout) - AXIS;
        // A phone has names above the bars: lines stay out of them.
        let bands: Vec<(i32, i32)> = match layout {
            Layout::Wide | Layout::Full => vec![(0, bottom)],
            Layout::Narrow => self.bands(),
        };
        let room = (columns.bars.end - columns.bars.start) / 60;
        for tick in ticks::linear(0.0, most, room as usize) {
            let x = place(tick);
            let colour = if tick == 0.0 { MUTED } else { GRID };
            for &(top, bottom) in &bands {
                line(area, (x, top), (x, bottom), colour, 1);
            }
            let style = style(11, MUTED, HPos::Center, VPos::Top);
            let words = number(tick);
            let half = text::width(&words, 11) / 2 + 1;
            let centre = x.clamp(half, layout.width() - half);
            write(area, &words, (centre, bottom + 5), 60, &style, 11);
        }
        let centre = (columns.bars.start + columns.bars.end) / 2;
        let axis = style(11, MUTED, HPos::Center, VPos::Top);
        // The words may be wider than the bars, not than the chart.
        let half = text::width(&self.axis, 11) / 2;
        let centre = centre.clamp(
            half.min(layout.width() / 2),
            (layout.width() - half).max(layout.width() / 2),
        );
        write(
            area,
            &self.axis,
            (centre, bottom + 22),
            layout.width(),
            &axis,
            11,
        );
        let mut top = 0;
        for (index, row) in self.rows.iter().enumerate() {
            match row {
                Row::Heading(heading) => {
                    let style = style(SIZE, INK, HPos::Left, VPos::Bottom).bold();
                    let at = (0, top + HEADING - 5);
                    write(area, heading, at, layout.width(), &style, SIZE + 1);
                }
                Row::Bar(bar) => marked(area, index, || {
                    bar.draw(area, top, &columns, layout, &place);
                }),
            }
            top += row_height(row, layout);
        }
    }

    /// From where to where each bar reaches, in pixels from the top.
    fn bands(&self) -> Vec<(i32, i32)> {
        let mut top = 0;
        let mut bands = Vec::new();
        for row in &self.rows {
            if matches!(row, Row::Bar(_)) {
                bands.push((top + 19, top + 39));
            }
            top += row_height(row, Layout::Narrow);
        }
        bands
    }

    /// The targets of the rows.
    pub(super) fn keys(&self) -> Vec<&str> {
        let keys = self.rows.iter().map(|row| match row {
            Row::Heading(_) => "",
            Row::Bar(bar) => bar.key.as_str(),
        });
        keys.collect()
    }

    fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.rows.iter().filter_map(|row| match row {
            Row::Bar(bar) => Some(bar),
            Row::Heading(_) => None,
        })
    }

    /// The end of the axis: all of every bar, interval and limit.
    fn most(&self) -> f64 {
        let ends = self.bars().flat_map(|bar| {
            let high = bar.interval.map(|interval| interval.high);
            let ends = [bar.value, high, bar.limit].into_iter().flatten();
            ends.chain(bar.dots.iter().copied())
        });
        let most = ends.filter(|end| end.is_finite()).fold(0.0, f64::max);
        if most > 0.0 { most * 1.02 } else { 1.0 }
    }

    fn columns(&self, layout: Layout) -> Columns {
        let width = layout.width();
        let (label, word) = match layout {
            Layout::Narrow => {
                return Columns {
                    bars: 1..width - 14,
                    words: 0..width,
                    notes: 0..width,
                };
            }
            Layout::Wide => (200, 190),
            Layout::Full => (330, 280),
        };
        let widest = |words: &mut dyn Iterator<Item = &str>| {
            let widths = words.map(|words| text::width(words, SIZE));
            widths.max().unwrap_or(0)
        };
        let measured = || self.bars().filter(|bar| bar.value.is_some());
        let labels = widest(&mut self.bars().map(|bar| bar.label.as_str())).min(label);
        let words = widest(&mut measured().map(|bar| bar.words.as_str())).min(word);
        let notes = widest(&mut measured().map(|bar| bar.note.as_str())).min(word);
        let notes = width - notes..width;
        let gap = if notes.is_empty() { 0 } else { 12 };
        let words = notes.start - gap - words..notes.start - gap;
        Columns {
            bars: labels + 10..words.start - 12,
            words,
            notes,
        }
    }
}

fn row_height(row: &Row, layout: Layout) -> i32 {
    match (row, layout) {
        (Row::Heading(_), _) => HEADING,
        (Row::Bar(bar), Layout::Wide | Layout::Full) => match bar.dots.is_empty() {
            true => 26,
            false => 30,
        },
        (Row::Bar(bar), Layout::Narrow) => match bar.note.is_empty() {
            true => 44,
            false => 44 + NOTE,
        },
    }
}

impl Bar {
    fn draw(
        &self,
        area: &Area<'_>,
        top: i32,
        columns: &Columns,
        layout: Layout,
        place: &dyn Fn(f64) -> i32,
    ) {
        let middle = match (layout, self.dots.is_empty()) {
            (Layout::Narrow, _) => top + 30,
            (_, true) => top + 13,
            (_, false) => top + 15,
        };
        match layout {
            Layout::Wide | Layout::Full => self.write_beside(area, middle, columns),
            Layout::Narrow => self.write_above(area, top, middle, columns),
        }
        let Some(value) = self.value else { return };
        let start = columns.bars.start;
        let end = place(value).max(start + 1);
        let half = if self.dots.is_empty() { 7 } else { 10 };
        let corners = [(start, middle - half), (end, middle + half)];
        let solid = self.colour.rgb();
        if self.hollow {
            area.draw(&Rectangle::new(corners, solid.stroke_width(2)))
                .expect(DRAWN);
        } else if self.dots.is_empty() {
            area.draw(&Rectangle::new(corners, solid.filled()))
                .expect(DRAWN);
        } else {
            area.draw(&Rectangle::new(corners, solid.mix(0.3).filled()))
                .expect(DRAWN);
            let outline = solid.stroke_width(1);
            area.draw(&Rectangle::new(corners, outline)).expect(DRAWN);
        }
        // Dots above, the interval below: neither covers the other.
        let (above, below) = match self.dots.is_empty() {
            true => (middle, middle),
            false => (middle - 4, middle + 5),
        };
        let every = self.dots.len().div_ceil(DOTS).max(1);
        for (at, dot) in self.dots.iter().step_by(every).enumerate() {
            let spread = [0, -2, 2][at % 3];
            let centre = (place(*dot), above + spread);
            for (radius, colour) in [(4, SURFACE), (3, self.colour)] {
                area.draw(&Circle::new(centre, radius, colour.rgb().filled()))
                    .expect(DRAWN);
            }
        }
        if let Some(interval) = self.interval {
            let (low, high) = (place(interval.low), place(interval.high));
            // A rim of the surface keeps the whisker apart from its own bar.
            line(area, (low, below), (high, below), SURFACE, 4);
            line(area, (low, below), (high, below), INK, 2);
            for x in [low, high] {
                line(area, (x, below - 4), (x, below + 4), INK, 2);
            }
        }
        if let Some(limit) = self.limit {
            let x = place(limit);
            line(area, (x, middle - 10), (x, middle + 10), SURFACE, 5);
            line(area, (x, middle - 10), (x, middle + 10), MUTED, 3);
        }
    }

    /// Name, figure and note on both sides of the bar.
    fn write_beside(&self, area: &Area<'_>, middle: i32, columns: &Columns) {
        let Columns { bars, words, notes } = columns;
        let label = style(SIZE, INK, HPos::Right, VPos::Center);
        let room = bars.start - 8;
        write(area, &self.label, (room, middle), room, &label, SIZE);
        let (at, room, colour) = match self.value {
            Some(_) => (words.start, words.end - words.start, INK),
            None => (bars.start + 6, notes.end - bars.start - 6, MUTED),
        };
        let figure = style(SIZE, colour, HPos::Left, VPos::Center);
        write(area, &self.words, (at, middle), room, &figure, SIZE);
        if self.value.is_some() && !self.note.is_empty() {
            let note = style(SIZE, MUTED, HPos::Left, VPos::Center);
            let room = notes.end - notes.start;
            write(area, &self.note, (notes.start, middle), room, &note, SIZE);
        }
    }

    /// On a phone the name and the figure stand above the bar, the note below.
    fn write_above(&self, area: &Area<'_>, top: i32, middle: i32, columns: &Columns) {
        let Columns { bars, words, .. } = columns;
        // The figure goes first: a name can be cut, and stands in the table below.
        let taken = match self.value {
            Some(_) => text::width(&self.words, SIZE).min(words.end * 2 / 3),
            None => 0,
        };
        let label = style(SIZE, INK, HPos::Left, VPos::Center);
        let room = words.end - taken - 10;
        write(area, &self.label, (0, top + 9), room, &label, SIZE);
        let (at, anchor, room, colour) = match self.value {
            Some(_) => ((words.end, top + 9), HPos::Right, words.end * 2 / 3, INK),
            None => ((bars.start + 6, middle), HPos::Left, words.end - 10, MUTED),
        };
        let figure = style(SIZE, colour, anchor, VPos::Center);
        write(area, &self.words, at, room, &figure, SIZE);
        if self.value.is_some() && !self.note.is_empty() {
            let note = style(SIZE - 1, MUTED, HPos::Left, VPos::Center);
            write(
                area,
                &self.note,
                (bars.start, middle + 19),
                words.end,
                &note,
                SIZE - 1,
            );
        }
    }
}
