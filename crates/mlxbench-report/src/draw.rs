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
use theme::{Colour, INK, MUTED, SURFACE};

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
    /// 960 pixels: alone on a desk's screen.
    Full,
}

impl Layout {
    fn width(self) -> i32 {
        match self {
            Self::Narrow => 288,
            Self::Wide => 620,
            Self::Full => 960,
        }
    }
}

/// Where a drawing goes.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Around a chart that stands alone.
const MARGIN: i32 = 12;

/// Height of the title of a chart that stands alone.
const TITLE: i32 = 34;

/// Size of what stands below it, and from one line of that to the next.
const SMALL: i32 = 11;
const LINE: i32 = 15;

/// The fonts that a reader's system has for its own windows.
const FONT: &str = "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif";

/// What plotters' drawing can't fail at.
const DRAWN: &str = "a String takes every drawing, and no font is measured";

impl Chart {
    /// An `svg` element for a page that has the rules of [`theme::css`], and a heading for it.
    pub(crate) fn inline(&self, layout: Layout) -> String {
        self.draw(layout, None)
    }

    /// An SVG file that stands alone: with a title, with `origin`, which says what was measured where and when,
    /// and with colours for both schemes.
    pub(crate) fn file(&self, origin: &str) -> String {
        self.draw(Layout::Wide, Some(origin))
    }

    /// What the chart says to who can't see it.
    pub(crate) fn alt(&self) -> String {
        let figures = match &self.form {
            Form::Rows(rows) => rows.alt(),
            Form::Plane(plane) => plane.alt(),
        };
        format!("{}. {figures}", self.title)
    }

    fn draw(&self, layout: Layout, origin: Option<&str>) -> String {
        let margin = if origin.is_some() { MARGIN } else { 0 };
        let lines = origin.map_or_else(Vec::new, |origin| {
            text::wrapped(origin, layout.width(), SMALL)
        });
        let top = match origin {
            Some(_) => TITLE + lines.len() as i32 * LINE,
            None => 0,
        };
        let height = match &self.form {
            Form::Rows(rows) => rows.height(layout),
            Form::Plane(plane) => plane.height(layout),
        };
        let mut svg = String::new();
        {
            let width = layout.width() + 2 * margin;
            let size = (width as u32, (top + height + margin) as u32);
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            if origin.is_some() {
                root.fill(&SURFACE.rgb()).expect(DRAWN);
                let title = style(16, INK, HPos::Left, VPos::Top).bold();
                write(&root, &self.title, (margin, 8), layout.width(), &title, 16);
                let small = style(SMALL, MUTED, HPos::Left, VPos::Top);
                for (at, words) in lines.iter().enumerate() {
                    let place = (margin, TITLE - 4 + at as i32 * LINE);
                    write(&root, words, place, layout.width(), &small, SMALL);
                }
            }
            let area = root.margin(top, 0, margin, margin);
            match &self.form {
                Form::Rows(rows) => rows.draw(&area, layout),
                Form::Plane(plane) => plane.draw(&area, layout),
            }
            root.present().expect(DRAWN);
        }
        self.opened(&self.grouped(&svg), origin.is_some())
    }

    /// `svg` with a group around what belongs to one target, in place of the [marks](marked) around it.
    fn grouped(&self, svg: &str) -> String {
        let keys: Vec<&str> = match &self.form {
            Form::Rows(rows) => rows.keys(),
            Form::Plane(plane) => plane.keys(),
        };
        let mut grouped = String::with_capacity(svg.len());
        for line in svg.lines() {
            let mark = line.starts_with("<rect ").then(|| mark_of(line)).flatten();
            match mark {
                Some(Mark::Open(index)) => {
                    let key = escape(keys.get(index).copied().unwrap_or_default());
                    grouped += &format!("<g data-target=\"{key}\">");
                }
                Some(Mark::Close) => grouped += "</g>",
                None => grouped += line,
            }
            grouped.push('\n');
        }
        grouped
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

/// The colours that stand for the ends of a group: no chart has them.
const OPEN: u8 = 0x01;
const CLOSE: u8 = 0x02;

/// Draws what belongs to the series or row of `index`, so that a page's filters find it. plotters has no groups: an
/// empty rectangle before and one behind stand for them, whose colours [`Chart::grouped`] reads.
fn marked(area: &Area<'_>, index: usize, draw: impl FnOnce()) {
    let [.., high, low] = index.to_be_bytes();
    let mark = |colour: RGBColor| {
        let nothing = Rectangle::new([(0, 0), (0, 0)], colour.filled());
        area.draw(&nothing).expect(DRAWN);
    };
    mark(RGBColor(OPEN, high, low));
    draw();
    mark(RGBColor(CLOSE, CLOSE, CLOSE));
}

/// An end of a group.
enum Mark {
    Open(usize),
    Close,
}

fn mark_of(line: &str) -> Option<Mark> {
    let (_, colour) = line.split_once("fill=\"#")?;
    let colour = u32::from_str_radix(colour.get(..6)?, 16).ok()?;
    let [_, kind, high, low] = colour.to_be_bytes();
    match kind {
        OPEN => Some(Mark::Open(usize::from(u16::from_be_bytes([high, low])))),
        CLOSE if (high, low) == (CLOSE, CLOSE) => Some(Mark::Close),
        _ => None,
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

/// A mark at a place, with a rim of the surface that keeps it apart from others; the shape tells targets of one
/// framework apart.
fn marker(area: &Area<'_>, at: (i32, i32), shape: usize, colour: Colour) {
    shaped(area, at, shape, 2, SURFACE);
    shaped(area, at, shape, 0, colour);
}

fn shaped(area: &Area<'_>, (x, y): (i32, i32), shape: usize, more: i32, colour: Colour) {
    let fill = colour.rgb().filled();
    let (four, five, six) = (4 + more, 5 + more, 6 + more);
    let drawn = match shape % 4 {
        0 => area.draw(&Circle::new((x, y), four, fill)),
        1 => area.draw(&Rectangle::new(
            [(x - four, y - four), (x + four, y + four)],
            fill,
        )),
        2 => area.draw(&Polygon::new(
            [(x, y - five), (x + five, y + four), (x - five, y + four)],
            fill,
        )),
        _ => area.draw(&Polygon::new(
            [(x, y - six), (x + six, y), (x, y + six), (x - six, y)],
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
