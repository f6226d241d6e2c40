//! Where the time of a pass goes, op by op.

use mlxbench_ops::Phase;

use crate::breakdown::Breakdown;
use crate::draw::rows::{Bar, Row, Rows};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};
use crate::units;

/// A chart a model and phase that was measured.
pub(crate) fn charts(breakdowns: &[Breakdown], palette: &Palette) -> Vec<Chart> {
    let mut charts = Vec::new();
    for phase in [Phase::Prefill, Phase::Decode] {
        let mut passes: Vec<String> = breakdowns.iter().map(|one| one.pass(phase)).collect();
        passes.sort();
        passes.dedup();
        for pass in passes {
            let own = breakdowns.iter().filter(|one| one.pass(phase) == pass);
            let own: Vec<&Breakdown> = own.collect();
            charts.extend(chart(&own, phase, &pass, palette));
        }
    }
    charts
}

/// One pass, by all who measured it: what takes the first of them longest comes first.
fn chart(of: &[&Breakdown], phase: Phase, pass: &str, palette: &Palette) -> Option<Chart> {
    let mut parts: Vec<(&str, f64)> = Vec::new();
    for (op, time) in of.iter().flat_map(|one| one.parts(phase)) {
        if !parts.iter().any(|(part, _)| *part == op.part) {
            parts.push((&op.part, time.median));
        }
    }
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut rows = Vec::new();
    for (part, _) in &parts {
        if of.len() > 1 {
            rows.push(Row::Heading((*part).to_owned()));
        }
        for one in of {
            let Some((op, time)) = one.parts(phase).find(|(op, _)| op.part == *part) else {
                continue;
            };
            let shown = time.scaled(1e-6);
            let share = units::share(time.median / one.total(phase));
            let label = match of.len() {
                1 => op.name.clone(),
                _ => one.target(),
            };
            rows.push(Row::Bar(Bar {
                key: one.target(),
                label,
                colour: palette.of(one.backend()),
                value: Some(shown.median),
                interval: shown.interval,
                dots: Vec::new(),
                limit: None,
                hollow: false,
                words: units::time(time.median),
                note: share,
            }));
        }
    }
    if rows.is_empty() {
        return None;
    }
    let totals = of.iter().map(|one| {
        let total = units::time(one.total(phase));
        format!("{} {total}", one.target())
    });
    let totals: Vec<String> = totals.collect();
    Some(Chart {
        name: format!("time-{phase}-{pass}"),
        title: format!("Where the time goes: {phase} ({pass})"),
        caption: format!(
            "Time of one run of each op by criterion, times how often a pass runs it. All ops together: \
             {}. Sums of residuals, lookups and the framework's time between ops are not in it.",
            totals.join(", ")
        ),
        form: Form::Rows(Rows {
            axis: "ms per pass, lower is better".into(),
            rows,
        }),
    })
}
