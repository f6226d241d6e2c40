//! Do the intervals of medians cover what they say where each worker process has its own luck? Prints the
//! table in METHODOLOGY.md:
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

use luck::{LUCK, Method, SHAPES, coverage, ratio_coverage};

const EXPERIMENTS: usize = 10_000;

/// Processes, and repetitions in each.
const DESIGNS: [(usize, usize); 6] = [(1, 6), (2, 3), (3, 2), (3, 4), (5, 2), (10, 1)];

fn main() {
    println!(
        "| processes x repetitions | luck and noise | covers | ± | ratio of two covers | pooled \
         repetitions cover | hierarchical bootstrap covers |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: |");
    for design in DESIGNS {
        for luck in LUCK.into_iter().chain(SHAPES) {
            let of = |method| coverage(luck, design, method, EXPERIMENTS);
            let (covers, width) = of(Method::Processes);
            let (pooled, resampled) = (of(Method::Pooled).0, of(Method::Resampled).0);
            let ratio = ratio_coverage(luck, design, EXPERIMENTS);
            println!(
                "| {} x {} | {} | {:.1} % | {:.1} % | {:.1} % | {:.1} % | {:.1} % |",
                design.0,
                design.1,
                luck.name,
                100.0 * covers,
                100.0 * width,
                100.0 * ratio,
                100.0 * pooled,
                100.0 * resampled,
            );
        }
    }
}
