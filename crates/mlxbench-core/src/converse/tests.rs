use super::*;
use crate::clock::VirtualClock;
use crate::generate::{Generation, Job, generate};
use crate::mock::{MockModel, Script};

fn script() -> Script {
    Script {
        prefill_ns_per_token: 10,
        launch_ns: 3,
        step_ns: 100,
        read_ns: 7,
        ..Script::default()
    }
}

/// A system prompt of six tokens and three questions of two, with replies of three between them.
fn prompts() -> Vec<Vec<TokenId>> {
    let whole: Vec<TokenId> = (2..18 + 2).collect();
    [8, 13, 18].map(|length| whole[..length].to_vec()).to_vec()
}

fn conversation(prompts: &[Vec<TokenId>], mode: Mode) -> Conversation<'_> {
    Conversation {
        prompts,
        new_tokens: 4,
        chunk: 3,
        mode,
    }
}

fn have(script: Script, conversation: &Conversation<'_>) -> Result<Conversed> {
    let clock = VirtualClock::default();
    let mut model = MockModel::new(script, clock.clone());
    converse(&mut model, &clock, conversation, |_, _| Ok(()))
}

/// What `generate` measures with the first `kept` tokens of `prompt` in the cache.
fn generated(script: Script, prompt: &[TokenId], kept: usize, mode: Mode) -> Generation {
    let clock = VirtualClock::default();
    let mut model = MockModel::new(script, clock.clone());
    let context = TokenBatch::row(prompt[..kept].to_vec());
    let job = Job {
        context: (kept > 0).then_some(&context),
        prompt: &TokenBatch::row(prompt[kept..].to_vec()),
        new_tokens: 4,
        chunk: 3,
        mode,
        stop: &[],
    };
    generate(&mut model, &clock, &job, |_, _| Ok(())).unwrap()
}

#[test]
fn a_warm_turn_takes_what_its_new_tokens_take_at_that_depth() {
    let prompts = prompts();
    for asynchronous in [false, true] {
        for mode in [Mode::Pipelined, Mode::Synchronous] {
            let script = Script {
                asynchronous,
                ..script()
            };
            let conversed = have(script.clone(), &conversation(&prompts, mode)).unwrap();
            let turns = conversed.turns.iter().zip(&prompts);
            for ((turn, prompt), kept) in turns.zip([0, 8, 13]) {
                let alone = generated(script.clone(), prompt, kept, mode);
                assert_eq!(turn.token_ns, alone.token_ns, "{mode:?}, {kept} kept");
                assert_eq!(turn.tokens, alone.tokens[0]);
                assert_eq!(turn.read_tokens, prompt.len() - kept);
                assert_eq!(turn.new_tokens, turn.read_tokens);
            }
            let cold = generated(script, &prompts[2], 0, mode);
            assert_eq!(conversed.cold_ttft_ns, cold.token_ns[0]);
        }
    }
}

#[test]
fn a_window_that_dropped_tokens_has_the_turn_read_all_again() {
    let prompts = prompts();
    let script = Script {
        rewinds: Some(2),
        ..script()
    };
    let conversed = have(script, &conversation(&prompts, Mode::Pipelined)).unwrap();
    let read: Vec<usize> = conversed
        .turns
        .iter()
        .map(|turn| turn.read_tokens)
        .collect();
    let new: Vec<usize> = conversed.turns.iter().map(|turn| turn.new_tokens).collect();
    assert_eq!((read, new), (vec![8, 13, 18], vec![8, 5, 5]));
    let last = conversed.turns.last().unwrap();
    assert_eq!(last.token_ns[0], conversed.cold_ttft_ns);
}

#[test]
fn the_cache_goes_back_to_what_both_prompts_begin_with() {
    assert_eq!(shared_tokens(&[2, 3, 4], &[2, 3, 5, 6]), 2);
    assert_eq!(shared_tokens(&[2, 3, 4], &[7, 3]), 0);
    // A pass needs a token.
    assert_eq!(shared_tokens(&[2, 3, 4], &[2, 3, 4]), 2);
}

#[test]
fn each_turn_gives_its_first_logits_once() {
    let prompts = prompts();
    let clock = VirtualClock::default();
    let mut model = MockModel::new(script(), clock.clone());
    let mut rows = 0;
    let conversation = conversation(&prompts, Mode::Pipelined);
    converse(&mut model, &clock, &conversation, |model, output| {
        rows += 1;
        model.logits(output).map(drop)
    })
    .unwrap();
    assert_eq!(rows, 3);
}

#[test]
fn conversations_that_do_not_fit_are_refused() {
    let (empty, prompts) = (vec![Vec::new()], prompts());
    let refused = |prompts: &[Vec<TokenId>], new_tokens| {
        let conversation = Conversation {
            new_tokens,
            ..conversation(prompts, Mode::Pipelined)
        };
        have(script(), &conversation).unwrap_err().to_string()
    };
    assert!(refused(&[], 1).contains("needs a turn"));
    assert!(refused(&empty, 1).contains("needs a turn"));
    assert!(refused(&prompts, 0).contains("a count of at least one"));
    assert!(refused(&prompts, 1 << 20).contains("exceeds the model's context"));
    assert!(refused(&[vec![1 << 30]], 1).contains("vocabulary"));
}
