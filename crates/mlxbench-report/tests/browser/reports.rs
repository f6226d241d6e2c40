//! Reports as people see them: in the widths of a phone, a laptop and a desk, in both schemes.

use mlxbench_core::generate::Mode;
use mlxbench_core::results::RunResult;
use mlxbench_report::{Beside, Format, history, render};

use crate::page::{Page, Scheme};
use crate::support::{BOTH, PREFILL, hostile, nothing_measured, quantised, race, resized, run};

/// The page of `results`.
fn report(results: &[RunResult]) -> String {
    String::from_utf8(render(results, &Beside::default(), Format::Html)).unwrap()
}

/// Six targets, of whose tests each chart has something to show.
fn everything() -> RunResult {
    let long = resized(BOTH, |test| {
        test.prompt_tokens = 256;
        test.generate_tokens = 24;
    });
    let deep = resized(long, |test| test.depth = 512);
    let waiting = resized(BOTH, |test| test.mode = Mode::Synchronous);
    let mut result = race(6, &[long, deep, BOTH, PREFILL, waiting], 6);
    result.products = run().products;
    for product in &mut result.products {
        product.target = result.run.targets[0].clone();
    }
    result
}

/// Opens a page in all widths and schemes and lists what is wrong with it in any.
#[track_caller]
pub(crate) fn assert_good_everywhere(name: &str, html: &str) {
    let mut findings = Vec::new();
    for width in [320, 1024, 1920] {
        for scheme in [Scheme::Light, Scheme::Dark] {
            let mut page = Page::open(html, width, scheme);
            page.screenshot(&format!("{name}-{width}-{scheme:?}"));
            let found = page.findings().into_iter();
            findings.extend(found.map(|finding| format!("{width} {scheme:?}: {finding}")));
        }
    }
    assert!(findings.is_empty(), "{name}:\n{}", findings.join("\n"));
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_report_with_everything() {
    assert_good_everywhere("everything", &report(&[everything()]));
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_report_of_quantised_weights() {
    assert_good_everywhere("quantised", &report(&[quantised()]));
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_report_of_one_target() {
    assert_good_everywhere("one", &report(&[race(1, &[BOTH], 5)]));
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_report_of_forty_targets() {
    assert_good_everywhere("forty", &report(&[race(40, &[BOTH], 5)]));
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn reports_without_a_figure() {
    assert_good_everywhere("nothing", &report(&[nothing_measured()]));
    assert_good_everywhere("empty", &report(&[]));
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_report_of_hostile_texts_is_a_page_like_others() {
    assert_good_everywhere("hostile", &report(&[hostile(), run()]));
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn results_over_time() {
    let results = (0..14).map(|day| {
        let mut result = race(3, &[BOTH], 5);
        result.run.started = format!("2026-11-{:02}T07:00:00Z", day + 1).parse().unwrap();
        result.run.mlxbench.commit = Some(format!("{day:07x}"));
        if day >= 7 {
            for time in result
                .samples
                .iter_mut()
                .flat_map(|sample| &mut sample.token_ns)
            {
                time.0 += time.0 / 10;
            }
        }
        result
    });
    let page = history(&results.collect::<Vec<_>>()).page;
    assert_good_everywhere("history", &String::from_utf8(page).unwrap());
}

/// The texts of a column of the rows that are shown.
fn column(page: &mut Page, name: &str) -> Vec<String> {
    let shown = page.evaluate(&format!(
        "(() => {{
            const heads = [...document.querySelectorAll('table.rows th')];
            const at = heads.findIndex(head => head.textContent === {name:?});
            const rows = [...document.querySelectorAll('table.rows tbody tr')];
            return rows.filter(row => row.checkVisibility()).map(row => row.cells[at].textContent);
        }})()"
    ));
    serde_json::from_value(shown).unwrap()
}

fn click(page: &mut Page, name: &str) {
    page.evaluate(&format!(
        "[...document.querySelectorAll('table.rows th button')]
            .find(button => button.textContent === {name:?}).click()"
    ));
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn columns_sort_both_ways_and_leave_what_has_no_figure_at_the_end() {
    let mut result = race(4, &[BOTH], 5);
    let lost = result.run.targets[1].clone();
    result.samples.retain(|sample| sample.target != lost);
    let mut page = Page::open(&report(&[result]), 1024, Scheme::Light);
    let rates = |page: &mut Page| -> Vec<Option<f64>> {
        let cells = column(page, "decode t/s");
        let first = |cell: &String| cell.split(' ').next().and_then(|word| word.parse().ok());
        cells.iter().map(first).collect()
    };
    click(&mut page, "decode t/s");
    let up = rates(&mut page);
    assert!(up[0] < up[1] && up[1] < up[2] && up[3].is_none(), "{up:?}");
    click(&mut page, "decode t/s");
    let down = rates(&mut page);
    assert_eq!(down, [up[2], up[1], up[0], None]);
    let sorted = "document.querySelectorAll('th[aria-sort=descending]').length";
    assert_eq!(page.evaluate(sorted), 1);
    click(&mut page, "backend");
    let names = column(&mut page, "backend");
    assert_eq!(names, ["candle", "llama.cpp", "mlx", "tch"]);
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn rows_are_filtered_and_counted() {
    let mut page = Page::open(&report(&[race(8, &[BOTH], 5)]), 1024, Scheme::Light);
    let choose = |page: &mut Page, what: &str, value: &str| {
        page.evaluate(&format!(
            "(() => {{
                const select = document.querySelector('select[data-filter={what}]');
                select.value = {value:?};
                select.dispatchEvent(new Event('change'));
            }})()"
        ));
    };
    choose(&mut page, "backend", "mlx");
    assert_eq!(column(&mut page, "backend"), ["mlx", "mlx"]);
    choose(&mut page, "dtype", "bf16");
    assert_eq!(column(&mut page, "dtype"), ["bf16"]);
    let shown = "document.getElementById('shown').textContent";
    assert_eq!(page.evaluate(shown), "1 of 8 rows");
    choose(&mut page, "backend", "");
    choose(&mut page, "dtype", "");
    assert_eq!(column(&mut page, "backend").len(), 8);
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn downloads_hold_what_was_measured() {
    let result = race(2, &[BOTH], 5);
    let mut page = Page::open(&report(std::slice::from_ref(&result)), 1024, Scheme::Light);
    // A page can't see where a download went: what it is made of is looked at, at the second click,
    // which the page does itself.
    let unpacked = |name: &str| {
        format!(
            "(async () => {{
                const link = document.querySelector(`a[data-name^={name}]`);
                const clicked = new Promise(done => {{
                    const click = link.click;
                    link.click = () => {{ link.click = click; done(); }};
                }});
                link.dispatchEvent(new MouseEvent('click', {{ cancelable: true }}));
                await clicked;
                return window.lastBlob.text();
            }})()"
        )
    };
    page.evaluate(
        "(() => {
            const create = URL.createObjectURL;
            URL.createObjectURL = blob => { window.lastBlob = blob; return create.call(URL, blob); };
        })()",
    );
    let json = page.evaluate(&unpacked("race"));
    let read: RunResult = serde_json::from_str(json.as_str().unwrap()).unwrap();
    assert_eq!(read, result);
    let csv = page.evaluate(&unpacked("repetitions"));
    // A head, and a line a repetition.
    assert_eq!(csv.as_str().unwrap().lines().count(), 1 + 10);
    let downloads = "[...document.querySelectorAll('a[data-name]')].map(link => link.download)";
    let downloads = page.evaluate(downloads);
    assert_eq!(downloads[0], "repetitions.csv");
    assert_eq!(downloads[1], "race-20261123T070000Z.json");
}
