//! Charts, each in two layouts: a phone gets its own.

use maud::{Markup, PreEscaped, html};

use super::id;
use crate::Digest;
use crate::breakdown::Breakdown;
use crate::charts;
use crate::draw::theme::Palette;
use crate::draw::{Chart, Layout};

/// All charts of a result.
pub(super) fn section(digest: &Digest<'_>, palette: &Palette, at: usize, name: &str) -> Markup {
    let charts = charts::of_result(digest, palette);
    html! {
        @if !charts.is_empty() {
            section aria-labelledby=(format!("charts-{at}")) {
                h2 #(format!("charts-{at}")) { "Charts: " (name) }
                div.charts {
                    @for chart in &charts { (figure(chart, at)) }
                }
            }
        }
    }
}

/// Where the time of a pass goes.
pub(super) fn breakdowns(breakdowns: &[Breakdown], palette: &Palette) -> Markup {
    let charts = charts::breakdown::charts(breakdowns, palette);
    html! {
        @if !charts.is_empty() {
            section aria-labelledby="breakdown" {
                h2 #breakdown { "Where the time goes" }
                div.charts {
                    @for chart in &charts { (figure(chart, 0)) }
                }
            }
        }
    }
}

/// A chart with its heading.
pub(crate) fn figure(chart: &Chart, at: usize) -> Markup {
    let id = id(&chart.name, at);
    html! {
        figure id=(id) {
            h3 { (chart.title) }
            div.wide { (PreEscaped(chart.inline(Layout::Wide))) }
            div.narrow { (PreEscaped(chart.inline(Layout::Narrow))) }
            figcaption { (chart.caption) }
        }
    }
}
