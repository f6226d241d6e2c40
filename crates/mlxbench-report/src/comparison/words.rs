//! What all forms of a comparison say.

use mlxbench_analysis::comparison::{Origin, TooFew};
use mlxbench_analysis::evidence::{LEVEL, MOST_PLANNED};
use mlxbench_analysis::{
    Change, Compared, ComparedRow, Comparison, Difference, Estimate, Gate, Interval,
};

use mlxbench_core::results::StopReason;

use crate::units;

/// The columns of tables.
pub(super) const HEADER: [&str; 7] = [
    "target", "test", "metric", "base", "new", "change", "verdict",
];

/// The columns of [`HEADER`] that hold figures.
pub(super) const FIGURES: std::ops::Range<usize> = 3..6;

/// The gate in a word.
pub(super) fn gate(gate: Gate) -> &'static str {
    match gate {
        Gate::Pass => "pass",
        Gate::Fail => "fail",
        Gate::Inconclusive => "inconclusive",
    }
}

/// The verdict in a word.
pub(super) fn verdict(row: &ComparedRow) -> &'static str {
    let amount = matches!(row.metric, Compared::Memory | Compared::Energy);
    match row.change {
        Change::Better if amount => "less",
        Change::Worse if amount => "more",
        Change::Better => "faster",
        Change::Worse => "slower",
        Change::Same => "same",
        Change::Inconclusive { .. } => "inconclusive",
        Change::NotComparable { .. } => "not comparable",
        Change::Broken { .. } => "broken",
    }
}

/// The verdict with its reason.
pub(super) fn verdict_and_why(row: &ComparedRow) -> String {
    let why = match &row.change {
        Change::Better | Change::Worse | Change::Same => return verdict(row).into(),
        Change::Inconclusive {
            runs_differ: true, ..
        } => "runs of the base differ by more than that, mlxbench run --ab can tell".to_owned(),
        Change::Inconclusive {
            repetitions: Some(repetitions),
            ..
        } => format!("{repetitions} repetitions would probably decide"),
        Change::Inconclusive {
            repetitions: None, ..
        } => format!("more than {MOST_PLANNED} repetitions would be needed"),
        Change::NotComparable { reason } | Change::Broken { reason } => reason.clone(),
    };
    format!("{}: {why}", verdict(row))
}

/// How an open row stands: `candle/cpu/f32 pp64+tg16 decode -9.8 % (-14.0 to -4.2), about 30 rounds`.
pub(super) fn standing(row: &ComparedRow) -> String {
    let change = change(row).unwrap_or_default();
    let rounds = match row.change {
        Change::Inconclusive {
            repetitions: Some(repetitions),
            ..
        } => format!(", about {repetitions} rounds"),
        _ => format!(", more than {MOST_PLANNED} rounds"),
    };
    format!("{} {change}{rounds}", name(row))
}

/// `candle/cpu/f32 pp64+tg16 decode`.
pub(super) fn name(row: &ComparedRow) -> String {
    format!("{} {} {}", row.target, row.test, row.metric.name())
}

/// One row, a cell a column of [`HEADER`].
pub(super) fn cells(row: &ComparedRow) -> [String; HEADER.len()] {
    let figure = |estimate: &Option<Estimate>| {
        let median = estimate.as_ref().map(|estimate| estimate.median);
        median.map(|median| figure(row.metric, median))
    };
    [
        row.target.to_string(),
        row.test.to_string(),
        row.metric.name().into(),
        figure(&row.base).unwrap_or_default(),
        figure(&row.new).unwrap_or_default(),
        change(row).unwrap_or_default(),
        verdict_and_why(row),
    ]
}

/// A figure with its unit.
fn figure(metric: Compared, value: f64) -> String {
    match metric {
        Compared::Goodput => format!("{} req/s", units::figure(value)),
        Compared::Decode
        | Compared::Prefill
        | Compared::Training
        | Compared::Throughput
        | Compared::Overall => {
            format!("{} t/s", units::figure(value))
        }
        Compared::Ttft | Compared::WarmTtft | Compared::LatencyP99 => units::time(value),
        Compared::Memory => units::bytes(value as u64),
        Compared::Energy if value < 0.1 => format!("{} mJ/token", units::figure(value * 1e3)),
        Compared::Energy => format!("{} J/token", units::figure(value)),
    }
}

/// By how much, and between what it lies: `-9.8 % (-11.4 to -8.1)`.
pub(super) fn change(row: &ComparedRow) -> Option<String> {
    let ratio = row.ratio?.median;
    let sure = row
        .bounds
        .map(|Interval { low, high }| format!(" ({:+.1} to {:+.1})", percent(low), percent(high)));
    Some(format!(
        "{:+.1} %{}",
        percent(ratio),
        sure.unwrap_or_default()
    ))
}

/// A ratio as a change. A change that rounds to nothing has no sign of its own.
fn percent(ratio: f64) -> f64 {
    let percent = (ratio - 1.0) * 100.0;
    if percent.abs() < 0.05 { 0.0 } else { percent }
}

/// What it all comes to, in one line: `fail: 1 of 12 rows got worse`.
pub(super) fn headline(comparison: &Comparison) -> String {
    let rows = &comparison.rows;
    let count = |is: fn(&Change) -> bool| rows.iter().filter(|row| is(&row.change)).count();
    let worse = count(|change| matches!(change, Change::Worse | Change::Broken { .. }));
    let better = count(|change| matches!(change, Change::Better));
    let same = count(|change| matches!(change, Change::Same));
    let open = open_rows(comparison);
    let apart = count(|change| matches!(change, Change::NotComparable { .. }));
    if rows.is_empty() {
        return match comparison.unmeasured.as_slice() {
            [] => "inconclusive: nothing was measured in both".into(),
            unmeasured => format!("inconclusive: {}", unmeasured.join(", ")),
        };
    }
    let parts = [
        (worse, "worse"),
        (better, "better"),
        (same, "the same"),
        (open, "inconclusive"),
        (apart, "not comparable"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let of = match rows.len() {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    };
    format!("{}: of {of}, {}", gate(comparison.gate), parts.join(", "))
}

/// How many rows can't be told.
fn open_rows(comparison: &Comparison) -> usize {
    let rows = comparison.rows.iter();
    let open = rows.filter(|row| matches!(row.change, Change::Inconclusive { .. }));
    open.count()
}

/// What is compared with what, and how.
pub(super) fn subject(comparison: &Comparison) -> String {
    let Comparison { base, new, .. } = comparison;
    let command = |origin: &Origin| {
        let command = origin.command.as_ref();
        command.map_or_else(String::new, |command| format!(" ({command})"))
    };
    let when = |origin: &Origin| {
        let commit = origin.commit.as_ref().map(|commit| {
            let short: String = commit.chars().take(10).collect();
            format!(" ({short})")
        });
        format!(
            "{} of {}{}",
            origin.name,
            origin.started.strftime("%Y-%m-%d %H:%M"),
            commit.unwrap_or_default()
        )
    };
    match comparison.paired {
        true => format!(
            "{}, side b{} beside side a{}, round by round, on {}",
            when(new),
            command(new),
            command(base),
            new.cpu
        ),
        false => format!("{} beside {}, on {}", when(new), when(base), new.cpu),
    }
}

/// How the verdicts came about.
pub(super) fn method(comparison: &Comparison) -> String {
    let options = &comparison.options;
    // 7 % is 0.07, and 100 times that isn't quite 7.
    let percent = |share: f64| (share * 1e8).round() / 1e6;
    let (speed, memory) = (
        percent(options.threshold),
        percent(options.memory_threshold),
    );
    let threshold = match speed == memory {
        true => format!("{speed} %"),
        false => format!("{speed} % ({memory} % for memory)"),
    };
    let whenever = match comparison.paired {
        true => ", whenever the run stopped",
        false => "",
    };
    let runs = match comparison.base_runs {
        0 | 1 => String::new(),
        runs => format!(" The base is {runs} runs, and their spread is in the intervals."),
    };
    let apart =
        match comparison.rows.iter().any(of_memory) && !comparison.rows.iter().all(of_memory) {
            true => ", those of memory apart",
            false => "",
        };
    let rows = match comparison.judged {
        1 => "one row".to_owned(),
        judged => format!("all {judged} judged rows{apart}"),
    };
    format!(
        "Changes within +-{threshold} count as no change. {} % one-sided confidence over {rows}{whenever}.{runs}",
        (1.0 - LEVEL) * 100.0
    )
}

fn of_memory(row: &ComparedRow) -> bool {
    row.metric == Compared::Memory
}

/// That nothing could be told beside the other rows, and what to do: said before all else.
pub(super) fn hopeless(comparison: &Comparison) -> Option<String> {
    let TooFew {
        time,
        memory,
        repetitions,
        base,
        new,
    } = comparison.too_few?;
    let any_other = |is: fn(&ComparedRow) -> bool| !comparison.rows.iter().all(is);
    let by = match (time, memory) {
        (true, false) if any_other(|row| !of_memory(row)) => " by time",
        (false, true) if any_other(of_memory) => " by memory",
        _ => "",
    };
    if comparison.paired {
        return Some(format!(
            "these sides can't be told apart{by}: they have too few rounds, and need {repetitions} at least. Measure for \
             longer (--max-minutes), or less in a round (--filter)"
        ));
    }
    let resume = format!("mlxbench run CONFIG --resume --repetitions {repetitions}");
    let what = match (base, new) {
        (true, false) => format!(
            "the base has too few repetitions. Measure it anew, with {repetitions} at least: \
             mlxbench run CONFIG --repetitions {repetitions}"
        ),
        (false, true) => format!("the new result has too few repetitions. Measure more: {resume}"),
        _ => format!("they have too few repetitions. Measure more, of both: {resume}"),
    };
    Some(format!("these results can't be told apart{by}: {what}"))
}

/// What ended a run of two sides, and after how many rounds.
pub(super) fn stopped(comparison: &Comparison) -> Option<String> {
    let stopped = comparison.stopped.as_ref()?;
    let rounds = stopped.repetitions;
    Some(match stopped.reason {
        StopReason::Decided => match open_rows(comparison) {
            0 => format!("{rounds} rounds: every row is decided"),
            // Other thresholds or metrics were given, or a worker was lost.
            open => format!(
                "{rounds} rounds: the run had decided what it was asked for; open rows here: {open} of {}",
                comparison.rows.len()
            ),
        },
        StopReason::MaxMinutes => {
            format!("{rounds} rounds: --max-minutes was reached before every row was decided")
        }
        reason => format!("{rounds} rounds: {}", reason.name()),
    })
}

/// What a reader must mind.
pub(super) fn cautions(comparison: &Comparison) -> Vec<String> {
    let mut cautions = Vec::new();
    for shift in &comparison.machine_shifts {
        let (percent, direction) = match shift.ratio < 1.0 {
            true => ((1.0 - shift.ratio) * 100.0, "more slowly"),
            false => ((shift.ratio - 1.0) * 100.0, "faster"),
        };
        cautions.push(format!(
            "the machine itself moved memory {percent:.0} % {direction} than for the base ({}): what \
             changed may be the machine. mlxbench run --ab compares both in one run",
            shift.what
        ));
    }
    if comparison.left_out > 0 {
        cautions.push(format!(
            "{} of the base's runs were measured in other circumstances than its newest and are left out",
            comparison.left_out
        ));
    }
    if comparison.single_process {
        cautions.push(
            "one process a target: its luck passes for a change. `processes` in [measure], or mlxbench run --ab"
                .to_owned(),
        );
    }
    if !comparison.rows.is_empty() {
        cautions.extend(comparison.unmeasured.iter().cloned());
    }
    let list = |what: &str, cases: &[String]| match cases {
        [] => None,
        cases => Some(format!("{what}: {}", cases.join(", "))),
    };
    cautions.extend(list("only the base has", &comparison.vanished));
    cautions.extend(list("only the new result has", &comparison.added));
    cautions.extend(list("not measured in either", &comparison.failing));
    cautions.extend(comparison.differences.iter().map(Difference::to_string));
    let resemblances = comparison.resemblances.iter();
    let resembling = resemblances.filter(|(_, resemblance)| resemblance.at_least > 1.0);
    cautions.extend(resembling.map(|(metric, resemblance)| {
        format!(
            "repetitions of {} resemble those before them: {:.1} say as much as one that is \
             independent, and the intervals are as much wider",
            metric.name(),
            resemblance.at_least
        )
    }));
    cautions
}
