//! Whether each target did the reference's work in conversations and trainings, for tables and notes.

use mlxbench_core::results::{Fidelity, TestCheck, TrainingFigures, Verdict};

use crate::Digest;
use crate::table::{self, Table};

/// The columns of conversations.
const TURNS: [&str; 7] = [
    "target",
    "test",
    "work",
    "mean KL",
    "largest KL",
    "same token",
    "reason",
];

/// The columns of trainings.
const STEPS: [&str; 6] = [
    "target",
    "test",
    "work",
    "loss apart",
    "gradient apart",
    "reason",
];

/// A row a target and test, conversations and trainings apart.
pub(crate) fn tables(digest: &Digest<'_>) -> Vec<Table> {
    let reference = digest.result.run.settings.reference.as_ref();
    let reference = reference.map_or_else(String::new, |reference| {
        format!(" with {}", digest.name(reference))
    });
    let (trainings, conversations): (Vec<&TestCheck>, Vec<&TestCheck>) = digest
        .result
        .checks
        .iter()
        .partition(|known| known.test.as_lora().is_some());
    let rows = |checks: Vec<&TestCheck>, figures: fn(&TestCheck) -> Vec<String>| {
        let row = |known: &TestCheck| {
            let verdict = digest.result.verdict_of(&known.target, &known.test);
            let first = [
                digest.name(&known.target).to_string(),
                known.test.to_string(),
                verdict.unwrap_or(known.verdict).name().to_owned(),
            ];
            let reason = known.reason.clone().unwrap_or_default();
            let cells = first.into_iter().chain(figures(known)).chain([reason]);
            cells.collect::<Vec<String>>()
        };
        checks.into_iter().map(row).collect()
    };
    table::with_rows([
        Table {
            heading: format!("Starts of turns compared{reference}"),
            about: "Logits after each prompt, through the KV cache that is kept over the turns. KL in nats.".into(),
            header: &TURNS,
            figures: 3..6,
            rows: rows(conversations, |known| {
                let of = |words: fn(&Fidelity) -> String| {
                    known.fidelity.as_ref().map(words).unwrap_or_default()
                };
                vec![
                    of(|fidelity| format!("{:.1e}", fidelity.mean_kl)),
                    of(|fidelity| format!("{:.1e}", fidelity.largest_kl)),
                    of(|fidelity| {
                        format!("{} of {}", fidelity.agreeing_positions, fidelity.positions)
                    }),
                ]
            }),
        },
        Table {
            heading: format!("First steps of training compared{reference}"),
            about: "The largest differences of a step's loss and of a gradient's L2 norm, as shares of the \
                    reference's."
                .into(),
            header: &STEPS,
            figures: 3..5,
            rows: rows(trainings, |known| {
                let share = |of: fn(&TrainingFigures) -> f64| {
                    let figures = known.training.as_ref();
                    figures.map_or_else(String::new, |figures| format!("{:.1e}", of(figures)))
                };
                vec![
                    share(|figures| figures.largest_loss_difference),
                    share(|figures| figures.largest_norm_difference),
                ]
            }),
        },
    ])
}

/// What is wrong with the work of a conversation or training, in words; `None` where it was seen to be the reference's.
pub(crate) fn fault(known: &TestCheck) -> Option<String> {
    if !matches!(known.verdict, Verdict::Different | Verdict::Unchecked) {
        return None;
    }
    let fidelity = known.fidelity.as_ref();
    let fidelity = fidelity.map(|of| {
        let turn = of.first_divergence.as_ref().map(|first| first.position + 1);
        let from = turn.map_or_else(String::new, |turn| format!(" from turn {turn} on"));
        format!(
            "largest KL {:.1e} at the starts of turns{from}",
            of.largest_kl
        )
    });
    let training = known.training.as_ref();
    let training = training.map(|of| {
        let (loss, norm) = (of.largest_loss_difference, of.largest_norm_difference);
        format!("loss {loss:.1e} and gradient {norm:.1e} apart")
    });
    let why = known.reason.clone().or(fidelity).or(training);
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    Some(format!("{} in this test{why}", known.verdict.name()))
}
