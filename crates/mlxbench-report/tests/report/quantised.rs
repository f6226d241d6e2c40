//! Rows of quantised weights: none stands without its fidelity or the reason why it has none.

use mlxbench_core::results::RunResult;
use mlxbench_report::{Beside, Format, Picture, charts, render};

use crate::page::html;
use crate::support::quantised;

fn shown(result: &RunResult, format: Format) -> String {
    let results = std::slice::from_ref(result);
    String::from_utf8(render(results, &Beside::default(), format)).expect("reports are UTF-8")
}

/// [`quantised`] without any record of what it costs.
fn unmeasured() -> RunResult {
    RunResult {
        quantisation_costs: Vec::new(),
        ..quantised()
    }
}

const FIGURES: &str = "fidelity of q4: mean KL 3.1e-2, 99th percentile 2.6e-1, same token 93.1 %, \
                       perplexity 14.20 ± 0.41, full precision 13.61 ± 0.39 (± 1 SE)";
const NATIVE: &str = "fidelity of native: none, the weights from before quantising aren't here";
const REASON: &str = "fidelity of q8: none, the reference candle/cpu/f32 can't be had: died";

#[test]
fn terminal() {
    let width = Some(100);
    insta::assert_snapshot!(shown(&quantised(), Format::Terminal { width }));
}

#[test]
fn markdown() {
    insta::assert_snapshot!(shown(&quantised(), Format::Markdown));
}

#[test]
fn the_note_of_every_row_has_the_fidelity() {
    let [page, markdown] =
        [Format::Html, Format::Markdown].map(|format| shown(&quantised(), format));
    // Charts say it again.
    let (_, rows) = page.split_once("<table class=\"rows").expect("all figures");
    let (rows, _) = rows.split_once("</table>").expect("its end");
    for text in [rows, markdown.as_str()] {
        // Two rows of q4, one of q8, one as a checkpoint has it.
        let text = text.replace("&#39;", "'");
        assert_eq!(text.matches(FIGURES).count(), 2, "{text}");
        assert_eq!(text.matches(REASON).count(), 1, "{text}");
        assert_eq!(text.matches(NATIVE).count(), 1, "{text}");
    }
}

#[test]
fn what_nobody_looked_at_is_said_to_be_not_measured() {
    let result = unmeasured();
    let markdown = shown(&result, Format::Markdown);
    assert!(
        markdown.contains("| fidelity of q4: none, it wasn't measured |"),
        "{markdown}"
    );
    assert!(
        markdown.contains("| q8 |  |  |  |  |  |  |  | it wasn't measured |"),
        "{markdown}"
    );
    let csv = shown(&result, Format::Csv);
    for line in csv.lines().skip(1) {
        let quantised = [",q4-", ",q8-", ",native-"]
            .iter()
            .any(|name| line.contains(name));
        assert_eq!(line.contains("it wasn't measured"), quantised, "{line}");
    }
}

#[test]
fn csv_has_the_figures_in_columns() {
    let csv = shown(&quantised(), Format::Csv);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let names = reader.headers().expect("a header").clone();
    let records: Vec<csv::StringRecord> = reader.records().map(|line| line.expect("CSV")).collect();
    let of = |dtype: &str, column: &str| {
        let at = |name| {
            let mut names = names.iter();
            names.position(|known| known == name).expect("a column")
        };
        let mut lines = records.iter();
        let line = lines.find(|line| &line[at("dtype")] == dtype);
        line.expect("a row")[at(column)].to_owned()
    };
    assert_eq!(of("q4-bf16", "fidelity_mean_kl"), "0.0312");
    assert_eq!(of("q4-f32", "fidelity_same_top_positions"), "1966");
    assert_eq!(of("q4-f32", "full_precision_perplexity"), "13.61");
    assert_eq!(of("q8-f32", "fidelity_mean_kl"), "");
    assert!(of("q8-f32", "fidelity_note").contains("can't be had"));
    assert_eq!(of("f32", "fidelity_note"), "");
}

#[test]
fn rows_of_the_json_have_the_cost() {
    let shown: serde_json::Value =
        serde_json::from_str(&shown(&quantised(), Format::Json)).expect("JSON");
    let cost = |row: usize| &shown["summary"]["rows"][row]["quantisation_cost"];
    assert_eq!(cost(0)["figures"]["mean_kl"], 0.0312);
    assert!(cost(1).is_null());
    assert_eq!(cost(3)["weights"], "q8");
    assert_eq!(cost(4)["weights"], "native");
}

#[test]
fn the_page_keeps_the_two_verdicts_apart() {
    let page = html(&[quantised()]);
    for part in [
        "<h3>What quantising costs</h3>",
        "“work” compares a quantised target with the model of its own dequantised weights; fidelity compares \
         that model with full precision, both computed by candle f32",
        "<h3>How quantised weights are kept</h3>",
        "<td>rounded to 8 bits</td>",
        "<td>kept in bf16</td>",
        "<td class=\"figure\">4.25</td>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn charts_show_what_weights_cost_and_how_large_they_are() {
    let files = charts(&[quantised()], Picture::Svg).expect("SVG needs no font");
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert!(names.contains(&"weights.svg"), "{names:?}");
    let page = html(&[quantised()]);
    assert!(
        page.contains(
            "Not in it: candle f32 (the reference), MLX q8-f32 (no such figure), MLX native-f32 (no such figure)."
        ),
        "{page}"
    );
}
