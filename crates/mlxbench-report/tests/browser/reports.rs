//! Reports as people see them: in the widths of a phone, a laptop and a desk, in both schemes.

use mlxbench_core::generate::Mode;
use mlxbench_core::results::RunResult;
use mlxbench_report::{Beside, Format, render};

use crate::page::{Page, Scheme};
use crate::support::{
    BOTH, PREFILL, hostile, nightly, nothing_measured, over_time, quantised, race, resized, run,
};

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
    for width in [320, 360, 1024, 1600] {
        for scheme in [Scheme::Light, Scheme::Dark] {
            let mut page = Page::open(html, width, scheme);
            page.screenshot(&format!("{name}-{width}-{scheme:?}"));
            // What is folded is looked at, too.
            page.evaluate(
                "document.querySelectorAll('details').forEach(one => { one.open = true; })",
            );
            page.screenshot(&format!("{name}-{width}-{scheme:?}-open"));
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
fn a_report_of_several_results() {
    let mut other = race(6, &[BOTH], 5);
    other.run.machine.cpu = "another processor".into();
    assert_good_everywhere("several", &report(&[race(6, &[BOTH, PREFILL], 5), other]));
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_report_of_hostile_texts_is_a_page_like_others() {
    assert_good_everywhere("hostile", &report(&[hostile(), run()]));
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn results_over_time() {
    for (name, nights) in [("history", 14), ("long-history", 1000)] {
        let page = over_time(&nightly(nights)).page;
        assert_good_everywhere(name, &String::from_utf8(page).unwrap());
    }
}

/// The texts of a column of the rows that are shown.
fn column(page: &mut Page, name: &str) -> Vec<String> {
    let shown = page.evaluate(&format!(
        "(() => {{
            const heads = [...document.querySelectorAll('table.rows thead th')];
            const at = heads.findIndex(head => head.dataset.name === {name:?});
            const rows = [...document.querySelectorAll('table.rows tbody tr')];
            return rows.filter(row => row.checkVisibility()).map(row => row.cells[at].textContent);
        }})()"
    ));
    serde_json::from_value(shown).unwrap()
}

fn click(page: &mut Page, name: &str) {
    page.evaluate(&format!(
        "document.querySelector(`table.rows th[data-name={name:?}] button`).click()"
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
    let first = rates(&mut page);
    assert!(
        first[0] > first[1] && first[1] > first[2] && first[3].is_none(),
        "{first:?}"
    );
    click(&mut page, "decode t/s");
    assert_eq!(rates(&mut page), first, "the best come first");
    click(&mut page, "decode t/s");
    assert_eq!(rates(&mut page), [first[2], first[1], first[0], None]);
    click(&mut page, "TTFT");
    let up = column(&mut page, "TTFT");
    assert!(up[0] < up[1] && up[1] < up[2], "{up:?}");
    let sorted = "document.querySelectorAll('th[aria-sort=ascending]').length";
    assert_eq!(page.evaluate(sorted), 1);
    click(&mut page, "target");
    let names = column(&mut page, "target");
    assert_eq!(
        names,
        ["candle f32", "llama.cpp f32", "MLX f32", "PyTorch f32"]
    );
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn filters_pick_rows_of_both_tables_and_what_charts_show() {
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
    choose(&mut page, "framework", "MLX");
    assert_eq!(column(&mut page, "target"), ["MLX f32", "MLX bf16"]);
    choose(&mut page, "precision", "bf16");
    assert_eq!(column(&mut page, "target"), ["MLX bf16"]);
    let shown = "document.getElementById('shown').textContent";
    assert_eq!(page.evaluate(shown), "1 of 8 rows");
    let compact = "[...document.querySelectorAll('table.compact tbody tr')]
        .filter(row => row.checkVisibility()).map(row => row.cells[0].textContent).join()";
    assert_eq!(page.evaluate(compact), "MLX bf16");
    let bars = "[...document.querySelectorAll('.hero .full g[data-target]:not(.off)')]
        .map(bar => bar.dataset.target).join()";
    assert_eq!(page.evaluate(bars), "mlx/cpu/bf16");
    page.evaluate("document.getElementById('clear').click()");
    assert_eq!(column(&mut page, "target").len(), 8);
    assert_eq!(
        page.evaluate("document.querySelectorAll('g.off').length"),
        0
    );
    let device = "document.querySelector('select[data-filter=device]')";
    assert!(
        page.evaluate(device).is_null(),
        "there is one device: no choice"
    );
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn the_first_screen_holds_the_answer() {
    let mut page = Page::open(&report(&[race(6, &[BOTH], 5)]), 1024, Scheme::Light);
    let bottom = |page: &mut Page, of: &str| {
        let bottom = format!(
            "[...document.querySelectorAll({of:?})].find(part => part.checkVisibility())
                .getBoundingClientRect().bottom"
        );
        page.evaluate(&bottom).as_f64().unwrap()
    };
    for part in [".banner", "h1", ".hero svg", "table.compact thead"] {
        let bottom = bottom(&mut page, part);
        assert!(bottom > 0.0 && bottom < 800.0, "{part} ends at {bottom} px");
    }
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_phone_gets_a_card_for_each_target() {
    let mut page = Page::open(&report(&[race(3, &[BOTH], 5)]), 360, Scheme::Light);
    let labels = "[...document.querySelectorAll('table.compact tbody tr:first-child td')]
        .filter(cell => getComputedStyle(cell).display === 'flex')
        .map(cell => getComputedStyle(cell, '::before').content).join(' ')";
    assert_eq!(
        page.evaluate(labels),
        r#""generate t/s" "prompt t/s" "TTFT" "memory" "same work""#
    );
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_report_prints_on_two_pages() {
    let mut page = Page::open(&report(&[race(6, &[BOTH], 5)]), 1024, Scheme::Light);
    let pages = page.printed_pages();
    assert!((1..=2).contains(&pages), "{pages} pages");
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
