//! How long a page takes: `cargo bench -p mlxbench-report`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mlxbench_report::{Beside, Format, render};

#[path = "../tests/report/support.rs"]
#[expect(dead_code, reason = "tests need more of it")]
mod support;

/// Ten thousand repetitions: of one target, and of forty.
fn ten_thousand(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("page of 10000 repetitions");
    group.sample_size(10);
    for targets in [1, 40] {
        let result = support::race(targets, &[support::BOTH], 10_000 / targets);
        group.bench_function(format!("{targets} targets"), |bencher| {
            bencher.iter(|| {
                render(
                    black_box(std::slice::from_ref(&result)),
                    &Beside::default(),
                    Format::Html,
                )
            });
        });
    }
    group.finish();
}

/// A history of nightly results: ten times as many take about ten times as long, and their page none longer.
fn over_years(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("history");
    group.sample_size(10);
    for count in [100, 1000, 10_000] {
        let results = support::nightly(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} results"), |bencher| {
            bencher.iter(|| support::over_time(black_box(&results)));
        });
    }
    group.finish();
}

criterion_group!(benches, ten_thousand, over_years);
criterion_main!(benches);
