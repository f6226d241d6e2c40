//! A comparison as GitHub's workflow commands, which show beside a pull request's checks.

use mlxbench_analysis::{Change, Comparison};

use super::words::{cautions, change, headline, hopeless, name, verdict_and_why};
use crate::terminal::plain;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut lines = Vec::new();
    for row in &comparison.rows {
        let level = match row.change {
            Change::Worse | Change::Broken { .. } => "error",
            Change::Better => "notice",
            // One a row would bury the rest: they are in the headline's.
            Change::Same | Change::Inconclusive { .. } | Change::NotComparable { .. } => continue,
        };
        let change = change(row).map(|change| format!("{change}, "));
        let message = format!("{}{}", change.unwrap_or_default(), verdict_and_why(row));
        lines.push(command(level, &name(row), &message));
    }
    let level = match comparison.gate {
        mlxbench_analysis::Gate::Fail => "error",
        mlxbench_analysis::Gate::Inconclusive => "warning",
        mlxbench_analysis::Gate::Pass => "notice",
    };
    let said: Vec<String> = [headline(comparison)]
        .into_iter()
        .chain(hopeless(comparison))
        .chain(cautions(comparison))
        .collect();
    lines.push(command(level, "mlxbench", &said.join("; ")));
    lines.push(String::new());
    lines.join("\n")
}

/// `::error title=TITLE::MESSAGE`, with what would end it escaped as GitHub's toolkit does
/// (packages/core/src/command.ts of actions/toolkit).
fn command(level: &str, title: &str, message: &str) -> String {
    let data = |text: &str| plain(text).replace('%', "%25");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    format!("::{level} title={}::{}", property(title), data(message))
}
