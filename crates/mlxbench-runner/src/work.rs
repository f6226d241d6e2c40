//! What a worker is asked for in a repetition, a kind of test after another, and what comes of it.

use mlxbench_core::generate::Mode;
use mlxbench_core::protocol::{Converse, Generate, Serve, Train};
use mlxbench_core::results::{
    ChatTest, GenerateTest, LoraTest, ServeTest, ServedRequest, Test, Turns,
};
use mlxbench_core::{Nanos, TokenBatch, TokenId};

use crate::plan::Plan;
use crate::process::{Worker, WorkerError};
use crate::prompt::Prompt;

/// What a repetition gave, as a [`Sample`](mlxbench_core::results::Sample) has it; empty where a kind has no such
/// thing.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) token_ns: Vec<Nanos>,
    pub(crate) tokens: Vec<Vec<TokenId>>,
    pub(crate) turns: Option<Turns>,
    pub(crate) losses: Vec<Option<f32>>,
    pub(crate) requests: Vec<ServedRequest>,
    pub(crate) finite: bool,
    pub(crate) form: Option<Mode>,
    pub(crate) device_peak_bytes: Option<u64>,
}

impl Work {
    /// The time of the whole, without what is done for comparison.
    pub(crate) fn end_to_end(&self) -> Option<Nanos> {
        let Some(turns) = &self.turns else {
            return self.token_ns.last().copied();
        };
        let ends = turns.turns.iter().filter_map(|turn| turn.token_ns.last());
        Some(Nanos(ends.map(|end| end.0).sum()))
    }
}

/// Has `worker` do the work of test `test` of `plan` once.
pub(crate) fn work(plan: &Plan, test: usize, worker: &mut Worker) -> Result<Work, WorkerError> {
    let (test, prompt) = &plan.tests[test];
    match test {
        Test::Generate(test) => generate(plan, test, prompt, worker),
        Test::Chat(chat) => converse(plan, test, chat, worker),
        Test::Lora(test) => train(plan, test, prompt, worker),
        Test::Serve(test) => serve(plan, test, worker),
    }
}

fn generate(
    plan: &Plan,
    test: &GenerateTest,
    prompt: &Prompt,
    worker: &mut Worker,
) -> Result<Work, WorkerError> {
    let request = Generate {
        context: prompt.context.clone(),
        prompt: prompt.prompt.clone(),
        new_tokens: test.generate_tokens.max(1),
        chunk: plan.settings.chunk,
        mode: test.mode,
        stop: Vec::new(),
        logits: None,
    };
    let generated = worker.generate(request, plan.vocab_size())?;
    Ok(Work {
        token_ns: generated.token_ns,
        tokens: generated.tokens,
        finite: generated.finite,
        form: Some(generated.form),
        device_peak_bytes: generated.device_peak_bytes,
        ..Work::default()
    })
}

fn converse(
    plan: &Plan,
    test: &Test,
    chat: &ChatTest,
    worker: &mut Worker,
) -> Result<Work, WorkerError> {
    let conversed = worker.converse(conversation(plan, test, chat), plan.vocab_size())?;
    Ok(Work {
        turns: Some(Turns {
            turns: conversed.turns,
            cold_ttft_ns: conversed.cold_ttft_ns,
        }),
        finite: conversed.finite,
        form: Some(conversed.form),
        device_peak_bytes: conversed.device_peak_bytes,
        ..Work::default()
    })
}

fn train(
    plan: &Plan,
    test: &LoraTest,
    prompt: &Prompt,
    worker: &mut Worker,
) -> Result<Work, WorkerError> {
    let trained = worker.train(training(plan, test, prompt, test.steps, false))?;
    Ok(Work {
        token_ns: trained.step_ns,
        finite: trained.losses.iter().all(Option::is_some),
        losses: trained.losses,
        device_peak_bytes: trained.device_peak_bytes,
        ..Work::default()
    })
}

/// Share of a worker's time-out that the requests of a repetition have: it must answer before it is killed.
const WITHIN: f64 = 0.9;

fn serve(plan: &Plan, test: &ServeTest, worker: &mut Worker) -> Result<Work, WorkerError> {
    let requests = worker.serve(Serve {
        prompt_tokens: test.prompt_tokens,
        new_tokens: test.generate_tokens,
        concurrency: test.concurrency,
        requests: test.requests,
        within_ns: plan.timeout.mul_f64(WITHIN).into(),
    })?;
    let mut ends: Vec<Nanos> = requests.iter().map(|request| request.end_ns).collect();
    ends.sort_unstable();
    Ok(Work {
        token_ns: ends,
        requests,
        finite: true,
        ..Work::default()
    })
}

/// The conversation of a test.
pub(crate) fn conversation(plan: &Plan, test: &Test, chat: &ChatTest) -> Converse {
    Converse {
        prompts: plan.conversations.get(test).cloned().unwrap_or_default(),
        new_tokens: chat.generate_tokens,
        chunk: plan.settings.chunk,
        mode: chat.mode,
        logits: None,
    }
}

/// The first `steps` of a test's training. The rows of its prompt are those of all steps.
pub(crate) fn training(
    plan: &Plan,
    test: &LoraTest,
    prompt: &Prompt,
    steps: usize,
    gradients: bool,
) -> Train {
    let batches: Vec<TokenBatch> = prompt.prompt.row_blocks(test.batch).take(steps).collect();
    Train {
        lora: test.lora(plan.settings.seed),
        batches,
        gradients,
    }
}
