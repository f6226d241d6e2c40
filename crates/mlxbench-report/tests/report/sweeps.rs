//! Rates against lengths, and what jumps along them.

use mlxbench_core::Nanos;
use mlxbench_core::results::{RunResult, Sample, Test};
use mlxbench_report::{Beside, Format, Picture, charts, render};

use crate::page::html;
use crate::support::{BOTH, race, resized};

fn prompt(tokens: usize) -> Test {
    resized(BOTH, |test| test.prompt_tokens = tokens)
}

fn generation(tokens: usize) -> Test {
    resized(BOTH, |test| test.generate_tokens = tokens)
}

/// Two targets over prompts and generations that double, without a jump.
fn smooth() -> RunResult {
    let prompts = [128, 256, 512, 1024, 2048].map(prompt);
    let generations = [32, 64, 128, 256].map(generation);
    race(2, &[&prompts[..], &generations[..]].concat(), 6)
}

/// Each time of `sample` after its first token `factor` times as long, from its token `from` on.
fn slow_down(sample: &mut Sample, from: usize, factor: u64) {
    let times = sample.token_ns.clone();
    for at in from..times.len() {
        let step = times[at].since(times[at - 1]).0 * factor;
        sample.token_ns[at] = Nanos(sample.token_ns[at - 1].0 + step);
    }
}

/// The second target decodes half as fast with prompts of 1,024 tokens or more, reads one of 512 at a
/// third of its rate, and takes three times as long for each token from the 100th on.
fn jumping() -> RunResult {
    let mut result = smooth();
    let target = result.run.targets[1].clone();
    let own = result.samples.iter_mut();
    for sample in own.filter(|sample| sample.target == target) {
        if sample.test.prompt_tokens() >= 1024 {
            slow_down(sample, 1, 2);
        }
        if sample.test == prompt(512) {
            let wait = 2 * sample.token_ns[0].0;
            sample.token_ns.iter_mut().for_each(|time| time.0 += wait);
        }
        if sample.test == generation(256) {
            slow_down(sample, 99, 3);
        }
    }
    result
}

fn shown(result: &RunResult, format: Format) -> String {
    let results = std::slice::from_ref(result);
    String::from_utf8(render(results, &Beside::default(), format)).expect("UTF-8")
}

#[test]
fn jumps_are_said_in_words() {
    let terminal = shown(&jumping(), Format::Terminal { width: None });
    let said: Vec<&str> = terminal
        .lines()
        .filter(|line| line.contains("mlx/cpu/f32: ") || line.contains("jumps"))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
    let sentence = "prefill rate is ";
    for format in [Format::Html, Format::Markdown] {
        assert!(shown(&jumping(), format).contains(sentence), "{format:?}");
    }
}

#[test]
fn smooth_sweeps_say_nothing() {
    let result = smooth();
    let terminal = shown(&result, Format::Terminal { width: None });
    assert!(
        !terminal.contains("jump") && !terminal.contains("suggest"),
        "{terminal}"
    );
    assert!(!html(&[result]).contains("\njumps\n"));
}

#[test]
fn json_has_sweeps_and_jumps() {
    let json = shown(&jumping(), Format::Json);
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    let sweeps = document["summary"]["sweeps"].as_array().unwrap();
    let lengths: Vec<&str> = sweeps
        .iter()
        .map(|it| it["length"].as_str().unwrap())
        .collect();
    let both = ["prompt_tokens", "generate_tokens"];
    assert_eq!(lengths, [both, both].concat());
    assert_eq!(sweeps[0]["jumps"], serde_json::json!([]));
    let decode = &sweeps[2]["jumps"][0];
    assert_eq!(decode["figure"], "decode_tokens_per_second");
    assert_eq!(
        (&decode["shape"], &decode["at"]["length"]),
        (&"step".into(), &1024.into())
    );
    let rows = document["summary"]["rows"].as_array().unwrap();
    let stepped = rows.iter().filter(|row| !row["latency_steps"].is_null());
    assert_eq!(stepped.count(), 1);
    assert_eq!(serde_json::from_str::<RunResult>(&json).unwrap(), jumping());
}

#[test]
fn each_sweep_has_a_chart_with_its_jumps_in_rings() {
    let svgs = charts(&[jumping()], Picture::Svg).expect("SVG needs no font");
    let ringed = svgs
        .iter()
        .filter(|file| String::from_utf8_lossy(&file.bytes).contains("\njumps\n"));
    let ringed: Vec<&str> = ringed.map(|file| file.name.as_str()).collect();
    insta::assert_snapshot!(ringed.join(" "), @"decode-by-context.svg decode-by-generation.svg prefill-by-prompt.svg latency-by-position.svg");
}
