//! Jumps along sweeps of a length and along generations, in words.

use mlxbench_analysis::sweeps::{Figure, Place};
use mlxbench_analysis::{Jump, LatencyStep, Row, Sweep};

use crate::{Digest, units};

/// One sentence a jump: which target and figure, where, from what to what.
pub(crate) fn lines(digest: &Digest<'_>) -> Vec<String> {
    let sweeps = digest.summary.sweeps.iter();
    let along_sweeps = sweeps.flat_map(|sweep| {
        let jumps = sweep.jumps.iter().enumerate();
        // Latencies mostly jump where the rate does.
        let news = jumps
            .filter(|(at, jump)| !sweep.jumps[..*at].iter().any(|said| same_place(said, jump)));
        news.map(|(_, jump)| along_sweep(digest, sweep, jump))
    });
    let rows = digest.summary.rows.iter();
    let along_generations = rows.flat_map(|row| {
        let steps = row.latency_steps.iter();
        steps.map(|step| along_generation(digest, row, step))
    });
    along_sweeps.chain(along_generations).collect()
}

fn same_place(one: &Jump, other: &Jump) -> bool {
    one.at.test == other.at.test && one.shape == other.shape
}

fn along_sweep(digest: &Digest<'_>, sweep: &Sweep, jump: &Jump) -> String {
    let (target, figure) = (digest.name(&sweep.target), name(jump.figure));
    let (at, before) = (place(jump, &jump.at), place(jump, &jump.before));
    let times = jump.times;
    let jumps = match &jump.after {
        None => format!("jumps from {before} to {at}"),
        Some(after) => format!("is {at}, but {before} and {}", place(jump, after)),
    };
    format!("{target}: {figure} {jumps}: {times:.2}x the time expected from the other lengths")
}

fn along_generation(digest: &Digest<'_>, row: &Row, step: &LatencyStep) -> String {
    let (target, test) = (digest.name(&row.target), row.test);
    let LatencyStep { token, context, .. } = step;
    let (before, after) = (units::time(step.before_ns), units::time(step.after_ns));
    format!(
        "{target} {test}: inter-token latency jumps from {before} to {after} at generated token {token}, \
         with {context} tokens in the context"
    )
}

fn name(figure: Figure) -> &'static str {
    match figure {
        Figure::DecodeTokensPerSecond => "decode rate",
        Figure::PrefillTokensPerSecond => "prefill rate",
        Figure::InterTokenP50Ns => "median inter-token latency",
        Figure::InterTokenMaxNs => "largest inter-token latency",
    }
}

/// `120.4 tokens/s at pp512+tg64`.
fn place(jump: &Jump, place: &Place) -> String {
    let Place { test, median, .. } = place;
    match jump.figure {
        Figure::DecodeTokensPerSecond | Figure::PrefillTokensPerSecond => {
            format!("{} tokens/s at {test}", units::figure(*median))
        }
        Figure::InterTokenP50Ns | Figure::InterTokenMaxNs => {
            format!("{} at {test}", units::time(*median))
        }
    }
}
