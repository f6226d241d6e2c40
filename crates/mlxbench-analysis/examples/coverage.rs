//! Do the intervals of medians cover what they say where each worker process has its own luck? Prints the
//! tables in METHODOLOGY.md:
//!
//! ```text
//! cargo run --release -p mlxbench-analysis --example coverage
//! ```

#[path = "../tests/analysis/luck.rs"]
mod luck;
#[path = "../tests/analysis/noise/mod.rs"]
#[expect(
    dead_code,
    reason = "of its modules this takes the random numbers alone"
)]
mod noise;

use luck::{LUCK, Method, SHAPES, coverage, coverage_once_narrow, ratio_coverage};

const EXPERIMENTS: usize = 10_000;

/// Processes, and repetitions in each.
const DESIGNS: [(usize, usize); 7] = [(1, 6), (2, 3), (3, 2), (3, 4), (5, 1), (5, 2), (10, 1)];

/// The default.
const DEFAULT: (usize, usize) = (3, 2);

/// Experiments that go on until their intervals are narrow: of fewer, since each makes many intervals.
const FEWER_EXPERIMENTS: usize = 2_000;

/// Where such an experiment ends at the latest: 30 repetitions by default.
const MOST_PROCESSES: usize = 15;

fn line(cells: Vec<String>) {
    println!("| {} |", cells.join(" | "));
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn main() {
    print_designs();
    println!();
    print_stopping();
}

/// How often intervals cover, by design.
fn print_designs() {
    let name = |(processes, repetitions)| format!("{processes} x {repetitions}");
    let mut head = vec!["luck and noise".to_owned()];
    head.extend(DESIGNS.map(name));
    let of_default = [
        "ratio of two",
        "repetitions pooled",
        "hierarchical bootstrap",
    ];
    head.extend(of_default.map(|what| format!("{}: {what}", name(DEFAULT))));
    let columns = head.len() - 1;
    line(head);
    println!("| --- |{}", " ---: |".repeat(columns));
    for luck in LUCK.into_iter().chain(SHAPES) {
        let of = |design, method| coverage(luck, design, method, EXPERIMENTS);
        let with_width = |design| {
            let (covers, width) = of(design, Method::Processes);
            format!("{}, ± {}", percent(covers), percent(width))
        };
        let mut cells = vec![luck.name.to_owned()];
        cells.extend(DESIGNS.map(with_width));
        cells.push(percent(ratio_coverage(luck, DEFAULT, EXPERIMENTS)));
        let others = [Method::Pooled, Method::Resampled];
        cells.extend(others.map(|method| percent(of(DEFAULT, method).0)));
        line(cells);
    }
}

/// How often they do where an experiment ends as soon as its interval is narrow.
fn print_stopping() {
    let ends = [0.02, 0.05, 0.1];
    let mut head = vec!["luck and noise".to_owned()];
    head.extend(ends.map(|end| format!("until ± {:.0} %", 100.0 * end)));
    line(head);
    println!("| --- |{}", " ---: |".repeat(ends.len()));
    for luck in LUCK {
        let cell = |end| {
            let (covers, ran) =
                coverage_once_narrow(luck, DEFAULT, end, MOST_PROCESSES, FEWER_EXPERIMENTS);
            format!("{}, {ran:.1} processes", percent(covers))
        };
        let mut cells = vec![luck.name.to_owned()];
        cells.extend(ends.map(cell));
        line(cells);
    }
}
