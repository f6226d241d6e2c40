//! One bar a target, with its interval.

use mlxbench_analysis::Interval;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::theme::{Colour, GRID, INK, MUTED, SURFACE};
use super::{Area, DRAWN, Layout, line, number, style, text, ticks, write};

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
    /// Whose: `candle/cpu/f32`.
    pub(crate) label: String,
    /// Its framework's colour.
    pub(crate) colour: Colour,
    /// How long, in the axis' unit; nothing is drawn for `None`.
    pub(crate) value: Option<f64>,
    /// From where to where the figure may lie.
    pub(crate) interval: Option<Interval>,
    /// Where a limit lies that the bar is compared with.
    pub(crate) limit: Option<f64>,
    /// The figure in words, or why there is none.
    pub(crate) words: String,
}

const SIZE: i32 = 12;
const AXIS: i32 = 40;
const HEADING: i32 = 26;

/// Where things lie from left to right.
struct Columns {
    bars: std::ops::Range<i32>,
    words: std::ops::Range<i32>,
}

impl Rows {
    pub(super) fn height(&self, layout: Layout) -> i32 {
        let rows = self.rows.iter().map(|row| row_height(row, layout));
        rows.sum::<i32>() + AXIS
    }

    pub(super) fn alt(&self) -> String {
        let rows = self.rows.iter().map(|row| match row {
            Row::Heading(heading) => format!("{heading}:"),
            Row::Bar(bar) => format!("{}: {};", bar.label, bar.words),
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
            Layout::Wide => vec![(0, bottom)],
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
        for row in &self.rows {
            match row {
                Row::Heading(heading) => {
                    let style = style(SIZE, INK, HPos::Left, VPos::Bottom).bold();
                    let at = (0, top + HEADING - 5);
                    write(area, heading, at, layout.width(), &style, SIZE + 1);
                }
                Row::Bar(bar) => bar.draw(area, top, &columns, layout, &place),
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
            [bar.value, high, bar.limit]
        });
        let most = ends
            .flatten()
            .filter(|end| end.is_finite())
            .fold(0.0, f64::max);
        if most > 0.0 { most * 1.02 } else { 1.0 }
    }

    fn columns(&self, layout: Layout) -> Columns {
        let width = layout.width();
        match layout {
            Layout::Narrow => Columns {
                bars: 1..width - 14,
                words: 0..width,
            },
            Layout::Wide => {
                let widest = |words: &mut dyn Iterator<Item = &str>| {
                    words
                        .map(|words| text::width(words, SIZE))
                        .max()
                        .unwrap_or(0)
                };
                let labels = widest(&mut self.bars().map(|bar| bar.label.as_str())).min(230);
                let measured = self.bars().filter(|bar| bar.value.is_some());
                let words = widest(&mut measured.map(|bar| bar.words.as_str())).min(190);
                Columns {
                    bars: labels + 10..width - words - 12,
                    words: width - words..width,
                }
            }
        }
    }
}

fn row_height(row: &Row, layout: Layout) -> i32 {
    match (row, layout) {
        (Row::Heading(_), _) => HEADING,
        (Row::Bar(_), Layout::Wide) => 26,
        (Row::Bar(_), Layout::Narrow) => 42,
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
        let Columns { bars, words } = columns;
        let middle = match layout {
            Layout::Wide => top + 13,
            Layout::Narrow => top + 29,
        };
        let weight = if self.value.is_some() { INK } else { MUTED };
        match layout {
            Layout::Wide => {
                let label = style(SIZE, INK, HPos::Right, VPos::Center);
                write(
                    area,
                    &self.label,
                    (bars.start - 8, middle),
                    bars.start - 8,
                    &label,
                    SIZE,
                );
                let (at, room) = match self.value {
                    Some(_) => (words.start, words.end - words.start),
                    None => (bars.start + 6, words.end - bars.start - 6),
                };
                let style = style(SIZE, weight, HPos::Left, VPos::Center);
                write(area, &self.words, (at, middle), room, &style, SIZE);
            }
            Layout::Narrow => {
                // The figure goes first: a name can be cut, and stands in the table below.
                let taken = match self.value {
                    Some(_) => text::width(&self.words, SIZE).min(words.end * 2 / 3),
                    None => 0,
                };
                let label = style(SIZE, INK, HPos::Left, VPos::Center);
                let room = words.end - taken - 10;
                write(area, &self.label, (0, top + 11), room, &label, SIZE);
                let (at, anchor, room) = match self.value {
                    Some(_) => ((words.end, top + 11), HPos::Right, words.end * 2 / 3),
                    None => ((bars.start + 6, middle), HPos::Left, words.end - 10),
                };
                let style = style(SIZE, weight, anchor, VPos::Center);
                write(area, &self.words, at, room, &style, SIZE);
            }
        }
        let Some(value) = self.value else { return };
        let fill = self.colour.rgb().filled();
        let corners = [
            (bars.start, middle - 7),
            (place(value).max(bars.start + 1), middle + 7),
        ];
        area.draw(&Rectangle::new(corners, fill)).expect(DRAWN);
        if let Some(interval) = self.interval {
            let (low, high) = (place(interval.low), place(interval.high));
            // A rim of the surface keeps the whisker apart from its own bar.
            line(area, (low, middle), (high, middle), SURFACE, 4);
            line(area, (low, middle), (high, middle), INK, 2);
            for x in [low, high] {
                line(area, (x, middle - 4), (x, middle + 4), INK, 2);
            }
        }
        if let Some(limit) = self.limit {
            let x = place(limit);
            line(area, (x, middle - 10), (x, middle + 10), SURFACE, 5);
            line(area, (x, middle - 10), (x, middle + 10), MUTED, 3);
        }
    }
}
