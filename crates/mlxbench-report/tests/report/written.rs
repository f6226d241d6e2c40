//! Each kind of file is known again, and taken for no other.

use mlxbench_analysis::compare;
use mlxbench_analysis::comparison::Options;
use mlxbench_core::results::RunResult;
use mlxbench_report::{
    Beside, ComparisonFormat, Format, Picture, Written, charts, render, render_comparison,
};

use crate::support::{BOTH, hostile, nothing_measured, over_time, race, run};

const REPORTS: [Format; 12] = [
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

const COMPARISONS: [ComparisonFormat; 4] = [
    ComparisonFormat::Text,
    ComparisonFormat::Markdown,
    ComparisonFormat::Json,
    ComparisonFormat::Junit,
];

/// Every kind, with what it is written as of some results.
fn files(results: &[RunResult]) -> Vec<(Written, Vec<u8>)> {
    let reports = REPORTS.map(|format| {
        let bytes = render(results, &Beside::default(), format);
        (Written::Report(format), bytes)
    });
    let comparison = compare(&results[0], &race(3, &[BOTH], 5), &Options::default());
    let comparisons = COMPARISONS.map(|format| {
        let bytes = render_comparison(&comparison, format);
        (Written::Comparison(format), bytes)
    });
    let pages = [(Written::Report(Format::Html), over_time(results).page)];
    let svgs = charts(results, Picture::Svg).expect("SVG needs no font");
    let svgs = svgs
        .into_iter()
        .map(|file| (Written::Chart(Picture::Svg), file.bytes));
    reports
        .into_iter()
        .chain(comparisons)
        .chain(pages)
        .chain(svgs)
        .collect()
}

#[test]
fn what_was_written_is_known_again() {
    for results in [
        vec![run()],
        vec![hostile()],
        vec![nothing_measured()],
        vec![race(5, &[BOTH], 5), run()],
    ] {
        for (kind, bytes) in files(&results) {
            assert!(
                kind.wrote(&bytes),
                "{}: {}",
                kind.name(),
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}

#[test]
fn no_kind_is_taken_for_another() {
    let alike = |a: Written, b: Written| {
        let values = [Format::BiggerIsBetter, Format::SmallerIsBetter].map(Written::Report);
        a == b || values.contains(&a) && values.contains(&b)
    };
    let files = files(&[run()]);
    for (kind, bytes) in &files {
        for (other, _) in files.iter().filter(|(other, _)| !alike(*kind, *other)) {
            assert!(
                !other.wrote(bytes),
                "{} passes for {}",
                kind.name(),
                other.name()
            );
        }
    }
}

#[test]
fn what_others_wrote_is_never_ours() {
    let result = serde_json::to_vec(&run()).expect("a result");
    let weights = [
        &64_u64.to_le_bytes()[..],
        b"{\"w\":{\"dtype\":\"F32\"",
        &[0xff; 64],
    ]
    .concat();
    for bytes in [
        &b"name = \"mine\"\n[model]\nsource = \"model\"\n"[..],
        &result,
        &weights,
        b"{\"model_type\": \"gemma3_text\"}",
        b"# Notes\n\n## More\n\n| a | b |\n",
        b"## Notes\n\n| operation | works |\n|---|---|\n",
        b"How I measured\n    mlxbench run quick.toml\n",
        b"How I measured\n   by mlxbench 0.1.0\n   206 okay\n",
        b"<!DOCTYPE html><html><body>mine</body></html>",
        b"<?xml version=\"1.0\"?>\n<testsuites name=\"mine\"/>\n",
        b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        b"a,b\n1,2\n",
        b"pass the salt\n",
        b"\0\x01\x02",
    ] {
        for (kind, _) in files(&[run()]) {
            assert!(
                !kind.wrote(bytes),
                "{:?} is {}",
                String::from_utf8_lossy(bytes),
                kind.name()
            );
        }
        assert!(!Written::Chart(Picture::Png).wrote(bytes));
    }
    assert!(Written::Chart(Picture::Png).wrote(b"\x89PNG\r\n\x1a\n rest"));
}

#[test]
fn a_page_of_an_earlier_version_is_ours() {
    let page = include_bytes!("../../../../reports/gemma3-270m.html");
    assert!(Written::Report(Format::Html).wrote(page));
}
