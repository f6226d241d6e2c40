//! What the keys of the metadata mean, and which of them are refused.

use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::FlatConfig;
use mlxbench_core::gemma::LayerKind::{self, Global, Local};

use crate::fixture::Fixture;
use crate::writer::Field;

/// A fixture with these keys of its architecture set.
fn fixture(model_type: &str, keys: &[(&str, Field)]) -> Fixture {
    let mut fixture = Fixture::new(model_type);
    for (name, value) in keys {
        fixture.gguf.set(&key(model_type, name), value.clone());
    }
    fixture
}

/// Names with a colon instead of an architecture stay as they are.
fn key(model_type: &str, name: &str) -> String {
    match name.strip_prefix(':') {
        Some(whole) => whole.to_owned(),
        None => format!("{model_type}.{name}"),
    }
}

fn config(model_type: &str, keys: &[(&str, Field)]) -> FlatConfig {
    fixture(model_type, keys).imported_config().flat().unwrap()
}

/// The message that the keys are refused with, which must name the first of them.
fn refusal(model_type: &str, keys: &[(&str, Field)]) -> String {
    let message = fixture(model_type, keys).refusal();
    let named = key(model_type, keys[0].0);
    assert!(
        message.contains(&format!("`{named}`")),
        "{named}: {message}"
    );
    assert!(message.contains("model.gguf"), "{message}");
    message
}

#[test]
fn rope_bases_of_both_kinds_of_layers_are_read_in_every_spelling() {
    for (global, local) in [
        ("rope.freq_base", "rope.freq_base_swa"),
        ("rope.global.freq_base", "rope.local.freq_base"),
    ] {
        let config = config(
            "gemma3",
            &[(global, Field::F32(700.0)), (local, Field::F64(30.0))],
        );
        assert_eq!((config.rope_theta, config.rope_local_theta), (700.0, 30.0));
        assert_eq!(config.rope_linear_factor, 1.0);
    }
    let twice = |second| {
        [
            ("rope.freq_base_swa", Field::F32(30.0)),
            ("rope.local.freq_base", Field::F32(second)),
        ]
    };
    assert_eq!(config("gemma3", &twice(30.0)).rope_local_theta, 30.0);
    let message = refusal("gemma3", &twice(31.0));
    assert!(
        message.contains("`gemma3.rope.local.freq_base`"),
        "{message}"
    );
    assert_eq!(config("gemma3", &[]).rope_local_theta, 1e4);
    assert_eq!(config("gemma3", &[]).rope_theta, 1e6);
}

#[test]
fn a_second_rope_base_is_refused_where_there_is_one() {
    let keys = |local| {
        [
            ("rope.freq_base_swa", Field::F32(local)),
            ("rope.freq_base", Field::F32(700.0)),
        ]
    };
    assert_eq!(config("gemma2", &keys(700.0)).rope_local_theta, 700.0);
    refusal("gemma2", &keys(30.0));
}

#[test]
fn scaling_is_linear_or_none_in_every_generation() {
    let kind = |kind: &str| ("rope.scaling.type", Field::text(kind));
    let factor = || ("rope.scaling.factor", Field::F32(4.0));
    for model_type in ["gemma", "gemma2", "gemma3"] {
        let of = |keys: &[_]| config(model_type, keys).rope_linear_factor;
        assert_eq!(of(&[kind("linear"), factor()]), 4.0, "{model_type}");
        assert_eq!(of(&[factor()]), 4.0, "{model_type}: linear by default");
        assert_eq!(of(&[("rope.scale_linear", Field::F32(4.0))]), 4.0);
        assert_eq!(of(&[kind("none"), factor()]), 1.0, "{model_type}");
        assert_eq!(
            of(&[kind("none"), ("rope.scaling.factor", Field::F32(0.0))]),
            1.0
        );
        let message = refusal(model_type, &[kind("yarn"), factor()]);
        assert!(message.contains("`yarn`"), "{message}");
    }
    let scaled = GemmaConfig::from(config("gemma3", &[factor()]));
    assert_eq!(scaled.layers[0].attention.rope.linear_factor, 1.0);
    refusal(
        "gemma3",
        &[("rope.scaling.factor", Field::F32(0.0)), kind("linear")],
    );
    let message = fixture("gemma3", &[kind("linear")]).refusal();
    assert!(
        message.contains("no metadata `gemma3.rope.scaling.factor`"),
        "{message}"
    );
}

#[test]
fn soft_caps_work_in_every_generation() {
    let names = ["attn_logit_softcapping", "final_logit_softcapping"];
    let caps = |config: FlatConfig| {
        (
            config.attn_logit_softcapping,
            config.final_logit_softcapping,
        )
    };
    for model_type in ["gemma", "gemma2", "gemma3"] {
        let both = config(
            model_type,
            &[(names[0], Field::F32(5.0)), (names[1], Field::F64(2.5))],
        );
        assert_eq!(caps(both), (Some(5.0), Some(2.5)), "{model_type}");
        for name in names {
            refusal(model_type, &[(name, Field::F32(-1.0))]);
            refusal(model_type, &[(name, Field::F32(f32::NAN))]);
        }
    }
    let zero = [(names[1], Field::F32(0.0))];
    assert_eq!(caps(config("gemma3", &zero)), (None, None));
    refusal("gemma2", &zero);
    assert_eq!(caps(config("gemma2", &[])), (Some(50.0), Some(30.0)));
    assert_eq!(caps(config("gemma3", &[])), (None, None));
}

#[test]
fn the_window_pattern_is_a_number_or_a_list() {
    const KEY: &str = "attention.sliding_window_pattern";
    let layers = |model_type, value| config(model_type, &[(KEY, value)]).layers;
    let three = [Local, Local, Global, Local, Local, Global];
    for model_type in ["gemma2", "gemma3"] {
        for number in [Field::U32(3), Field::I32(3), Field::U64(3)] {
            assert_eq!(layers(model_type, number), three);
        }
        assert_eq!(layers(model_type, Field::U32(1)), [Global; 6]);
        let odd = [false, true, true, false, false, true];
        let expected = odd.map(|local| if local { Local } else { Global });
        let flags = odd.map(Field::Bool).to_vec();
        assert_eq!(layers(model_type, Field::List(flags)), expected);
        let numbers = odd.map(|flag| Field::I32(flag.into())).to_vec();
        assert_eq!(layers(model_type, Field::List(numbers)), expected);
    }
    assert_eq!(
        config("gemma2", &[]).layers,
        [Local, Global, Local, Global, Local, Global]
    );
    for wrong in [
        Field::U32(0),
        Field::I32(-1),
        Field::F32(2.0),
        Field::List(vec![Field::Bool(true); 5]),
        Field::List(vec![Field::U32(2); 6]),
        Field::List(vec![]),
        Field::text("LLLLLG"),
    ] {
        refusal("gemma3", &[(KEY, wrong)]);
    }
}

#[test]
fn a_window_is_that_of_the_file_or_of_its_class() {
    assert_eq!(
        config("gemma3", &[("attention.sliding_window", Field::U64(5))]).sliding_window,
        Some(5)
    );
    let without = |model_type: &str| {
        let mut fixture = Fixture::new(model_type);
        fixture
            .gguf
            .remove(&format!("{model_type}.attention.sliding_window"));
        fixture
    };
    assert_eq!(
        without("gemma2")
            .imported_config()
            .flat()
            .unwrap()
            .sliding_window,
        Some(4096)
    );
    let message = without("gemma3").refusal();
    assert!(
        message.contains("no metadata `gemma3.attention.sliding_window`"),
        "{message}"
    );
    refusal("gemma", &[("attention.sliding_window", Field::U32(5))]);
}

#[test]
fn counts_may_be_listed_layer_by_layer() {
    let list = |counts: &[u32]| Field::List(counts.iter().map(|n| Field::U32(*n)).collect());
    let config = config(
        "gemma3",
        &[
            ("attention.head_count", list(&[4; 6])),
            ("attention.head_count_kv", list(&[2; 6])),
            ("feed_forward_length", list(&[96; 6])),
        ],
    );
    assert_eq!(GemmaConfig::from(config), Fixture::new("gemma3").config);
    refusal(
        "gemma3",
        &[("attention.head_count_kv", list(&[2, 2, 2, 2, 2, 1]))],
    );
    refusal("gemma3", &[("attention.head_count_kv", list(&[2; 5]))]);
    refusal("gemma3", &[("attention.head_count_kv", list(&[]))]);
}

#[test]
fn impossible_numbers_are_refused_by_their_key() {
    let sizes = [
        "block_count",
        "embedding_length",
        "feed_forward_length",
        "context_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.sliding_window",
    ];
    for name in sizes {
        for number in [
            Field::U32(0),
            Field::U32(u32::MAX),
            Field::U64(u64::MAX),
            Field::I32(-4),
            Field::F32(4.0),
            Field::text("4"),
        ] {
            refusal("gemma3", &[(name, number)]);
        }
    }
    for (name, number) in [
        ("attention.head_count_kv", 3),
        ("attention.key_length", 15),
        ("block_count", 5),
        ("block_count", 7),
        ("vocab_size", 63),
        ("attention.value_length", 8),
        ("rope.dimension_count", 8),
        ("expert_count", 2),
        (":tokenizer.ggml.eos_token_id", 64),
        (":tokenizer.ggml.bos_token_id", 64),
        (":general.quantization_version", 1),
        (":general.alignment", 12),
        (":general.alignment", 0),
    ] {
        refusal("gemma3", &[(name, Field::U32(number))]);
    }
    for name in [
        "attention.layer_norm_rms_epsilon",
        "rope.freq_base",
        "rope.freq_base_swa",
    ] {
        for number in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            refusal("gemma3", &[(name, Field::F32(number))]);
        }
    }
}

#[test]
fn keys_that_ask_for_other_work_are_refused() {
    for (name, value) in [
        ("attention.causal", Field::Bool(false)),
        ("attention.scale", Field::F32(0.5)),
        ("rope.scaling.attn_factor", Field::F32(1.5)),
        ("logit_scale", Field::F32(0.5)),
        ("pooling_type", Field::U32(1)),
        (":adapter.lora.alpha", Field::F32(16.0)),
        (":general.type", Field::text("adapter")),
    ] {
        refusal("gemma3", &[(name, value)]);
    }
    config("gemma3", &[("attention.causal", Field::Bool(true))]);
}

#[test]
fn other_architectures_are_named() {
    for (architecture, called) in [
        ("llama", "`llama`"),
        ("gemma3n", "Gemma 3n"),
        ("gemma4", "Gemma 4"),
        ("gemma-embedding", "EmbeddingGemma"),
        ("a\u{1b}[31m", "\\u{1b}[31m"),
    ] {
        let mut fixture = Fixture::new("gemma3");
        fixture
            .gguf
            .set("general.architecture", Field::text(architecture));
        let message = fixture.refusal();
        assert!(
            message.contains(called) && message.contains("gemma3 work"),
            "{message}"
        );
        assert!(!message.contains(char::is_control), "{message:?}");
    }
}

#[test]
fn facts_that_cannot_be_guessed_must_be_there() {
    for name in [
        "block_count",
        "embedding_length",
        "feed_forward_length",
        "context_length",
        "attention.head_count",
    ] {
        let mut fixture = Fixture::new("gemma3");
        fixture.gguf.remove(&format!("gemma3.{name}"));
        let message = fixture.refusal();
        assert!(
            message.contains(&format!("no metadata `gemma3.{name}`")),
            "{message}"
        );
    }
}

#[test]
fn widths_that_the_tensors_do_not_have_are_told_with_the_tensor() {
    let message = fixture("gemma3", &[("embedding_length", Field::U32(64))]).refusal();
    assert!(
        message.contains("`token_embd.weight` has shape [64, 32]"),
        "{message}"
    );
    let message = fixture(
        "gemma3",
        &[
            ("attention.key_length", Field::U32(8)),
            ("attention.value_length", Field::U32(8)),
        ],
    )
    .refusal();
    assert!(message.contains("`blk.0.attn_q.weight`"), "{message}");
}

#[test]
fn the_deepest_models_scale_by_their_width_per_head() {
    let deep = Fixture::with("gemma3", |json| {
        json["num_hidden_layers"] = 62.into();
        json["query_pre_attn_scalar"] = 8.into();
    });
    assert_eq!(deep.imported_config(), deep.config);
    let layers = &deep.config.layers;
    let kinds = |kind: LayerKind| layers.iter().filter(|l| l.attention.kind == kind).count();
    assert_eq!((kinds(Global), kinds(Local)), (10, 52));
}

#[test]
fn a_value_that_is_no_number_matters_where_it_is_used() {
    let mut fixture = Fixture::new("gemma3");
    fixture.gguf.set("general.x", Field::F32(f32::NAN));
    fixture.gguf.set("general.y", Field::F64(f64::NAN));
    fixture.import(mlxbench_core::Dtype::F32).unwrap();
    for name in ["final_logit_softcapping", "rope.freq_base"] {
        let message = refusal("gemma3", &[(name, Field::F32(f32::NAN))]);
        assert!(message.contains("NaN"), "{message}");
    }
    let scores = Field::List(vec![Field::F32(f32::NAN); 64]);
    let message = refusal("gemma3", &[(":tokenizer.ggml.scores", scores)]);
    assert!(message.contains("NaN"), "{message}");
}
