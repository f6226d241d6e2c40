//! The answer in words: which framework is fastest here, by how much with what certainty, at what
//! memory, and was it the same work?

use mlxbench_analysis::Row;
use mlxbench_core::results::{TargetId, Verdict};

use crate::quantisation::fidelity_in_short;
use crate::race::{DECODE, PREFILL, Race, TRAINING};
use crate::{Digest, quantisation, units};

/// What the first lines of a report say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// One sentence.
    pub(crate) headline: String,
    /// Who is fastest in each precision and of all, and who isn't ranked: a name and a sentence or two.
    pub(crate) standings: Vec<(String, String)>,
    /// What else is to be known of it.
    pub(crate) facts: Vec<(&'static str, String)>,
}

/// The answer that `digest` gives.
pub(crate) fn answer(digest: &Digest<'_>) -> Answer {
    let races = [&DECODE, &PREFILL, &TRAINING].map(|rate| Race::of(digest, rate));
    let races: Vec<Race<'_>> = races.into_iter().flatten().collect();
    let headline = races.iter().find_map(Race::headline);
    let fastest = races.iter().find_map(Race::fastest);
    let facts = [
        ("Memory", fastest.and_then(|row| memory(digest, row))),
        ("Same work", Some(work(digest))),
        ("Fidelity", fidelity(digest)),
        ("Not measured", failures(digest)),
    ];
    let facts = facts
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)));
    Answer {
        headline: headline.unwrap_or_else(|| nothing(digest)),
        standings: races.iter().flat_map(Race::facts).collect(),
        facts: facts.collect(),
    }
}

fn memory(digest: &Digest<'_>, fastest: &Row) -> Option<String> {
    let peak = Row::peak_bytes;
    let held = units::bytes(peak(fastest)?);
    let floor = fastest.memory_floor_bytes.map(|floor| {
        let share = units::share(peak(fastest).unwrap_or(0) as f64 / floor as f64);
        format!(
            ", {share} of the {} that weights and cache need",
            units::bytes(floor)
        )
    });
    let rows = digest
        .summary
        .rows
        .iter()
        .filter(|row| row.test == fastest.test);
    let leanest = rows
        .filter(|row| peak(row).is_some())
        .min_by_key(|row| peak(row))?;
    let leanest = if leanest.target == fastest.target {
        "; no target needs less".to_owned()
    } else {
        let least = units::bytes(peak(leanest)?);
        format!("; {} needs least, {least}", digest.name(&leanest.target))
    };
    let floor = floor.unwrap_or_default();
    Some(format!(
        "{} holds {held} at the peak{floor}{leanest}.",
        digest.name(&fastest.target)
    ))
}

fn work(digest: &Digest<'_>) -> String {
    let result = digest.result;
    let mut tests = result.run.tests.iter();
    let Some(reference) = &result.run.settings.reference else {
        return match tests.any(|test| test.as_serve().is_some()) {
            true => {
                "Not checked: the config names no weights of the servers, or no reference.".into()
            }
            false => "Not checked: the config has no reference.".into(),
        };
    };
    let reference = digest.name(reference);
    let measured = |target: &TargetId| {
        let mut rows = digest.summary.rows.iter();
        rows.any(|row| row.target == *target && row.repetitions > 0)
    };
    let otherwise_in_a_test = |target: &TargetId| {
        let own = result.checks.iter().filter(|known| known.target == *target);
        let verdicts: Vec<Verdict> = own.map(|known| known.verdict).collect();
        [Verdict::Different, Verdict::Unchecked]
            .into_iter()
            .find(|bad| verdicts.contains(bad))
    };
    let verdict_of = |target: &TargetId| match result.equivalence_of(target) {
        Some(known) if known.verdict == Verdict::Different => Some(known.verdict),
        Some(known) => otherwise_in_a_test(target).or(Some(known.verdict)),
        // Measured, and nobody looked: a run that was cut short, or other tools' targets.
        None => measured(target).then_some(Verdict::Unchecked),
    };
    let of = |verdict: Verdict| {
        let targets = result.run.targets.iter();
        let known = targets.filter(|target| verdict_of(target) == Some(verdict));
        known
            .map(|target| digest.name(target).to_string())
            .collect::<Vec<_>>()
    };
    let count = |verdict: Verdict, name: &str| match of(verdict).len() {
        0 => None,
        some => Some(format!("{some} {name}")),
    };
    let good = [
        count(Verdict::Identical, "identical"),
        count(Verdict::Equivalent, "equivalent"),
    ];
    let good: Vec<String> = good.into_iter().flatten().collect();
    let named = |verdict: Verdict, name: &str| match of(verdict).as_slice() {
        [] => None,
        targets => Some(format!("{name}: {}", targets.join(", "))),
    };
    let bad = [
        named(Verdict::Different, "different"),
        named(Verdict::Unchecked, "not compared"),
    ];
    let bad: Vec<String> = bad.into_iter().flatten().collect();
    match (good.as_slice(), bad.as_slice()) {
        ([], []) => format!("Nothing was compared with the reference, {reference}."),
        (good, []) => format!("Yes: compared with {reference}, {}.", good.join(", ")),
        ([], bad) => format!("Compared with {reference}, {}.", bad.join("; ")),
        (good, bad) => format!(
            "Not all: compared with {reference}, {}; {}.",
            good.join(", "),
            bad.join("; ")
        ),
    }
}

/// What quantised weights cost; `None` where none were measured.
fn fidelity(digest: &Digest<'_>) -> Option<String> {
    let measured = digest.summary.rows.iter().filter(|row| row.repetitions > 0);
    let costs = quantisation::of_rows(measured).into_iter();
    let costs: Vec<String> = costs.map(fidelity_in_short).collect();
    (!costs.is_empty()).then(|| format!("Against full precision, {}.", costs.join("; ")))
}

/// What is missing, in one sentence.
fn failures(digest: &Digest<'_>) -> Option<String> {
    let rows = &digest.summary.rows;
    let tests = digest.result.run.tests.len();
    let missing = digest.result.run.targets.iter().filter_map(|target| {
        let own = rows.iter().filter(|row| row.target == *target);
        let without = own.filter(|row| row.repetitions == 0);
        let without: Vec<String> = without.map(|row| row.test.to_string()).collect();
        match without.len() {
            0 => None,
            all if all == tests => Some(digest.name(target).to_string()),
            _ => Some(format!(
                "{} in {}",
                digest.name(target),
                without.join(" and ")
            )),
        }
    });
    let missing: Vec<String> = missing.collect();
    let listed = match missing.as_slice() {
        [] => return None,
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        few => few.join(", "),
    };
    Some(format!("{listed}: see why in the table."))
}

fn nothing(digest: &Digest<'_>) -> String {
    match digest.result.run.targets.len() {
        0 => "The run has no targets".into(),
        _ if digest.summary.rows.iter().any(|row| row.repetitions > 0) => {
            "No target can lead: see why below".into()
        }
        1 => "Nothing was measured: the only target failed".into(),
        targets => format!("Nothing was measured: none of {targets} targets gave a figure"),
    }
}
