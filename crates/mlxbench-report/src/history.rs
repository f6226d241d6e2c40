//! Results over time: the changes of level in words, and what both page and text are made of.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use mlxbench_analysis::change_points::FEWEST_FOR_CHANGE_POINT;
use mlxbench_analysis::history::{Entry, Figure, Figures, Group, Point, Series, significance};
use mlxbench_analysis::{ChangePoint, Estimate, history};
use mlxbench_core::results::{RunResult, TargetId};
use rayon::prelude::*;

use crate::names::{Name, Names};
use crate::terminal::plain;
use crate::{Digest, html, units};

/// How many of the newest results a page has every figure and the raw data of.
const WHOLE: usize = 50;

/// A figure that is looked at over time.
pub(crate) struct Measure {
    /// The stem of its charts' files.
    pub(crate) name: &'static str,
    /// What it is called in a sentence.
    pub(crate) short: &'static str,
    /// What it is called above a chart.
    pub(crate) title: &'static str,
    /// Its unit.
    pub(crate) axis: &'static str,
    /// Where it is among a point's.
    pub(crate) figure: Figure,
    /// Whether more of it is better.
    higher_is_better: bool,
}

/// What is looked at over time.
pub(crate) const MEASURES: [Measure; 8] = [
    Measure {
        name: "decode",
        short: "decode",
        title: "Generation speed",
        axis: "tokens/s",
        figure: |figures| figures.decode_tokens_per_second,
        higher_is_better: true,
    },
    Measure {
        name: "prefill",
        short: "prefill",
        title: "Prompt speed",
        axis: "tokens/s",
        figure: |figures| figures.prefill_tokens_per_second,
        higher_is_better: true,
    },
    Measure {
        name: "overall",
        short: "overall",
        title: "Speed over a conversation",
        axis: "tokens/s",
        figure: |figures| figures.overall_tokens_per_second,
        higher_is_better: true,
    },
    Measure {
        name: "training",
        short: "training",
        title: "Training speed",
        axis: "tokens/s",
        figure: |figures| figures.trained_tokens_per_second,
        higher_is_better: true,
    },
    Measure {
        name: "served",
        short: "throughput",
        title: "Throughput of servers",
        axis: "tokens/s",
        figure: |figures| figures.served_tokens_per_second,
        higher_is_better: true,
    },
    Measure {
        name: "ttft",
        short: "TTFT",
        title: "Time to first token",
        axis: "ms",
        figure: |figures| Some(figures.ttft_ns?.scaled(1e-6)),
        higher_is_better: false,
    },
    Measure {
        name: "warm-ttft",
        short: "warm TTFT",
        title: "Time to first token of a warm turn",
        axis: "ms",
        figure: |figures| Some(figures.warm_ttft_ns?.scaled(1e-6)),
        higher_is_better: false,
    },
    Measure {
        name: "memory",
        short: "memory",
        title: "Peak memory",
        axis: "MiB",
        figure: peak,
        higher_is_better: false,
    },
];

/// The peak, in MiB: one figure of all repetitions.
fn peak(figures: &Figures) -> Option<Estimate> {
    let bytes = figures.peak_bytes?;
    Some(Estimate {
        median: bytes as f64 / f64::from(1 << 20),
        interval: None,
        n: figures.repetitions,
    })
}

/// What [`history`](crate::history) makes of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// A page for a browser: a line for each target, with marks where a level changed.
    pub page: Vec<u8>,
    /// The changes of level for a terminal; it ends in a newline.
    pub text: String,
    /// How many series stand on a worse level than the one before: their last change is for the worse.
    pub worse: usize,
}

/// A figure of a target's test whose level changed.
#[derive(Clone, Copy)]
pub(crate) struct LevelChange<'a> {
    pub(crate) measure: &'static Measure,
    pub(crate) series: &'a Series,
    /// Which of the group's results is the first of the new level.
    pub(crate) at: usize,
    pub(crate) change: ChangePoint,
    /// Which is the first of the level that came next.
    until: Option<usize>,
}

impl LevelChange<'_> {
    /// Whether the new level is worse than the one before.
    fn is_worse(&self) -> bool {
        (self.change.change < 0.0) == self.measure.higher_is_better
    }

    /// Whether the series is on a worse level now.
    fn stands_worse(&self) -> bool {
        self.until.is_none() && self.is_worse()
    }
}

/// Results that may be joined, and which levels changed.
pub(crate) struct Line<'a> {
    entries: &'a [Entry],
    pub(crate) group: &'a Group,
    /// All changes of level, figure by figure.
    pub(crate) changes: Vec<LevelChange<'a>>,
    /// What each target is called, in the newest result that has it.
    names: BTreeMap<TargetId, Name>,
}

impl<'a> Line<'a> {
    /// `group` of `entries`, searched at the [`significance`] of all groups.
    fn new(entries: &'a [Entry], group: &'a Group, significance: f64) -> Self {
        let cases = MEASURES
            .iter()
            .flat_map(|measure| group.series.iter().map(move |series| (measure, series)));
        let cases: Vec<(&'static Measure, &Series)> = cases.collect();
        let changes = cases.par_iter().flat_map_iter(|&(measure, series)| {
            let found = series.changes(measure.figure, significance);
            let next = found.iter().skip(1).map(|(point, _)| Some(point.at));
            let next: Vec<Option<usize>> = next.chain([None]).collect();
            let found = found.into_iter().zip(next);
            let change =
                |((point, change), until): ((&Point, ChangePoint), Option<usize>)| LevelChange {
                    measure,
                    series,
                    at: point.at,
                    change,
                    until,
                };
            found.map(change).collect::<Vec<_>>()
        });
        let mut names = BTreeMap::new();
        for &index in group.results.iter().rev() {
            let entry = &entries[index];
            let missing = |target: &&TargetId| !names.contains_key(*target);
            let missing: Vec<&TargetId> = entry.targets.iter().filter(missing).collect();
            if !missing.is_empty() {
                let own = Names::new(&entry.targets, |id| entry.frameworks.get(id).cloned());
                names.extend(missing.into_iter().map(|id| (id.clone(), own.of(id))));
            }
        }
        Self {
            entries,
            group,
            changes: changes.collect(),
            names,
        }
    }

    /// The first result.
    pub(crate) fn first(&self) -> &'a Entry {
        &self.entries[self.group.results[0]]
    }

    /// The result at a place of the group.
    pub(crate) fn entry(&self, at: usize) -> &'a Entry {
        &self.entries[self.group.results[at]]
    }

    /// What a target is called, in the newest result that has it.
    pub(crate) fn name(&self, target: &TargetId) -> &Name {
        &self.names[target]
    }

    /// What changed in a group, the newest first.
    pub(crate) fn events(&self) -> Vec<Event<'a>> {
        let mut events: Vec<Event<'a>> = Vec::new();
        for &level in &self.changes {
            let (at, target) = (level.at, &level.series.target);
            let name = self.name(target).to_string();
            let same = |event: &&mut Event<'_>| event.at == at && event.backend == target.backend;
            match events.iter_mut().find(same) {
                Some(event) => {
                    if !event.names.contains(&name) {
                        event.names.push(name);
                    }
                    event.levels.push(level);
                }
                None => {
                    let first = self.entry(at);
                    events.push(Event {
                        at,
                        backend: target.backend.clone(),
                        names: vec![name],
                        place: place(first),
                        day: first.started.strftime("%Y-%m-%d").to_string(),
                        levels: vec![level],
                    });
                }
            }
        }
        // Of one time as they come: in the order of the targets.
        events.sort_by_key(|event| std::cmp::Reverse(event.at));
        events
    }
}

/// One sentence, without its end: what changed last.
fn headline(results: usize, lines: &[Line<'_>]) -> String {
    let dated = lines.iter().flat_map(|line| {
        let events = line.events().into_iter();
        events.map(|event| (line.entry(event.at).started, event.sentence()))
    });
    let mut dated: Vec<(Timestamp, String)> = dated.collect();
    dated.sort_by_key(|(started, _)| std::cmp::Reverse(*started));
    let few = |line: &Line<'_>| line.group.results.len() < FEWEST_FOR_CHANGE_POINT;
    let changed = match dated.as_slice() {
        [] if lines.iter().all(few) => {
            format!("too few to tell of changes, which takes {FEWEST_FOR_CHANGE_POINT} alike")
        }
        [] => "no level changed".to_owned(),
        [(_, only)] => only.clone(),
        [(_, newest), _] => format!("{newest}; 1 other change"),
        [(_, newest), others @ ..] => format!("{newest}; {} other changes", others.len()),
    };
    match results {
        0 => "No results".into(),
        1 => format!("1 result: {changed}"),
        several => format!("{several} results: {changed}"),
    }
}

/// The headline, and a line a change, the newest first.
fn text(headline: &str, lines: &[Line<'_>]) -> String {
    let mut text = format!("{headline}.\n");
    for group in lines {
        let events = group.events();
        if events.is_empty() {
            continue;
        }
        let Entry {
            config,
            model,
            machine,
            ..
        } = group.first();
        let group_name = format!("{config}: {model} on {}", machine.cpu);
        writeln!(text, "{}", plain(&group_name)).expect("a String takes every write");
        for event in &events {
            let figures = event.levels.iter().map(|level| line(level, group));
            let figures = std::iter::once(event.sentence()).chain(figures).enumerate();
            for (at, line) in figures {
                let indent = if at == 0 { "  " } else { "    " };
                writeln!(text, "{indent}{}", plain(&line)).expect("a String takes every write");
            }
        }
    }
    text
}

/// What changed of a framework at one result: one change, however many targets, tests and figures show it.
pub(crate) struct Event<'a> {
    /// Which of the group's results is the first after it.
    at: usize,
    backend: String,
    /// The targets that changed.
    names: Vec<String>,
    /// The result's commit, or day.
    place: String,
    /// Its day.
    pub(crate) day: String,
    pub(crate) levels: Vec<LevelChange<'a>>,
}

impl Event<'_> {
    /// `candle f32 decode fell 23 %, prefill 12 % at 6cbf5d1`: each figure once, by its largest change.
    pub(crate) fn sentence(&self) -> String {
        let largest = MEASURES.iter().filter_map(|measure| {
            let own = self.levels.iter();
            let own = own.filter(|level| level.measure.name == measure.name);
            let size = |level: &&LevelChange<'_>| level.change.change.abs();
            own.max_by(|a, b| size(a).total_cmp(&size(b)))
        });
        let largest: Vec<&LevelChange<'_>> = largest.collect();
        let reads = largest.iter().any(|level| level.measure.name == "prefill");
        // TTFT is the same time as prefill, the other way round.
        let told = largest
            .into_iter()
            .filter(|level| !reads || level.measure.name != "ttft");
        let mut said = "";
        let told = told.map(|level| {
            let change = level.change.change;
            let way = if change < 0.0 { "fell" } else { "rose" };
            let verb = if way == said { "" } else { way };
            said = way;
            let (what, by) = (level.measure.short, units::share(change.abs()));
            format!("{what} {verb} {by}").replace("  ", " ")
        });
        let told: Vec<String> = told.collect();
        format!(
            "{} {} at {}",
            self.names.join(", "),
            told.join(", "),
            self.place
        )
    }

    /// Whether any of its figures got worse.
    pub(crate) fn is_worse(&self) -> bool {
        self.levels.iter().any(LevelChange::is_worse)
    }
}

/// One figure's change: `worse since 6cbf5d1 2026-11-23 07:00: candle f32 pp64+tg32 decode: 10.1 -> 7.8 tokens/s
/// (-23 %)`.
fn line(level: &LevelChange<'_>, group: &Line<'_>) -> String {
    let LevelChange {
        measure,
        series,
        at,
        change,
        until,
    } = level;
    let verdict = if level.is_worse() { "worse" } else { "better" };
    let until = until.map_or_else(String::new, |at| {
        format!(" until {}", name(group.entry(at)))
    });
    let (before, after) = (units::figure(change.before), units::figure(change.after));
    format!(
        "{verdict} since {}{until}: {} {} {}: {before} -> {after} {} ({:+.1} %)",
        name(group.entry(*at)),
        group.name(&series.target),
        series.test,
        measure.short,
        measure.axis,
        change.change * 100.0,
    )
}

/// A result's place on the axis: its commit, or the day where that isn't known.
pub(crate) fn place(entry: &Entry) -> String {
    match &entry.commit {
        Some(commit) => commit.chars().take(7).collect(),
        None => entry.started.strftime("%m-%d").to_string(),
    }
}

/// A result's name in words.
pub(crate) fn name(entry: &Entry) -> String {
    let when = entry.started.strftime("%Y-%m-%d %H:%M");
    format!("{} {when}", place(entry))
}

/// Which of `entries`, in their order, are the newest: those that a page tells everything of.
pub fn newest(entries: &[Entry]) -> Vec<usize> {
    let mut newest: Vec<usize> = (0..entries.len()).collect();
    newest.sort_by_key(|&index| std::cmp::Reverse(entries[index].started));
    newest.truncate(WHOLE);
    newest.sort_unstable();
    newest
}

/// `entries`, in whatever order, over time; everything of the results that are [`newest`] among them.
pub(crate) fn render(entries: &[Entry], newest: &[RunResult]) -> History {
    let groups = history(entries);
    let significance = significance(&groups, &MEASURES.map(|measure| measure.figure));
    let lines = groups.iter();
    let lines: Vec<Line<'_>> = lines
        .map(|group| Line::new(entries, group, significance))
        .collect();
    let digests: Vec<Digest<'_>> = newest.iter().map(Digest::new).collect();
    let levels = lines.iter().flat_map(|line| &line.changes);
    let headline = headline(entries.len(), &lines);
    History {
        worse: levels.filter(|level| level.stands_worse()).count(),
        text: text(&headline, &lines),
        page: html::history::render(&headline, entries, &lines, &digests).into_bytes(),
    }
}
