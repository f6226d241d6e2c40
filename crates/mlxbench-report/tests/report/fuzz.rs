//! What nobody thought of: files of other programs with anything in them, and result files with anything
//! that the schema lets in. `MLXBENCH_FUZZ_CASES` says how many of each are tried; CI and whoever looks
//! for more says more.

use std::collections::HashSet;

use mlxbench_analysis::compare;
use mlxbench_analysis::comparison::Options;
use mlxbench_core::results::{RunResult, migrate};
use mlxbench_report::external::{read, tell_apart};
use mlxbench_report::{
    Beside, ComparisonFormat, Format, Picture, Written, charts, render, render_comparison,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use crate::support::{BOTH, HOSTILE, PREFILL, over_time, quantised, race, run};

const LLAMA_BENCH: &str = include_str!("fixtures/llama-bench.json");
const OLD_LLAMA_BENCH: &str = include_str!("fixtures/llama-bench-old.jsonl");
const MLX_LM: &str = include_str!("fixtures/mlx_lm.txt");

/// Pieces that parsers trip over.
static PIECES: [&str; 24] = [
    "\"model_filename\"",
    "\"n_gen\": 1",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "\n",
    "\r",
    "\0",
    "\u{feff}",
    "é🦙",
    "99999999999999999999",
    "-1",
    "1e400",
    "null",
    "Timing with prompt_tokens=1",
    ".",
    "Averages: ",
    "Trial 1: ",
    "batch_size=0.",
    "mlx_lm.benchmark --model '",
    "\\u0000",
];

/// Every format with nothing in it that depends on who looks.
const FORMATS: [Format; 12] = [
    Format::Html,
    Format::Terminal { width: None },
    Format::Markdown,
    Format::Csv,
    Format::Json,
    Format::LlamaBenchJson,
    Format::LlamaBenchMarkdown,
    Format::BiggerIsBetter,
    Format::SmallerIsBetter,
    Format::Sql,
    Format::Tex,
    Format::Bencher,
];

/// So many cases as the environment says, or `default`. A failure is printed, and kept nowhere.
fn cases(default: u32) -> ProptestConfig {
    let asked = std::env::var("MLXBENCH_FUZZ_CASES").ok();
    ProptestConfig {
        cases: asked
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(default),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

/// A change to bytes.
#[derive(Debug, Clone)]
enum Edit {
    Insert(Index, &'static str),
    Cut(Index, Index),
    Repeat(Index, Index),
    Set(Index, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), select(&PIECES[..])).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Edit::Cut(from, to)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Edit::Repeat(from, to)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
    ]
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let size = bytes.len() + 1;
        let range = |a: &Index, b: &Index| {
            let (a, b) = (a.index(size), b.index(size));
            a.min(b)..a.max(b)
        };
        match edit {
            Edit::Insert(at, piece) => {
                let at = at.index(size);
                bytes.splice(at..at, piece.bytes());
            }
            Edit::Cut(from, to) => drop(bytes.drain(range(from, to))),
            Edit::Repeat(from, to) => {
                let part = bytes[range(from, to)].to_vec();
                bytes.extend(part);
            }
            Edit::Set(at, byte) => {
                if let Some(old) = bytes.get_mut(at.index(size)) {
                    *old = *byte;
                }
            }
        }
    }
    bytes
}

/// Any JSON, with the values that llama-bench itself writes among it.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        (0_u64..200).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        select(vec![
            "",
            "CPU",
            "CUDA",
            "Metal,BLAS",
            "auto",
            "none",
            "f16",
            HOSTILE
        ])
        .prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(Value::Null),
        vec(any::<f64>(), 0..4).prop_map(Value::from),
    ]
}

/// Keys of an entry, with a value in place of its own.
fn keys() -> impl Strategy<Value = Vec<(String, Value)>> {
    let own: Value = serde_json::from_str(LLAMA_BENCH).expect("an array");
    let own = own[0].as_object().map(Map::keys).expect("an entry");
    let known = select(own.cloned().collect::<Vec<_>>());
    vec((prop_oneof![known, "[a-z_]{1,8}"], value()), 0..6)
}

/// Reads a file, and shows it in every way where it is sound.
fn read_and_show(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(Some(external)) = read("file", bytes) else {
        return Ok(());
    };
    let mut others = vec![external.clone(), external];
    tell_apart(&mut others);
    for external in &others {
        let mut names = HashSet::new();
        for row in &external.rows {
            let name = (
                &row.model,
                &row.backend,
                &row.device,
                &row.dtype,
                row.threads,
                row.test_and_settings(),
            );
            prop_assert!(names.insert(name.clone()), "two rows are {name:?}");
        }
    }
    let beside = Beside {
        others,
        ..Beside::default()
    };
    for format in FORMATS.into_iter().filter(|format| format.takes_others()) {
        let bytes = render(&[], &beside, format);
        prop_assert!(Written::Report(format).wrote(&bytes));
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn files_of_other_programs_are_read_or_refused(
        whole in select(vec![LLAMA_BENCH, OLD_LLAMA_BENCH, MLX_LM, ""]),
        edits in vec(edit(), 1..6),
        in_utf_16 in any::<bool>(),
    ) {
        let bytes = match in_utf_16 {
            true => whole.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            false => whole.as_bytes().to_vec(),
        };
        read_and_show(&edited(bytes, &edits))?;
    }

    #[test]
    fn entries_with_anything_in_them_are_read_or_refused(changes in vec(keys(), 1..6)) {
        let all: Value = serde_json::from_str(LLAMA_BENCH).expect("an array");
        let entries = changes.into_iter().map(|changes| {
            let mut entry = all[0].clone();
            for (key, value) in changes {
                entry[key] = value;
            }
            entry
        });
        let entries: Vec<Value> = entries.collect();
        read_and_show(json!(entries).to_string().as_bytes())?;
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200), text in "\\PC{0,200}") {
        read_and_show(&bytes)?;
        read_and_show(text.as_bytes())?;
    }
}

/// A change to a value somewhere in a result file.
#[derive(Debug, Clone)]
enum Change {
    /// This value in its place.
    Set(Value),
    /// That of another place.
    Copy(Index),
    /// An array or object with so many of its own values.
    Keep(usize),
    /// An array with its own values again.
    Twice,
}

fn change() -> impl Strategy<Value = Change> {
    let numbers = [
        json!(0),
        json!(1),
        json!(2),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(u32::MAX),
        json!(1_u64 << 53),
        json!(0.0),
        json!(-0.5),
        json!(1e-320),
        json!(1e-9),
        json!(1e308),
        json!(-1e308),
    ];
    let texts = [
        "",
        HOSTILE,
        "\0",
        "-009999-01-02T01:59:59Z",
        "9999-12-30T22:00:00.999999999Z",
        "1970-01-01T00:00:00Z",
        "gpu:4000000000",
        "cuda:1",
        "cpu",
        "different",
        "not_checked",
        "synchronous",
    ];
    let long = json!("long ".repeat(2000));
    let others = [
        json!(null),
        json!(true),
        json!(false),
        json!([]),
        json!({}),
        long,
    ];
    let values = numbers
        .into_iter()
        .chain(texts.map(Value::from))
        .chain(others);
    prop_oneof![
        4 => select(values.collect::<Vec<_>>()).prop_map(Change::Set),
        3 => any::<Index>().prop_map(Change::Copy),
        1 => (0_usize..3).prop_map(Change::Keep),
        1 => Just(Change::Twice),
        1 => any::<u64>().prop_map(|number| Change::Set(json!(number))),
        1 => any::<f64>().prop_map(|number| Change::Set(json!(number))),
    ]
}

/// The places in `value`, as JSON pointers.
fn places(value: &Value, here: &str, all: &mut Vec<String>) {
    all.push(here.into());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                places(value, &format!("{here}/{at}"), all);
            }
        }
        Value::Object(values) => {
            for (key, value) in values {
                places(value, &format!("{here}/{}", escaped(key)), all);
            }
        }
        _ => {}
    }
}

/// `result` after those of the changes that leave it a result.
fn changed(result: &RunResult, changes: &[(Index, Change)]) -> RunResult {
    let mut value = serde_json::to_value(result).expect("results are plain data");
    let mut latest = result.clone();
    for (at, change) in changes {
        let mut all = Vec::new();
        places(&value, "", &mut all);
        let place = at.get(&all);
        let mut next = value.clone();
        let new = match change {
            Change::Set(new) => Some(new.clone()),
            Change::Copy(from) => value.pointer(from.get(&all[..]).as_str()).cloned(),
            Change::Keep(count) => match value.pointer(place) {
                Some(Value::Array(values)) => Some(values.iter().take(*count).cloned().collect()),
                Some(Value::Object(values)) => {
                    let kept = values.clone().into_iter().take(*count);
                    Some(Value::Object(kept.collect()))
                }
                _ => None,
            },
            Change::Twice => match value.pointer(place) {
                Some(Value::Array(values)) => Some([values.as_slice(), values].concat().into()),
                _ => None,
            },
        };
        if let (Some(new), Some(old)) = (new, next.pointer_mut(place)) {
            *old = new;
        }
        if let Ok(sound) = migrate::result(&next.to_string()) {
            (value, latest) = (next, sound);
        }
    }
    latest
}

fn results() -> impl Strategy<Value = RunResult> {
    let sides = || {
        let mut result = race(2, &[BOTH], 2);
        result.run.machine.gpu = serde_json::from_value(json!({"name": "a GPU", "cores": 10})).ok();
        result.resumed = vec![result.run.started];
        result
    };
    let wholes = select(vec![
        run(),
        race(4, &[PREFILL, BOTH], 3),
        sides(),
        quantised(),
    ]);
    (wholes, vec((any::<Index>(), change()), 1..12))
        .prop_map(|(whole, changes)| changed(&whole, &changes))
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn whatever_a_result_may_hold_can_be_shown(result in results(), other in results()) {
        let both = [result, other];
        for format in FORMATS.into_iter().chain([Format::Terminal { width: Some(80) }]) {
            let bytes = render(&both, &Beside::default(), format);
            prop_assert!(std::str::from_utf8(&bytes).is_ok());
            if !matches!(format, Format::Terminal { width: Some(_) }) {
                prop_assert!(Written::Report(format).wrote(&bytes), "{format:?}");
            }
        }
        prop_assert!(charts(&both, Picture::Svg).is_ok());
        over_time(&both);
        for (base, new) in [(0, 1), (1, 0), (0, 0)] {
            let comparison = compare(&both[base], &both[new], &Options::default());
            for format in [
                ComparisonFormat::Text,
                ComparisonFormat::Markdown,
                ComparisonFormat::Json,
                ComparisonFormat::Junit,
                ComparisonFormat::Annotations,
            ] {
                let bytes = render_comparison(&comparison, format);
                prop_assert!(std::str::from_utf8(&bytes).is_ok());
            }
        }
    }
}
