//! Results with so few repetitions that, whatever they measured, nothing could be decided.

use serde::Serialize;

use super::ComparedRow;
use super::compared::Compared;

/// Repetitions of both results that decide what is 10 % apart at 2 % of noise, by the simulation in
/// `examples/gate.rs`.
pub const ENOUGH_REPETITIONS: usize = 10;

/// Of which kind no row can be decided beside the others, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TooFew {
    /// Whether rows of time can't.
    pub time: bool,
    /// Whether rows of memory can't.
    pub memory: bool,
    /// How many repetitions would probably do.
    pub repetitions: usize,
    /// Whether the base has fewer.
    pub base: bool,
    /// Whether the new result has fewer.
    pub new: bool,
}

/// A row, how many repetitions it has in both results, and how many of them count as one: all of a process.
pub(super) struct Counted<'a> {
    pub(super) row: &'a ComparedRow,
    pub(super) base: usize,
    pub(super) new: usize,
    pub(super) of_unit: usize,
}

impl TooFew {
    /// Of `rows`, where those of `kinds` can't be decided; `None` where there are no such.
    pub(super) fn of(kinds: Kinds, rows: &[Counted<'_>]) -> Option<Self> {
        let Kinds { time, memory } = kinds;
        let concerned = |counted: &&Counted<'_>| match counted.row.metric {
            Compared::Memory => memory,
            _ => time,
        };
        let rows: Vec<&Counted<'_>> = rows.iter().filter(concerned).collect();
        let enough = rows
            .iter()
            .map(|counted| ENOUGH_REPETITIONS * counted.of_unit);
        let repetitions = enough.max()?;
        let any = |of: fn(&Counted<'_>) -> usize| rows.iter().any(|row| of(row) < repetitions);
        let (base, new) = (any(|row| row.base), any(|row| row.new));
        Some(Self {
            time,
            memory,
            repetitions,
            // Where rows lost repetitions in different places none is short, and all are.
            base: base || !new,
            new: new || !base,
        })
    }
}

/// Kinds of rows, which are judged apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds {
    pub(super) time: bool,
    pub(super) memory: bool,
}
