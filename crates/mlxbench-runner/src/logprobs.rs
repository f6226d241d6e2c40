//! The check of servers before any timing: each generates after a prompt and tells how likely it found its tokens, and
//! the reference, with the weights that the server should have, scores the same text.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use mlxbench_analysis::equivalence::verdict;
use mlxbench_analysis::likeliest::{Likeliest, fidelity};
use mlxbench_core::gemma::Activations;
use mlxbench_core::generate::Mode;
use mlxbench_core::logits_file::LogitsFile;
use mlxbench_core::protocol::{AskLogprobs, Logprobs, NamedToken, Score};
use mlxbench_core::results::{Equivalence, Fidelity, Record, TargetId, Verdict};
use mlxbench_core::{TokenBatch, TokenId};
use tokenizers::Tokenizer;

use crate::equivalence::{equivalence, said, unchecked};
use crate::event::Event;
use crate::plan::ServerCheck;
use crate::process::{Worker, WorkerError};
use crate::rounds::{Runner, Stop};
use crate::scratch::scratch;

/// Tokens that are asked for at each position: the API's most for completions.
const LIKELIEST: usize = 5;

/// Share of the time for a request that its answer may take.
const WITHIN: f64 = 0.9;

impl Runner<'_> {
    /// Compares those of `targets` that are servers with the reference, or says why nobody does.
    pub(crate) fn check_servers(&mut self, targets: &BTreeSet<usize>) -> Result<(), Stop> {
        let plan = self.plan;
        if !plan.tests.iter().any(|(test, _)| test.as_serve().is_some()) {
            return Ok(());
        }
        let known = |id| self.result.equivalence_of(id).map(|known| known.verdict);
        let open = |target: &&usize| {
            let id = &plan.targets[**target].id;
            known(id).is_none_or(|known| known == Verdict::Unchecked)
        };
        let open: Vec<usize> = targets.iter().filter(open).copied().collect();
        let Some(check) = &plan.server_check else {
            for target in open {
                let reason = "nothing was compared: `weights` in [model] says which model a server has, and \
                              `reference` in [equivalence] what it is held against";
                let found = unchecked(&plan.targets[target].id, reason.into());
                self.record(Record::Equivalence(found))?;
            }
            return Ok(());
        };
        let mut reference = None;
        for target in open {
            let id = &plan.targets[target].id;
            (self.observe)(Event::Asking(&format!("{id}: log-probabilities")));
            let Some(told) = self.ask_server(target, check)? else {
                continue;
            };
            let found = match told {
                Err(reason) => unchecked(id, reason),
                Ok(told) => {
                    if reference.is_none() {
                        let started = self.start_reference(&check.reference, None).map(Ok);
                        reference = Some(said(&check.reference.id, started)?);
                    }
                    match reference.as_mut() {
                        Some(Ok(worker)) => self.judge_server(worker, check, id, &told)?,
                        Some(Err(reason)) => unchecked(id, reason.clone()),
                        None => unreachable!("it was asked for"),
                    }
                }
            };
            self.record(Record::Equivalence(found))?;
        }
        Ok(())
    }

    /// What a server tells, or why it doesn't; `None` when it can't be asked at all: the failure is recorded then.
    fn ask_server(
        &mut self,
        target: usize,
        check: &ServerCheck,
    ) -> Result<Option<Result<Logprobs, String>>, Stop> {
        let within = Duration::mul_f64(self.plan.timeout, WITHIN);
        while self.make_ready(target)? {
            let asked = AskLogprobs {
                prompt: check.prompt.clone(),
                new_tokens: check.positions,
                likeliest: LIKELIEST,
                within_ns: within.into(),
            };
            match self.worker(target).logprobs(asked) {
                Ok(told) => return Ok(Some(Ok(told))),
                Err(error) if !error.loses_worker() => return Ok(Some(Err(error.message))),
                Err(error) => {
                    self.lose(target, None, error)?;
                }
            }
        }
        Ok(None)
    }

    /// Has the reference score what a server generated, and compares.
    fn judge_server(
        &self,
        reference: &mut Worker,
        check: &ServerCheck,
        id: &TargetId,
        told: &Logprobs,
    ) -> Result<Equivalence, Stop> {
        let likeliest: Vec<Likeliest> = known(told, &check.tokenizer, check.vocab_size);
        let ids = &check.ids[&id.backend];
        let counted = told
            .prompt_tokens
            .filter(|&count| count != ids.len() as u64);
        let counted = counted.map(|count| {
            format!(
                "the server counts {count} tokens in a prompt that has {} here: does it use another chat template, or \
                 add the begin token twice?",
                ids.len()
            )
        });
        if likeliest.is_empty() {
            let word = &told.positions[0].chosen.text;
            let reason = format!("the server's first token, {word:?}, isn't in the vocabulary");
            return Ok(unchecked(id, reason));
        }
        let compared = self.score_and_compare(reference, ids, &likeliest);
        let fidelity = match said(&check.reference.id, compared)? {
            Err(reason) => return Ok(unchecked(id, reason)),
            Ok(fidelity) => fidelity,
        };
        let precision = id.placement.precision;
        // What a server's products do to activations, it doesn't tell.
        let activations = match precision.is_quantised() {
            true => Activations::Int8,
            false => Activations::Kept,
        };
        let of_reference = check.reference.id.placement.precision;
        let verdict = match verdict(of_reference, precision, activations, &fidelity) {
            // Most of the vocabulary wasn't seen.
            Verdict::Identical => Verdict::Equivalent,
            verdict => verdict,
        };
        Ok(Equivalence {
            reason: counted.filter(|_| verdict == Verdict::Different),
            fidelity: Some(fidelity),
            ..equivalence(id, verdict)
        })
    }

    /// The outer error is the reference's, the inner one that of its file.
    fn score_and_compare(
        &self,
        reference: &mut Worker,
        prompt: &[TokenId],
        likeliest: &[Likeliest],
    ) -> Result<Result<Fidelity, String>, WorkerError> {
        let folder = match scratch() {
            Ok(folder) => folder,
            Err(error) => return Ok(Err(format!("no temporary folder: {error}"))),
        };
        let logits = folder.path().join("reference.safetensors");
        let chosen = likeliest.iter().map(|told| told.chosen);
        let generated = chosen.take(likeliest.len() - 1);
        reference.score(Score {
            context: None,
            tokens: TokenBatch::row(prompt.iter().copied().chain(generated).collect()),
            prompt: prompt.len(),
            chunk: prompt.len() + likeliest.len(),
            mode: Mode::Synchronous,
            logits: logits.clone(),
        })?;
        Ok(compare(&logits, likeliest))
    }
}

/// How near what was told is to the logits in a file.
fn compare(logits: &Path, likeliest: &[Likeliest]) -> Result<Fidelity, String> {
    let words = |error: mlxbench_core::Error| error.to_string();
    let file = LogitsFile::open(logits).map_err(words)?;
    if file.positions() != likeliest.len() {
        return Err(format!(
            "the reference gave {} rows of logits, not {}",
            file.positions(),
            likeliest.len()
        ));
    }
    let fidelity = fidelity(file.rows(), likeliest);
    file.whole().map_err(words)?;
    fidelity.ok_or_else(|| "the reference's logits aren't finite".into())
}

/// What was told in ids, up to the first generated token that the vocabulary hasn't.
fn known(told: &Logprobs, tokenizer: &Tokenizer, vocab_size: usize) -> Vec<Likeliest> {
    let id = |token: &NamedToken| {
        let id = token.id.or_else(|| id_of(&token.text, tokenizer));
        id.filter(|&id| (id as usize) < vocab_size)
    };
    let positions = told.positions.iter().map_while(|position| {
        let chosen = id(&position.chosen)?;
        let mut logprobs = vec![(chosen, position.chosen.logprob)];
        for token in &position.likeliest {
            match id(token) {
                Some(id) if logprobs.iter().all(|&(known, _)| known != id) => {
                    logprobs.push((id, token.logprob));
                }
                _ => {}
            }
        }
        Some(Likeliest { chosen, logprobs })
    });
    positions.collect()
}

/// The id of a token by its word in the vocabulary, in which a space is `▁`.
fn id_of(text: &str, tokenizer: &Tokenizer) -> Option<TokenId> {
    let word = || tokenizer.token_to_id(&text.replace(' ', "\u{2581}"));
    tokenizer.token_to_id(text).or_else(word)
}
