//! Whether each target trained as the reference did, for tables.

use mlxbench_core::results::TrainingCheck;

use crate::Digest;

/// The columns.
pub(crate) const HEADER: [&str; 6] = [
    "target",
    "test",
    "work",
    "loss apart",
    "gradient apart",
    "reason",
];

/// What stands above the table.
pub(crate) fn heading(digest: &Digest<'_>) -> String {
    let reference = digest.result.run.settings.reference.as_ref();
    let reference = reference.map_or_else(String::new, |reference| {
        format!(" with {}", digest.name(reference))
    });
    format!("First steps of training compared{reference}:")
}

/// What the two figures are, in a sentence.
pub(crate) const ABOUT: &str = "The largest differences of a step's loss and of a gradient's L2 norm, as shares of the \
                                reference's.";

/// A row a target and test, one cell a column of [`HEADER`].
pub(crate) fn rows<'a>(
    digest: &'a Digest<'_>,
) -> impl Iterator<Item = [String; HEADER.len()]> + 'a {
    digest
        .result
        .trainings
        .iter()
        .map(|known| row(digest, known))
}

fn row(digest: &Digest<'_>, known: &TrainingCheck) -> [String; HEADER.len()] {
    let share = |of: fn(&mlxbench_core::results::TrainingFigures) -> f64| {
        let figures = known.figures.as_ref();
        figures.map_or_else(String::new, |figures| format!("{:.1e}", of(figures)))
    };
    [
        digest.name(&known.target).to_string(),
        known.test.to_string(),
        known.verdict.name().into(),
        share(|figures| figures.largest_loss_difference),
        share(|figures| figures.largest_norm_difference),
        known.reason.clone().unwrap_or_default(),
    ]
}
