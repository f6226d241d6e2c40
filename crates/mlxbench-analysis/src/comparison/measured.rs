//! What was measured of a row, as evidence.

use std::collections::BTreeMap;

use mlxbench_core::results::{ROUNDS_OF_BLOCK, RunResult};

use super::ComparedRow;
use super::compared::{Compared, Figure};
use crate::evidence::{Pairs, Samples};
use crate::processes::independent;
use crate::stats::Estimate;

/// The figures of both sides as they are shown, their ratio, and what is judged.
type Row = ([Option<Estimate>; 2], Option<Estimate>, Option<Measured>);

/// What was measured of a row.
pub(super) enum Measured {
    /// In two runs.
    Apart(Samples),
    /// In one run, block by block.
    Together(Pairs),
}

fn values(figures: &[Figure]) -> Vec<f64> {
    figures.iter().map(|figure| figure.value).collect()
}

/// Rounds whose order one coin decides: two, there and back, where the run drew them so.
pub(super) fn rounds_of_block(result: &RunResult) -> usize {
    let sides = result.run.sides.as_ref();
    match sides.and_then(|sides| sides.sequence.as_ref()) {
        Some(_) => ROUNDS_OF_BLOCK,
        None => 1,
    }
}

/// What was measured of the rows of one figure.
pub(super) fn of_metric<'a>(
    apart: &'a [(usize, Samples)],
    rows: &[ComparedRow],
    metric: Compared,
) -> impl Iterator<Item = &'a Samples> {
    let own = apart
        .iter()
        .filter(move |(at, _)| rows[*at].metric == metric);
    own.map(|(_, samples)| samples)
}

/// Of the processes of each run of the base, and of the new run. Repetitions of a process share its luck: where a
/// run has several processes, these are what is compared.
pub(super) fn unpaired(base: &[Vec<Vec<f64>>], new: &[Vec<f64>]) -> Row {
    let units: Vec<Vec<f64>> = base.iter().map(|run| independent(run)).collect();
    let shown = [
        Estimate::of_processes(&base.concat()),
        Estimate::of_processes(new),
    ];
    let new = independent(new);
    let ratio = Estimate::of_ratio(&new, &units.concat());
    (
        shown,
        ratio,
        Samples::of_runs(&units, &new).map(Measured::Apart),
    )
}

/// Of both sides of one run, in blocks of so many rounds.
pub(super) fn paired(base: &[Figure], new: &[Figure], rounds_of_block: usize) -> Row {
    let mut blocks: BTreeMap<usize, Vec<[f64; 2]>> = BTreeMap::new();
    for before in base {
        if let Some(after) = new.iter().find(|after| after.round == before.round) {
            let block = blocks.entry(before.round / rounds_of_block).or_default();
            block.push([before.value, after.value]);
        }
    }
    let rounds = blocks.values().flatten();
    let ratios: Vec<f64> = rounds.map(|[base, new]| new / base).collect();
    // The sign of half a block isn't a coin's.
    blocks.retain(|_, rounds| rounds.len() == rounds_of_block);
    let whole: Vec<[f64; 2]> = blocks.into_values().flatten().collect();
    let pairs = Pairs::new(&whole, rounds_of_block);
    let shown = [base, new].map(|side| Estimate::of(&values(side)));
    (shown, Estimate::of(&ratios), pairs.map(Measured::Together))
}
