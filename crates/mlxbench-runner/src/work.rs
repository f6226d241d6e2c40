//! What a worker is asked for in a repetition, a kind of test after another, and what comes of it.

use mlxbench_core::generate::Mode;
use mlxbench_core::protocol::{Generate, Train};
use mlxbench_core::results::{GenerateTest, LoraTest, Test};
use mlxbench_core::{Nanos, TokenBatch, TokenId};

use crate::plan::Plan;
use crate::process::{Worker, WorkerError};
use crate::prompt::Prompt;

/// What a repetition gave, as a [`Sample`](mlxbench_core::results::Sample) has it.
pub(crate) struct Work {
    pub(crate) token_ns: Vec<Nanos>,
    pub(crate) tokens: Vec<Vec<TokenId>>,
    pub(crate) losses: Vec<Option<f32>>,
    pub(crate) finite: bool,
    pub(crate) form: Option<Mode>,
    pub(crate) device_peak_bytes: Option<u64>,
}

/// Has `worker` do the work of test `test` of `plan` once.
pub(crate) fn work(plan: &Plan, test: usize, worker: &mut Worker) -> Result<Work, WorkerError> {
    let (test, prompt) = &plan.tests[test];
    match test {
        Test::Generate(test) => generate(plan, test, prompt, worker),
        Test::Lora(test) => {
            let trained = worker.train(training(plan, test, prompt, test.steps, false))?;
            Ok(Work {
                token_ns: trained.step_ns,
                tokens: Vec::new(),
                finite: trained.losses.iter().all(Option::is_some),
                losses: trained.losses,
                form: None,
                device_peak_bytes: trained.device_peak_bytes,
            })
        }
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
        losses: Vec::new(),
        finite: generated.finite,
        form: Some(generated.form),
        device_peak_bytes: generated.device_peak_bytes,
    })
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
