//! Results over time: the changes of level in words, and what both page and text are made of.

use std::fmt::Write as _;

use jiff::Timestamp;
use mlxbench_analysis::change_points::FEWEST_FOR_CHANGE_POINT;
use mlxbench_analysis::history::{Figure, Group, Series, significance};
use mlxbench_analysis::{Estimate, Row, history};
use mlxbench_core::results::{RunResult, TargetId};

use crate::charts::over_time::Change;
use crate::names::Name;
use crate::terminal::plain;
use crate::{Digest, html, units};

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
    /// Where it is in a row.
    pub(crate) figure: Figure,
    /// Whether more of it is better.
    higher_is_better: bool,
}

/// What is looked at over time.
pub(crate) const MEASURES: [Measure; 4] = [
    Measure {
        name: "decode",
        short: "decode",
        title: "Generation speed",
        axis: "tokens/s",
        figure: |row| row.decode_tokens_per_second,
        higher_is_better: true,
    },
    Measure {
        name: "prefill",
        short: "prefill",
        title: "Prompt speed",
        axis: "tokens/s",
        figure: |row| row.prefill_tokens_per_second,
        higher_is_better: true,
    },
    Measure {
        name: "ttft",
        short: "TTFT",
        title: "Time to first token",
        axis: "ms",
        figure: |row| Some(row.ttft_ns?.scaled(1e-6)),
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
fn peak(row: &Row) -> Option<Estimate> {
    let bytes = row.peak_bytes()?;
    Some(Estimate {
        median: bytes as f64 / f64::from(1 << 20),
        interval: None,
        n: row.repetitions,
    })
}

/// What [`history`](crate::history) makes of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// A page for a browser: a line for each target, with marks where a level changed.
    pub page: Vec<u8>,
    /// The changes of level for a terminal; it ends in a newline.
    pub text: String,
    /// How many series stand on a worse level than before: their last change is for the worse.
    pub worse: usize,
}

/// A figure of a target's test whose level changed.
pub(crate) struct LevelChange<'a> {
    pub(crate) measure: &'static Measure,
    pub(crate) series: &'a Series,
    /// The first point of the new level, and the change.
    pub(crate) change: Change<'a>,
    /// The first point of the level that came next.
    until: Option<usize>,
}

impl LevelChange<'_> {
    /// Whether the new level is worse than the one before.
    fn is_worse(&self) -> bool {
        (self.change.1.change < 0.0) == self.measure.higher_is_better
    }

    /// Whether the series is on a worse level now.
    fn stands_worse(&self) -> bool {
        self.until.is_none() && self.is_worse()
    }
}

/// Results in groups that may be joined.
pub(crate) struct Joined<'a> {
    pub(crate) digests: &'a [Digest<'a>],
    pub(crate) groups: Vec<Group>,
    /// [`significance`] of all their series.
    pub(crate) significance: f64,
}

impl<'a> Joined<'a> {
    fn new(digests: &'a [Digest<'a>]) -> Self {
        let pairs: Vec<_> = digests
            .iter()
            .map(|digest| (digest.result, &digest.summary))
            .collect();
        let groups = history(&pairs);
        Self {
            digests,
            significance: significance(&groups, &MEASURES.map(|measure| measure.figure)),
            groups,
        }
    }

    /// All changes of level of a group.
    pub(crate) fn changes<'g>(&self, group: &'g Group) -> Vec<LevelChange<'g>> {
        let mut found = Vec::new();
        for measure in &MEASURES {
            for series in &group.series {
                let changes = series.changes(measure.figure, self.significance);
                let next = changes.iter().skip(1).map(|(point, _)| Some(point.at));
                let next: Vec<Option<usize>> = next.chain([None]).collect();
                let changes = changes.into_iter().zip(next);
                found.extend(changes.map(|(change, until)| LevelChange {
                    measure,
                    series,
                    change,
                    until,
                }));
            }
        }
        found
    }

    /// What a group's results are called, in the order of time.
    pub(crate) fn names(&self, group: &Group) -> Vec<String> {
        let members = group.results.iter().map(|&index| &self.digests[index]);
        members.map(name).collect()
    }

    /// What a target of a group is called, in the newest result that has it.
    pub(crate) fn name(&self, group: &Group, target: &TargetId) -> Name {
        let members = group
            .results
            .iter()
            .rev()
            .map(|&index| &self.digests[index]);
        let mut own = members.filter(|digest| digest.result.run.targets.contains(target));
        let newest = own.next().unwrap_or(&self.digests[group.results[0]]);
        newest.name(target)
    }

    /// What changed in a group, the newest first.
    pub(crate) fn events<'g>(&self, group: &'g Group) -> Vec<Event<'g>> {
        let mut events: Vec<Event<'g>> = Vec::new();
        for level in self.changes(group) {
            let (at, target) = (level.change.0.at, &level.series.target);
            let name = self.name(group, target).to_string();
            let same = |event: &&mut Event<'_>| event.at == at && event.backend == target.backend;
            match events.iter_mut().find(same) {
                Some(event) => {
                    if !event.names.contains(&name) {
                        event.names.push(name);
                    }
                    event.levels.push(level);
                }
                None => {
                    let first = &self.digests[group.results[at]];
                    events.push(Event {
                        at,
                        backend: target.backend.clone(),
                        names: vec![name],
                        place: place(first),
                        day: first.result.run.started.strftime("%Y-%m-%d").to_string(),
                        levels: vec![level],
                    });
                }
            }
        }
        // Of one time as they come: in the order of the targets.
        events.sort_by_key(|event| std::cmp::Reverse(event.at));
        events
    }

    /// One sentence, without its end: what changed last.
    pub(crate) fn headline(&self) -> String {
        let dated = self.groups.iter().flat_map(|group| {
            let started = move |at: usize| self.digests[group.results[at]].result.run.started;
            let events = self.events(group).into_iter();
            events.map(move |event| (started(event.at), event.sentence()))
        });
        let mut dated: Vec<(Timestamp, String)> = dated.collect();
        dated.sort_by_key(|(started, _)| std::cmp::Reverse(*started));
        let few = |group: &Group| group.results.len() < FEWEST_FOR_CHANGE_POINT;
        let changed = match dated.as_slice() {
            [] if self.groups.iter().all(few) => {
                format!("too few to tell of changes, which takes {FEWEST_FOR_CHANGE_POINT} alike")
            }
            [] => "no level changed".to_owned(),
            [(_, only)] => only.clone(),
            [(_, newest), _] => format!("{newest}; 1 other change"),
            [(_, newest), others @ ..] => format!("{newest}; {} other changes", others.len()),
        };
        match self.digests.len() {
            0 => "No results".into(),
            1 => format!("1 result: {changed}"),
            several => format!("{several} results: {changed}"),
        }
    }

    /// The headline, and a line a change, the newest first.
    fn text(&self) -> String {
        let mut text = format!("{}.\n", self.headline());
        for group in &self.groups {
            let events = self.events(group);
            let run = &self.digests[group.results[0]].result.run;
            if events.is_empty() {
                continue;
            }
            let group_name = format!("{}: {} on {}", run.name, run.model.name, run.machine.cpu);
            writeln!(text, "{}", plain(&group_name)).expect("a String takes every write");
            let names = self.names(group);
            for event in &events {
                let lines = event.levels.iter().map(|level| {
                    let name = self.name(group, &level.series.target);
                    line(level, &name, &names)
                });
                let lines = std::iter::once(event.sentence()).chain(lines).enumerate();
                for (at, line) in lines {
                    let indent = if at == 0 { "  " } else { "    " };
                    writeln!(text, "{indent}{}", plain(&line)).expect("a String takes every write");
                }
            }
        }
        text
    }
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
            let size = |level: &&LevelChange<'_>| level.change.1.change.abs();
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
            let change = level.change.1.change;
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
fn line(level: &LevelChange<'_>, name: &Name, names: &[String]) -> String {
    let LevelChange {
        series,
        measure,
        change: (point, change),
        until,
    } = level;
    let verdict = if level.is_worse() { "worse" } else { "better" };
    let until = until.map_or_else(String::new, |at| format!(" until {}", names[at]));
    let (before, after) = (units::figure(change.before), units::figure(change.after));
    format!(
        "{verdict} since {}{until}: {name} {} {}: {before} -> {after} {} ({:+.1} %)",
        names[point.at],
        series.test,
        measure.short,
        measure.axis,
        change.change * 100.0,
    )
}

/// A result's place on the axis: its commit, or the day where that isn't known.
pub(crate) fn place(digest: &Digest<'_>) -> String {
    let run = &digest.result.run;
    match &run.mlxbench.commit {
        Some(commit) => commit.chars().take(7).collect(),
        None => run.started.strftime("%m-%d").to_string(),
    }
}

/// A result's name in words.
fn name(digest: &Digest<'_>) -> String {
    let when = digest.result.run.started.strftime("%Y-%m-%d %H:%M");
    format!("{} {when}", place(digest))
}

/// `results`, in whatever order, over time.
pub(crate) fn render(results: &[RunResult]) -> History {
    let digests: Vec<Digest<'_>> = results.iter().map(Digest::new).collect();
    let joined = Joined::new(&digests);
    let levels = joined.groups.iter().flat_map(|group| joined.changes(group));
    History {
        worse: levels.filter(LevelChange::stands_worse).count(),
        text: joined.text(),
        page: html::history::render(&joined).into_bytes(),
    }
}
