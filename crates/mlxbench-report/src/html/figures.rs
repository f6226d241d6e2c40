//! Charts, each in several layouts: a phone gets its own.

use maud::{Markup, PreEscaped, html};

use super::id;
use crate::breakdown::Breakdown;
use crate::charts;
use crate::draw::theme::Palette;
use crate::draw::{Chart, Layout};

/// Charts side by side.
pub(super) fn grid(charts: &[Chart], at: usize) -> Markup {
    html! {
        @if !charts.is_empty() {
            div.charts { @for chart in charts { (figure(chart, at)) } }
        }
    }
}

/// Where the time of a pass goes.
pub(super) fn breakdowns(breakdowns: &[Breakdown], palette: &Palette) -> Markup {
    let made = charts::breakdown::charts(breakdowns, palette);
    html! {
        @if !made.is_empty() {
            section aria-labelledby="breakdown" {
                h2 #breakdown { "Where the time goes" }
                (grid(&made, 0))
            }
        }
    }
}

/// A chart with its heading.
pub(crate) fn figure(chart: &Chart, at: usize) -> Markup {
    html! {
        figure id=(id(&chart.name, at)) {
            h3 { (chart.title) }
            div.wide { (PreEscaped(chart.inline(Layout::Wide))) }
            div.narrow { (PreEscaped(chart.inline(Layout::Narrow))) }
            figcaption { (chart.caption) }
        }
    }
}

/// The chart of the first screen.
pub(super) fn hero(chart: &Chart) -> Markup {
    html! {
        figure.hero id=(id(&chart.name, 0)) {
            h2 { (chart.title) }
            div.full { (PreEscaped(chart.inline(Layout::Full))) }
            div.wide { (PreEscaped(chart.inline(Layout::Wide))) }
            div.narrow { (PreEscaped(chart.inline(Layout::Narrow))) }
            figcaption { (chart.caption) }
        }
    }
}
