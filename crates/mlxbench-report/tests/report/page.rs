//! The page as text: what must hold without a browser.

use mlxbench_core::generate::Mode;
use mlxbench_core::results::Verdict;
use mlxbench_report::external::read;
use mlxbench_report::{Beside, Format, Picture, charts, render};

use crate::support::{BOTH, HOSTILE, PREFILL, hostile, nothing_measured, race, resized, run};

pub(crate) fn html(results: &[mlxbench_core::results::RunResult]) -> String {
    String::from_utf8(render(results, &Beside::default(), Format::Html)).expect("pages are UTF-8")
}

/// Markup that got out of [`HOSTILE`].
const ESCAPED_OUT: [&str; 5] = [
    "<script>alert",
    "<img src=x",
    "--><!--]]>",
    "\u{1b}",
    "\u{202e}",
];

#[test]
fn nothing_of_others_is_markup() {
    assert!(ESCAPED_OUT.iter().all(|markup| HOSTILE.contains(markup)));
    let page = html(&[hostile()]);
    for markup in ESCAPED_OUT {
        assert!(!page.contains(markup), "{markup:?} is in the page");
    }
    let svgs = charts(&[hostile()], Picture::Svg).expect("SVG needs no font");
    assert!(!svgs.is_empty());
    for file in svgs {
        let svg = String::from_utf8(file.bytes).expect("SVG is UTF-8");
        for markup in ESCAPED_OUT {
            assert!(!svg.contains(markup), "{markup:?} is in {}", file.name);
        }
        roxmltree::Document::parse(&svg).unwrap_or_else(|error| panic!("{}: {error}", file.name));
    }
    let markdown = String::from_utf8(render(&[hostile()], &Beside::default(), Format::Markdown))
        .expect("UTF-8");
    let markdown = markdown.replace("\\<", "");
    for markup in ["<script>", "<img", "\u{1b}", "\u{202e}"] {
        assert!(!markdown.contains(markup), "{markup:?} is in the Markdown");
    }
    let csv = render(&[hostile()], &Beside::default(), Format::Csv);
    for record in csv::Reader::from_reader(csv.as_slice()).into_records() {
        for field in &record.expect("CSV") {
            assert!(
                !field.starts_with(['=', '@', '+']),
                "{field:?} is a formula"
            );
        }
    }
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere() {
    let page = html(&[run(), race(3, &[BOTH, PREFILL], 5)]);
    let links = page
        .match_indices("http")
        .map(|(at, _)| &page[at..(at + 40).min(page.len())]);
    let links: Vec<&str> = links
        .filter(|link| !link.starts_with("http://www.w3.org/2000/svg"))
        .collect();
    assert_eq!(links, ["http-equiv=\"Content-Security-Policy\" con"]);
    assert!(!page.contains("<link rel=\"stylesheet") && !page.contains("<script src"));
}

#[test]
fn failed_targets_are_shown_with_their_reason() {
    let page = html(&[nothing_measured()]);
    assert!(page.contains("none of 3 targets gave a figure"));
    assert!(page.contains("missing: no program mlxbench-worker-mlx beside mlxbench or on PATH"));
    assert!(html(&[]).contains("No results"));
}

#[test]
fn rows_of_other_programs_are_marked() {
    let text = include_bytes!("fixtures/llama-bench.json");
    let beside = Beside {
        others: vec![read("other.json", text).expect("sound").expect("known")],
        ..Beside::default()
    };
    for format in [
        Format::Html,
        Format::Markdown,
        Format::Terminal { width: None },
    ] {
        let shown = render(&[race(2, &[BOTH], 5)], &beside, format);
        let shown = String::from_utf8(shown).expect("UTF-8");
        assert!(
            shown.contains("llama-bench") && shown.contains("external"),
            "{format:?}: {shown}"
        );
    }
}

#[test]
fn several_results_say_what_keeps_them_apart() {
    let mut other = race(3, &[BOTH], 5);
    other.run.machine.cpu = "another processor".into();
    other.run.settings.chunk = 7;
    let page = html(&[race(3, &[BOTH], 5), race(3, &[BOTH], 5), other]);
    assert!(page.contains("yes, machine and work are the same"));
    let differing = "Not the same: cpu was a processor, is another processor; chunk was 512, is 7.";
    assert!(page.contains(differing));
}

#[test]
fn a_page_over_ten_thousand_repetitions_stays_small() {
    let page = html(&[race(1, &[BOTH], 10_000)]);
    assert!(page.len() < 5 << 20, "{} bytes", page.len());
    let long = resized(BOTH, |test| test.generate_tokens = 128);
    let page = html(&[race(2, &[long], 5000)]);
    assert!(page.len() < 5 << 20, "{} bytes", page.len());
    assert!(page.contains("the times of single tokens are too many for a page"));
}

#[test]
fn no_target_is_left_out_of_a_chart_unsaid() {
    let mut result = race(3, &[BOTH, PREFILL], 5);
    let lost = result.run.targets[1].clone();
    result.samples.retain(|sample| sample.target != lost);
    result.failures.push(nothing_measured().failures[1].clone());
    result.equivalences[2].verdict = Verdict::Different;
    let page = html(&[result]);
    // In charts of lines, in their captions.
    assert!(page.matches("Not in it: MLX f32 (missing)").count() >= 3);
    // In charts of bars, in its place.
    assert!(page.contains("missing: no program mlxbench-worker-mlx"));
    assert!(page.contains("PyTorch f32, different work"));
}

#[test]
fn every_kind_of_chart_is_drawn() {
    let deep = resized(BOTH, |test| test.depth = 512);
    let long = resized(BOTH, |test| test.prompt_tokens = 256);
    let waiting = resized(BOTH, |test| test.mode = Mode::Synchronous);
    let mut result = race(4, &[BOTH, deep, long, waiting], 5);
    result.products = run().products;
    result
        .products
        .iter_mut()
        .for_each(|product| product.target = result.run.targets[0].clone());
    let names = charts(&[result], Picture::Svg).expect("SVG needs no font");
    let names: Vec<String> = names.into_iter().map(|file| file.name).collect();
    insta::assert_snapshot!(names.join(" "), @"decode.svg prefill.svg memory.svg fidelity.svg ttft.svg decode-by-context.svg decode-by-test.svg prefill-by-test.svg memory-by-test.svg energy.svg latency-distribution.svg latency-by-position.svg memory-over-time.svg roofline-cpu.svg");
}

#[test]
fn lines_of_several_kinds_of_test_are_named_after_their_conditions() {
    let deeper = |test| resized(test, |test| test.depth = 512);
    let batched = resized(BOTH, |test| test.batch = 2);
    let tests = [BOTH, deeper(BOTH), batched, deeper(batched)];
    let page = html(&[race(1, &tests, 5)]);
    assert!(page.contains("candle f32 b2"), "no line for two rows");
    assert!(!page.contains("f32 pp0"), "a name of no test");
}

#[test]
fn a_page_says_first_where_its_figures_hold() {
    let mut result = race(2, &[BOTH], 5);
    result.run.model.source = "synthetic:gemma-3-270m@7".into();
    let page = html(std::slice::from_ref(&result));
    let banner = "Measured on a processor (2 CPU cores, Debian): says nothing about Macs.";
    assert!(page.contains(banner));
    assert!(page.contains("Random weights in the shapes of gemma-3-270m:"));
    result.run.machine.os = "macOS 15.1".into();
    result.run.model.source = "hf:google/gemma-3-270m".into();
    let page = html(&[result]);
    assert!(!page.contains("says nothing about Macs") && !page.contains("Random weights"));
}

#[test]
fn no_target_is_called_by_its_id_where_people_read() {
    let page = html(&[race(6, &[BOTH, PREFILL], 5)]);
    // Attributes, the column of ids, the config and the files have them.
    let ids = [
        "<code>candle/cpu/f32</code>",
        "\"candle/cpu/f32\"",
        "data-target=\"candle/cpu/f32\"",
    ];
    let kept = ids.into_iter().fold(page, |page, id| page.replace(id, ""));
    let rest = kept.replace("reference = &quot;candle/cpu/f32&quot;", "");
    assert!(
        !rest.contains("candle/cpu/f32"),
        "{}",
        &rest[rest.find("candle/cpu/f32").unwrap() - 200..][..300]
    );
}

#[test]
fn several_results_get_one_answer() {
    let mut slower = race(3, &[BOTH], 5);
    slower.run.machine.cpu = "another processor".into();
    for time in slower
        .samples
        .iter_mut()
        .flat_map(|sample| &mut sample.token_ns)
    {
        time.0 *= 2;
    }
    let page = html(&[slower, race(3, &[BOTH], 5)]);
    let headline =
        "Fastest to generate in f32: candle on a processor, 2.00x the best on another processor.";
    assert!(
        page.contains(headline),
        "{}",
        &page[page.find("<h1>").unwrap()..][..300]
    );
    assert!(page.contains("decode-across-0") && !page.contains("id=\"decode-0\">\n<h2"));
    assert_eq!(page.matches("<h1>").count(), 1);
}

#[test]
fn charts_that_stand_alone_say_what_was_measured() {
    let svgs = charts(&[race(2, &[BOTH], 5)], Picture::Svg).expect("SVG needs no font");
    for file in svgs {
        let svg = String::from_utf8(file.bytes).expect("SVG is UTF-8");
        let svg = svg.replace('\n', " ");
        for said in [
            "gemma-3-270m",
            "a processor",
            "pp64+tg4",
            "5 repetitions",
            "2026-11-23",
        ] {
            assert!(svg.contains(said), "{}: no {said}", file.name);
        }
    }
}
