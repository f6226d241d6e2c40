//! How often is a change of level found where there is none, and how often where there is one?
//! Simulated series whose true changes are known.

use mlxbench_analysis::change_points::SIGNIFICANCE;
use mlxbench_analysis::{ChangePoint, Pettitt, change_points, change_points_at, multiple};

use crate::noise::Noise;

const SEED: u64 = 7;

/// Noise of `share`, and one result in ten half as fast.
fn skewed(share: f64, noise: &mut Noise) -> f64 {
    let slow = if noise.uniform() < 0.1 { 0.5 } else { 1.0 };
    (share * noise.normal()).exp() * slow
}

/// The share of `experiments` in whose series `found` holds for the changes that were found.
fn share(
    experiments: usize,
    mut series: impl FnMut(&mut Noise) -> Vec<f64>,
    found: impl Fn(&[ChangePoint]) -> bool,
) -> f64 {
    let mut noise = Noise::seeded(SEED);
    let holds = |_: &usize| found(&change_points(&series(&mut noise)));
    (0..experiments).filter(holds).count() as f64 / experiments as f64
}

#[test]
fn one_series_in_a_hundred_without_a_change_is_given_one() {
    // Noise of 20 %, so that no false alarm is too small to be marked.
    std::thread::scope(|scope| {
        for n in [10, 14, 16, 30, 60, 1_200] {
            scope.spawn(move || {
                let series = |noise: &mut Noise| (0..n).map(|_| skewed(0.2, noise)).collect();
                let marked = share(2_000, series, |found| !found.is_empty());
                println!("{n} values: {:.2} %", 100.0 * marked);
                assert!((0.004..=0.016).contains(&marked), "{marked} at n = {n}");
            });
        }
    });
}

/// Whether any of `series` is given a change when all are looked at together, as `mlxbench history` does.
fn any_marked(series: &[Vec<f64>]) -> bool {
    let p_values = series.iter().filter_map(|values| Pettitt::of(values));
    let p_values: Vec<f64> = p_values.map(|found| found.p_value).collect();
    let level = multiple::level(&p_values).min(SIGNIFICANCE);
    let mut series = series.iter();
    series.any(|values| !change_points_at(values, level).is_empty())
}

#[test]
fn a_page_of_forty_series_without_a_change_is_given_one_in_twenty() {
    std::thread::scope(|scope| {
        for n in [10, 14, 30] {
            scope.spawn(move || {
                let mut noise = Noise::seeded(SEED);
                let mut page = || {
                    let one = |noise: &mut Noise| (0..n).map(|_| skewed(0.2, noise)).collect();
                    let page: Vec<Vec<f64>> = (0..40).map(|_| one(&mut noise)).collect();
                    page
                };
                let pages = 400;
                let marked = (0..pages).filter(|_| any_marked(&page())).count();
                let marked = marked as f64 / f64::from(pages);
                println!("40 series of {n} values: {:.2} % of pages", 100.0 * marked);
                assert!(marked <= 0.08, "{marked} at n = {n}");
            });
        }
    });
}

#[test]
fn a_commit_that_slows_all_rows_is_seen_at_ten_results() {
    let mut noise = Noise::seeded(SEED);
    let mut page = || {
        let level = |i: usize| if i < 5 { 100.0 } else { 85.0 };
        let one = |noise: &mut Noise| {
            let values = (0..10).map(|i| level(i) * (0.02 * noise.normal()).exp());
            values.collect()
        };
        let page: Vec<Vec<f64>> = (0..40).map(|_| one(&mut noise)).collect();
        page
    };
    let seen = (0..100).filter(|_| any_marked(&page())).count();
    assert!(seen >= 99, "{seen} of 100");
}

#[test]
fn a_true_change_rarely_brings_false_ones() {
    let step = |noise: &mut Noise| {
        let level = |i| if i < 30 { 100.0 } else { 10.0 };
        (0..60)
            .map(|i| level(i) * (0.2 * noise.normal()).exp())
            .collect()
    };
    let more = share(2_000, step, |found| found.len() != 1);
    println!("more than the true one: {:.2} %", 100.0 * more);
    assert!((0.002..=0.016).contains(&more), "{more}");
}

#[test]
fn three_levels_are_not_given_a_fourth() {
    // The first split of stairs may lie on the middle step, and must not stay there.
    let stairs = |noise: &mut Noise| {
        let level = |i: usize| [100.0, 50.0, 25.0][i / 20];
        (0..60)
            .map(|i| level(i) * (0.1 * noise.normal()).exp())
            .collect()
    };
    let placed = |found: &[ChangePoint]| found.iter().map(|it| it.index).eq([20, 40]);
    let right = share(500, stairs, placed);
    println!("stairs: {right} right");
    assert!(right >= 0.95, "{right}");
}

#[test]
fn series_that_wander_are_given_changes() {
    // AR(1) with phi 0.5: the test takes values as independent, and these aren't.
    const PHI: f64 = 0.5;
    let wandering = |noise: &mut Noise| {
        let mut level = noise.normal();
        let next = |_| {
            level = PHI * level + (1.0 - PHI * PHI).sqrt() * noise.normal();
            (0.2 * level).exp()
        };
        (0..20).map(next).collect()
    };
    let marked = share(1_000, wandering, |found| !found.is_empty());
    println!("wandering: {:.1} %", 100.0 * marked);
    assert!((0.09..=0.16).contains(&marked), "{marked}");
}

#[test]
fn a_step_of_five_per_cent_is_found_in_noise_of_two() {
    for (before, after, at_least, near_at_least) in [
        (10, 10, 0.93, 0.84),
        (20, 10, 0.97, 0.88),
        (50, 10, 0.93, 0.86),
    ] {
        let step = |noise: &mut Noise| {
            let level = |i| if i < before { 100.0 } else { 95.0 };
            let value = |i| level(i) * (0.02 * noise.normal()).exp();
            (0..before + after).map(value).collect()
        };
        let near = |found: &ChangePoint| found.index.abs_diff(before) <= 1 && found.change < 0.0;
        let seen = share(500, step, |found| !found.is_empty());
        let placed = share(500, step, |found| found.len() == 1 && near(&found[0]));
        println!("{before} and {after}: {seen} found, {placed} at most one off");
        assert!(seen >= at_least, "{seen} of {before} and {after}");
        assert!(placed >= near_at_least, "{placed} of {before} and {after}");
    }
}

#[test]
fn a_step_within_the_noise_mostly_is_not() {
    let step = |noise: &mut Noise| {
        let level = |i| if i < 10 { 100.0 } else { 98.0 };
        (0..20)
            .map(|i| level(i) * (0.03 * noise.normal()).exp())
            .collect()
    };
    let seen = share(500, step, |found| !found.is_empty());
    println!("2 % in noise of 3 %: {seen} found");
    assert!(seen < 0.2, "{seen}");
}
