//! Charts as data, and their drawing by plotters: what `charts` fills and pages show.
//!
//! | module | its subject |
//! |---|---|
//! | `rows` | one bar a target, with its interval |
//! | `plane` | lines and points over two axes |
//! | `text` | how wide words are, and where they are cut |
//! | `theme` | colours |
//! | `ticks` | round numbers on an axis |

pub(crate) mod plane;
pub(crate) mod rows;
mod text;
pub(crate) mod theme;
mod ticks;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::units::is_unprintable;
use plane::Plane;
use rows::Rows;
use theme::{Colour, INK, SURFACE};

pub(crate) use ticks::number;

/// A chart: what it shows, in words and in figures.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// The stem of its files: `decode`.
    pub(crate) name: String,
    /// What it shows: `Decode rate`.
    pub(crate) title: String,
    /// How to read it.
    pub(crate) caption: String,
    /// The figures.
    pub(crate) form: Form,
}

/// How the figures are laid out.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// One bar a target.
    Rows(Rows),
    /// Lines and points.
    Plane(Plane),
}

/// For which width a chart is laid out: text keeps its size, so a phone gets a chart of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// 288 pixels: a phone of 320 with margins.
    Narrow,
    /// 620 pixels.
    Wide,
}

impl Layout {
    fn width(self) -> i32 {
        match self {
            Self::Narrow => 288,
            Self::Wide => 620,
        }
    }
}

/// Where a drawing goes.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Around a chart that stands alone.
const MARGIN: i32 = 12;

/// Height of the title of a chart that stands alone.
const TITLE: i32 = 34;

/// The fonts that a reader's system has for its own windows.
const FONT: &str = "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif";

/// What plotters' drawing can't fail at.
const DRAWN: &str = "a String takes every drawing, and no font is measured";

impl Chart {
    /// An `svg` element for a page that has the rules of [`theme::css`], and a heading for it.
    pub(crate) fn inline(&self, layout: Layout) -> String {
        self.draw(layout, false)
    }

    /// An SVG file that stands alone: with a title, and colours for both schemes.
    pub(crate) fn file(&self) -> String {
        self.draw(Layout::Wide, true)
    }

    /// What the chart says to who can't see it.
    pub(crate) fn alt(&self) -> String {
        let figures = match &self.form {
            Form::Rows(rows) => rows.alt(),
            Form::Plane(plane) => plane.alt(),
        };
        format!("{}. {figures}", self.title)
    }

    fn draw(&self, layout: Layout, alone: bool) -> String {
        let margin = if alone { MARGIN } else { 0 };
        let top = if alone { TITLE } else { 0 };
        let height = match &self.form {
            Form::Rows(rows) => rows.height(layout),
            Form::Plane(plane) => plane.height(layout),
        };
        let mut svg = String::new();
        {
            let width = layout.width() + 2 * margin;
            let size = (width as u32, (top + height + margin) as u32);
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            if alone {
                root.fill(&SURFACE.rgb()).expect(DRAWN);
                let style = style(16, INK, HPos::Left, VPos::Top).bold();
                write(&root, &self.title, (margin, 8), layout.width(), &style, 16);
            }
            let area = root.margin(top, 0, margin, margin);
            match &self.form {
                Form::Rows(rows) => rows.draw(&area, layout),
                Form::Plane(plane) => plane.draw(&area, layout),
            }
            root.present().expect(DRAWN);
        }
        self.opened(&svg, alone)
    }

    /// `svg` with what plotters has no words for: a role, a text alternative, a class to style.
    fn opened(&self, svg: &str, alone: bool) -> String {
        let alt = escape(&self.alt());
        let drawn = svg.trim_start_matches("<svg ").trim_end();
        let style = if alone {
            let dark = theme::css();
            format!("<style>@media (prefers-color-scheme: dark){{{dark}}}</style>\n")
        } else {
            String::new()
        };
        let (attributes, rest) = drawn
            .split_once(">\n")
            .expect("plotters opens an svg first");
        format!(
            "<svg class=\"chart\" role=\"img\" aria-label=\"{alt}\" {attributes}>\n{style}{rest}\n"
        )
    }
}

/// A text's style, and a bolder one.
struct Styled<'a>(TextStyle<'a>);

impl<'a> Styled<'a> {
    fn bold(mut self) -> Self {
        self.0.font = self.0.font.style(FontStyle::Bold);
        self
    }
}

/// Text of `size` pixels.
fn style<'a>(size: i32, colour: Colour, horizontal: HPos, vertical: VPos) -> Styled<'a> {
    // plotters-svg writes a font's size divided by 1.24.
    let font = (FONT, f64::from(size) * 1.24).into_font();
    let mut style = TextStyle::from(font).pos(Pos::new(horizontal, vertical));
    style.color = colour.rgb().to_backend_color();
    Styled(style)
}

/// Writes `words` at a place, cut to what `room` pixels take.
fn write(area: &Area<'_>, words: &str, at: (i32, i32), room: i32, style: &Styled<'_>, size: i32) {
    let words = text::cut(words, room, size);
    area.draw(&Text::new(words, at, style.0.clone()))
        .expect(DRAWN);
}

/// A straight line of one pixel or more.
fn line(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: Colour, width: u32) {
    let style = colour.rgb().stroke_width(width);
    area.draw(&PathElement::new([from, to], style))
        .expect(DRAWN);
}

/// A mark at a place; the shape tells targets of one framework apart.
fn marker(area: &Area<'_>, (x, y): (i32, i32), shape: usize, colour: Colour) {
    let fill = colour.rgb().filled();
    let drawn = match shape % 4 {
        0 => area.draw(&Circle::new((x, y), 4, fill)),
        1 => area.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], fill)),
        2 => area.draw(&Polygon::new(
            [(x, y - 5), (x + 5, y + 4), (x - 5, y + 4)],
            fill,
        )),
        _ => area.draw(&Polygon::new(
            [(x, y - 6), (x + 6, y), (x, y + 6), (x - 6, y)],
            fill,
        )),
    };
    drawn.expect(DRAWN);
}

/// Text as an attribute's value.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML takes no control characters, not even escaped.
            character if is_unprintable(character) => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}
