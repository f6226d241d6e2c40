use proptest::prelude::*;

use super::*;

const GOOD: &str = r#"
name = "good"
[model]
source = "synthetic:gemma-3-270m"
[[test]]
prompt_tokens = 64
[[target]]
backend = "mock"
dtypes = ["f32"]
"#;

fn refusal(config: &str) -> String {
    Config::parse(config).unwrap_err()
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.measure.repetitions.get(), 6);
    assert_eq!(config.measure.processes.get(), 3);
    assert_eq!(config.tests[0].batch, test::one());
    assert_eq!(config.targets[0].device, None);
}

#[test]
fn an_unknown_key_is_answered_with_its_line_and_the_nearest_one() {
    let message = refusal(&GOOD.replace("prompt_tokens", "promt_tokens"));
    assert!(message.contains("line 6"), "{message}");
    assert!(
        message.contains("did you mean `prompt_tokens`?"),
        "{message}"
    );
}

#[test]
fn a_missing_key_is_named() {
    let message = refusal(&GOOD.replace("source =", "fallback ="));
    assert!(message.contains("missing field `source`"), "{message}");
    assert!(message.contains("line 3"), "{message}");
}

#[test]
fn wrong_types_and_counts_are_refused_where_they_stand() {
    let with = |line: &str| refusal(&format!("{GOOD}[measure]\n{line}\n"));
    assert!(with("repetitions = \"five\"").contains("line 11"));
    assert!(with("repetitions = 0").contains("expected a nonzero usize"));
    assert!(with("repetitions = -3").contains("`-3`"));
    assert!(with("mode = \"fast\"").contains("`pipelined`"));
}

#[test]
fn a_test_that_does_nothing_is_refused() {
    let message = refusal(&GOOD.replace("prompt_tokens = 64", "prompt_tokens = 0"));
    assert!(
        message.contains("prompt_tokens, generate_tokens or both"),
        "{message}"
    );
}

#[test]
fn a_value_may_be_a_list() {
    let swept = GOOD.replace("prompt_tokens = 64", "prompt_tokens = [64, 512]");
    let swept = format!("{swept}threads = [1, 2]\n");
    let config = Config::parse(&swept).unwrap();
    assert_eq!(config.tests[0].prompt_tokens.values(), [64, 512]);
    let threads = config.targets[0].threads.as_ref().unwrap().values();
    assert_eq!(threads.iter().map(|n| n.get()).collect::<Vec<_>>(), [1, 2]);
    let message = refusal(&GOOD.replace("= 64", "= [64, \"many\"]"));
    assert!(message.contains("line 6"), "{message}");
    let message = refusal(&GOOD.replace("= 64", "= []"));
    assert!(message.contains("an empty list"), "{message}");
    let message = refusal(&GOOD.replace("= 64", "= \"many\""));
    assert!(message.contains("expected usize"), "{message}");
}

#[test]
fn several_models_are_a_config_each() {
    let model = "[model]\nsource = \"synthetic:gemma-3-270m\"\n";
    let two = "[[model]]\nsource = \"hf:google/gemma-3-1b-pt@main\"\n[[model]]\nsource = \"some/gemma 2b/\"\n";
    let config = Config::parse(&GOOD.replace(model, two)).unwrap();
    let each = config.of_each_model();
    let names: Vec<&str> = each.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["good-gemma-3-1b-pt-main", "good-gemma-2b"]);
    assert_eq!(each[1].models.values().len(), 1);
    assert_eq!(each[1].models.first().source, "some/gemma 2b/");
    let alone = Config::parse(GOOD).unwrap();
    assert_eq!(alone.of_each_model(), [alone]);
    let twice = "[[model]]\nsource = \"a/m\"\n[[model]]\nsource = \"b/m\"\n";
    let message = refusal(&GOOD.replace(model, twice));
    assert!(message.contains("\"m\" as the last part"), "{message}");
    let message = refusal(&GOOD.replace(model, "[[model]]\nsorce = \"a\"\n"));
    assert!(message.contains("did you mean `source`?"), "{message}");
}

#[test]
fn a_config_that_was_written_is_read_as_it_was() {
    let swept = GOOD.replace("prompt_tokens = 64", "prompt_tokens = [64, 512]");
    let full = format!(
        "{swept}device = \"cuda:1\"\nthreads = [1, 2]\noptional = true\n[[target]]\nbackend = \"own\"\n\
         dtypes = [\"q4-bf16\", \"native-f32\"]\n[backend.own]\ncommand = [\"./worker\", \"a b\"]\n[measure]\n\
         interval_percent = 2.0\nmax_seconds = 9.5\nmode = \"synchronous\"\nresidency = \"one_at_a_time\"\n\
         [prompt]\ntext = \"\\\"é\\n\"\n"
    );
    for text in [GOOD, &swept, &full] {
        let config = Config::parse(text).unwrap();
        let written = config.to_toml();
        assert_eq!(Config::parse(&written).unwrap(), config, "{written}");
    }
    let written = Config::parse(GOOD).unwrap().to_toml();
    assert!(!written.contains("[measure]"), "{written}");
}

#[test]
fn numbers_that_no_machine_can_do_are_refused_by_name() {
    for line in [
        "delay_seconds = -1.0",
        "delay_seconds = nan",
        "delay_seconds = 1e300",
        "max_seconds = inf",
        "max_seconds = 1e300",
        "timeout_seconds = 9223372036854775807",
        "repetitions = 9223372036854775807",
        "warmup = 9223372036854775807",
        "max_warmup = 9223372036854775807",
        "chunk = 9223372036854775807",
        "threads = 9223372036854775807",
    ] {
        let message = refusal(&format!("{GOOD}[measure]\n{line}\n"));
        let key = line.split(' ').next().unwrap();
        assert!(message.contains(key), "{line}: {message}");
    }
    let huge = "9223372036854775807";
    for key in ["prompt_tokens", "generate_tokens", "depth", "batch"] {
        let test = format!("[[test]]\nprompt_tokens = 8\n{key} = {huge}\n");
        let test = test.replace("prompt_tokens = 8\nprompt_tokens", "prompt_tokens");
        assert!(refusal(&format!("{GOOD}{test}")).contains(key));
    }
    let message = refusal(&format!("{GOOD}threads = [1, {huge}]\n"));
    assert!(message.contains("threads"), "{message}");
    let message = refusal(&format!("{GOOD}[roofline]\nseconds = 1e300\n"));
    assert!(message.contains("seconds"), "{message}");
    let list = vec!["8"; 400].join(", ");
    let lists = ["prompt_tokens", "generate_tokens", "depth", "batch"];
    let lists = lists.map(|key| format!("{key} = [{list}]\n"));
    let message = refusal(&format!("{GOOD}[[test]]\n{}", lists.concat()));
    assert!(message.contains("number of tests"), "{message}");
}

#[test]
fn a_stopping_rule_needs_an_end() {
    let with = |line: &str| refusal(&format!("{GOOD}[measure]\n{line}\n"));
    assert!(with("interval_percent = 2").contains("needs an end"));
    assert!(with("max_repetitions = 9").contains("does nothing alone"));
    assert!(with("interval_percent = 2.0\nmax_repetitions = 3").contains("below repetitions"));
    assert!(with("max_seconds = 0.0").contains("more than 0"));
}

#[test]
fn a_reference_is_a_target_or_none() {
    let with = |reference| format!("{GOOD}[equivalence]\nreference = {reference:?}\n");
    let message = refusal(&with("candle"));
    assert!(message.contains("BACKEND/DEVICE/DTYPE"), "{message}");
    let config = Config::parse(&with("none")).unwrap();
    assert_eq!(config.equivalence.reference().unwrap(), None);
    let config = Config::parse(&with("tch/cuda:1/bf16")).unwrap();
    let reference = config.equivalence.reference().unwrap().unwrap();
    assert_eq!(reference.to_string(), "tch/cuda:1/bf16");
}

#[test]
fn a_name_that_leaves_the_results_folder_is_refused() {
    let message = refusal(&GOOD.replace("\"good\"", "\"../../etc\""));
    assert!(message.contains("letters, digits"), "{message}");
}

/// Numbers as TOML writes them.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "0", "-1", "1", "nan", "inf", "-inf", "1e308", "-0.0", "[]"
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        (0_i64..100_000).prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        prop::collection::vec(0_i64..1_000, 1..4).prop_map(|list| format!("{list:?}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::fuzz_cases()))]

    #[test]
    fn a_config_with_any_numbers_is_refused_or_within_bounds(
        measured in prop::collection::vec((0_usize..10, number()), 0..3),
        tested in prop::collection::vec((0_usize..4, number()), 0..3),
        seconds in number(),
        positions in number(),
    ) {
        let keys = ["repetitions", "max_repetitions", "interval_percent", "max_seconds", "warmup",
            "max_warmup", "chunk", "threads", "timeout_seconds", "delay_seconds"];
        let lines = |keys: &[&str], chosen: &[(usize, String)]| -> String {
            chosen.iter().map(|(key, value)| format!("{} = {value}\n", keys[*key])).collect()
        };
        let test = ["prompt_tokens", "generate_tokens", "depth", "batch"];
        let text = GOOD.replace("prompt_tokens = 64\n", &lines(&test, &tested));
        let text = format!(
            "{text}[measure]\n{}[roofline]\nseconds = {seconds}\n[equivalence]\npositions = {positions}\n",
            lines(&keys, &measured),
        );
        if let Ok(config) = Config::parse(&text) {
            let delay = std::time::Duration::from_secs_f64(config.measure.delay_seconds);
            prop_assert!(delay <= mlxbench_core::limits::TIME);
            prop_assert!(config.measure.repetitions.get() <= mlxbench_core::limits::REPETITIONS);
        }
    }
}
