//! The check of conversations: the logits at the start of each turn, through the cache that was kept and rewound, beside
//! those of the reference in the same conversation.

use std::path::{Path, PathBuf};

use mlxbench_analysis::equivalence::{fidelity, verdict};
use mlxbench_core::Precision;
use mlxbench_core::gemma::Activations;
use mlxbench_core::logits_file::LogitsFile;
use mlxbench_core::protocol::Converse;
use mlxbench_core::results::{ChatTest, Equivalence, FailureKind, Fidelity, Test, Verdict};

use crate::plan::Plan;
use crate::process::{Worker, WorkerError};
use crate::work::conversation;

/// A conversation that the reference had: its logits at each turn's start, or why there are none.
pub(crate) struct Started {
    test: Test,
    logits: Result<PathBuf, String>,
}

/// Has the reference's `worker` have the plan's conversations, each once however many tokens its tests generate.
pub(crate) fn of_reference(
    plan: &Plan,
    worker: &mut Worker,
    folder: &Path,
) -> Result<Vec<Started>, WorkerError> {
    let mut all = Vec::new();
    for (at, (test, chat)) in tests(plan).enumerate() {
        let logits = folder.join(format!("reference-turns-{at}.safetensors"));
        let asked = worker.converse(logged(plan, test, chat, &logits), plan.vocab_size());
        let logits = match asked {
            Ok(_) => Ok(logits),
            Err(error) if refused(&error) => Err(error.message),
            Err(error) => return Err(error),
        };
        all.push(Started {
            test: *test,
            logits,
        });
    }
    Ok(all)
}

fn tests(plan: &Plan) -> impl Iterator<Item = (&Test, &ChatTest)> {
    let all = plan.tests.iter();
    all.filter_map(|(test, _)| Some((test, test.as_chat()?)))
}

fn logged(plan: &Plan, test: &Test, chat: &ChatTest, logits: &Path) -> Converse {
    Converse {
        logits: Some(logits.to_owned()),
        ..conversation(plan, test, chat)
    }
}

/// Whether the worker lives on and can't do this.
fn refused(error: &WorkerError) -> bool {
    matches!(
        error.kind,
        Some(FailureKind::Failed | FailureKind::Unsupported)
    )
}

/// `found`, which a generation gave, with what the conversations say: the worse verdict of all, and the positions of
/// all together. A conversation that can't be compared leaves the verdict and is named in the reason.
pub(crate) fn judge(
    plan: &Plan,
    (reference, activations): (Precision, Activations),
    worker: &mut Worker,
    started: &[Started],
    path: &Path,
    mut found: Equivalence,
) -> Result<Equivalence, WorkerError> {
    let target = found.target.placement.precision;
    for Started { test, logits } in started {
        let Some(chat) = test.as_chat() else { continue };
        let of_reference = match logits {
            Ok(logits) => logits,
            Err(why) => {
                note(
                    &mut found,
                    format!("{test} unchecked: the reference says {why}"),
                );
                continue;
            }
        };
        let asked = worker.converse(logged(plan, test, chat, path), plan.vocab_size());
        match asked {
            Ok(_) => {}
            Err(error) if refused(&error) => {
                note(&mut found, format!("{test} unchecked: {}", error.message));
                continue;
            }
            Err(error) => return Err(error),
        }
        match compared(of_reference, path, chat.turns) {
            Err(why) => note(&mut found, format!("{test} unchecked: {why}")),
            Ok(None) => {
                found.verdict = Verdict::Different;
                note(&mut found, format!("{test}: logits aren't finite"));
            }
            Ok(Some(turns)) => {
                let own = verdict(reference, target, activations, &turns);
                if own == Verdict::Different && found.verdict != Verdict::Different {
                    let at = turns.first_divergence.as_ref();
                    let at = at.map_or_else(String::new, |at| {
                        format!(" from turn {} on", at.position + 1)
                    });
                    let kl = turns.largest_kl;
                    note(
                        &mut found,
                        format!("{test}{at}: largest KL {kl:.1e} at the turns' starts"),
                    );
                }
                found.verdict = worse(found.verdict, own);
                found.fidelity = Some(match found.fidelity.take() {
                    Some(known) => together(known, turns),
                    None => turns,
                });
            }
        }
    }
    Ok(found)
}

/// The figures of a conversation's turns; `None` where logits aren't finite.
fn compared(reference: &Path, target: &Path, turns: usize) -> Result<Option<Fidelity>, String> {
    let open = |path| LogitsFile::open(path).map_err(|error| error.to_string());
    let (reference, target) = (open(reference)?, open(target)?);
    let shape = |file: &LogitsFile| (file.positions(), file.vocab_size());
    let expected = (turns, reference.vocab_size());
    for (who, file) in [("the reference", &reference), ("the worker", &target)] {
        if shape(file) != expected {
            return Err(format!(
                "{who} gave logits of shape {:?}, not {expected:?}",
                shape(file)
            ));
        }
    }
    let figures = fidelity(1, reference.rows(), target.rows());
    let whole = reference.whole().and_then(|()| target.whole());
    whole.map_err(|error| error.to_string())?;
    Ok(figures)
}

fn note(found: &mut Equivalence, what: String) {
    found.reason = Some(match found.reason.take() {
        Some(known) => format!("{known}; {what}"),
        None => what,
    });
}

fn worse(one: Verdict, other: Verdict) -> Verdict {
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Reference => 0,
        Verdict::Identical => 1,
        Verdict::Equivalent => 2,
        Verdict::Unchecked => 3,
        Verdict::Different => 4,
    };
    std::cmp::max_by_key(one, other, rank)
}

/// The figures over the positions of both. Where tokens part is the first one's, where it has such a place.
fn together(one: Fidelity, other: Fidelity) -> Fidelity {
    let (a, b) = (one.positions as f64, other.positions as f64);
    Fidelity {
        positions: one.positions + other.positions,
        largest_logit_difference: one
            .largest_logit_difference
            .max(other.largest_logit_difference),
        mean_kl: (one.mean_kl * a + other.mean_kl * b) / (a + b),
        largest_kl: one.largest_kl.max(other.largest_kl),
        agreeing_positions: one.agreeing_positions + other.agreeing_positions,
        first_divergence: one.first_divergence.or(other.first_divergence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fidelity(positions: usize, mean_kl: f64) -> Fidelity {
        Fidelity {
            positions,
            largest_logit_difference: mean_kl,
            mean_kl,
            largest_kl: mean_kl,
            agreeing_positions: positions,
            first_divergence: None,
        }
    }

    #[test]
    fn positions_count_alike() {
        let both = together(fidelity(3, 1.0), fidelity(1, 5.0));
        assert_eq!(
            (both.positions, both.mean_kl, both.largest_kl),
            (4, 2.0, 5.0)
        );
        assert_eq!(both.agreeing_positions, 4);
    }

    #[test]
    fn the_worse_verdict_stands() {
        assert_eq!(
            worse(Verdict::Identical, Verdict::Different),
            Verdict::Different
        );
        assert_eq!(
            worse(Verdict::Equivalent, Verdict::Identical),
            Verdict::Equivalent
        );
    }
}
