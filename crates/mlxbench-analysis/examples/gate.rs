//! Does the gate keep its word? Simulated gates over nine rows at a threshold of 5 %: what they say of two builds
//! that are the same, and of one that is 10 % slower. Prints the table in METHODOLOGY.md:
//!
//! ```text
//! cargo run --release -p mlxbench-analysis --example gate
//! ```

#[path = "../tests/analysis/noise/mod.rs"]
mod noise;

use rayon::prelude::*;

use noise::gates::{Disturbance, MOST_ROUNDS, Mode, NOISES, ROWS, Seen, simulate};

/// Gates of builds that are the same, and as many of one that is slower in all rows.
const GATES: usize = 500;

/// Gates of a build that is slower in one row, and of one that is slower by the threshold.
const FEWER_GATES: usize = 200;

const MODES: [Mode; 6] = [
    Mode::Together,
    Mode::Apart(5, 1),
    Mode::Apart(10, 1),
    Mode::Apart(6, 3),
    Mode::Apart(5, 5),
    Mode::Apart(10, 10),
];

fn main() {
    println!(
        "| noise | compared | same build: false alarms | all rows the same | rounds | 10 % slower: called | \
         rows called the same | rounds | one row 10 % slower: called | 5 % slower: called |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let all = NOISES
        .iter()
        .flat_map(|noise| MODES.map(|mode| (*noise, mode)));
    // What a base of several runs knows of luck, and of machines that differ.
    let luck = NOISES[..2]
        .iter()
        .map(|noise| (*noise, Mode::Bases(5, 10, 1)));
    let unlike = [NOISES[1], NOISES[7]].map(|noise| (noise, Mode::Bases(5, 10, 10)));
    let rows: Vec<(Disturbance, Mode)> = all.chain(luck).chain(unlike).collect();
    let rows: Vec<String> = rows
        .into_par_iter()
        .map(|(noise, mode)| row(noise, mode))
        .collect();
    println!("{}", rows.join("\n"));
}

fn row(noise: Disturbance, mode: Mode) -> String {
    let of = |factor, rows, gates, seed| simulate(noise, mode, factor, rows, gates, seed);
    let (same, slower) = (of(1.0, ROWS, GATES, 1), of(0.9, ROWS, GATES, 2));
    let one = of(0.9, 1, FEWER_GATES, 3);
    let edge = of(0.95, ROWS, FEWER_GATES, 4);
    let share = |part: usize, of: usize| format!("{:.1} %", 100.0 * part as f64 / of as f64);
    let rounds = |seen: &Seen| {
        let of = |share: f64| match seen.rounds(share) {
            MOST_ROUNDS => format!("{MOST_ROUNDS}, the most"),
            rounds => rounds.to_string(),
        };
        format!("{} ({})", of(0.5), of(0.95))
    };
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        noise.name,
        mode.name(),
        share(same.failed, same.gates),
        share(same.passed, same.gates),
        rounds(&same),
        share(slower.failed, slower.gates),
        share(slower.same, slower.gates * ROWS),
        rounds(&slower),
        share(one.failed, one.gates),
        share(edge.failed, edge.gates),
    )
}
