//! Does the gate keep its word? Simulated gates over 40 rows at a threshold of 5 %: how often it fails
//! for two builds that are the same, and what it says of one that is 10 % slower. Prints the table
//! in METHODOLOGY.md:
//!
//! ```text
//! cargo run --release -p mlxbench-analysis --example gate
//! ```

#[path = "../tests/analysis/noise/mod.rs"]
mod noise;

use mlxbench_analysis::ranks::MOST_PLANNED;

use noise::gates::{Mode, NOISES, simulate};

const GATES: usize = 10_000;

/// What is simulated with each noise.
const RUNS: [(Mode, usize); 4] = [
    (Mode::Unpaired, 10),
    (Mode::Unpaired, 30),
    (Mode::Paired, 10),
    (Mode::Paired, 20),
];

fn main() {
    println!(
        "| noise | compared | repetitions | false alarms a gate | 10 % slower: called | same | \
         inconclusive | repetitions asked for | then called | then same |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let share = |part: usize, of: usize| match of {
        0 => String::new(),
        of => format!("{:.2} %", 100.0 * part as f64 / of as f64),
    };
    for noise in NOISES {
        for (mode, repetitions) in RUNS {
            let seen = simulate(noise, mode, repetitions, GATES);
            println!(
                "| {} | {} | {repetitions} | {} | {} | {} | {} | {} | {} | {} |",
                noise.name,
                mode.name(),
                share(seen.false_alarms, GATES),
                share(seen.called, seen.slowed),
                share(seen.same, seen.slowed),
                share(seen.inconclusive, seen.slowed),
                seen.asked_for
                    .filter(|&n| n <= MOST_PLANNED)
                    .map(|n| n.to_string())
                    .unwrap_or_default(),
                share(seen.then_called, seen.tried_again),
                share(seen.then_same, seen.tried_again),
            );
        }
    }
}
