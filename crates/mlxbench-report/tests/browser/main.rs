//! Pages in a real browser. `scripts/test` runs these tests; by hand, with screenshots:
//!
//! ```console
//! $ MLXBENCH_BROWSER="$(scripts/browser)" MLXBENCH_SCREENSHOTS="$PWD/target/screenshots" \
//!       cargo test --release --workspace --test browser -- --ignored
//! ```
#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod devtools;
#[path = "../report/matrices.rs"]
mod matrices;
mod page;
mod reports;
#[path = "../report/support.rs"]
mod support;
mod trials;

use page::{Page, Scheme};

/// A page without faults, with `extra` in it.
fn page(extra: &str) -> String {
    format!(
        r##"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>A page</title>
<style>
:root {{ color-scheme: light dark; color: #111; background: #fff }}
@media (prefers-color-scheme: dark) {{ :root {{ color: #eee; background: #111 }} }}
svg text {{ font: 12px sans-serif; fill: currentColor }}
.scroll {{ overflow-x: auto }}
.hidden {{ position: absolute; width: 1px; height: 1px; overflow: hidden; white-space: nowrap }}
</style>
<main>
<h1>A page</h1>
<p>Some words, <span class="hidden">unseen ones as well,</span> and a drawing.</p>
<div class="scroll" tabindex="0"><table><tr><td><div style="width: 900px; text-align: right">A wide table that scrolls</div></table></div>
<svg role="img" aria-label="A drawing" width="200" height="100">
<text x="10" y="20">over</text><text x="10" y="40">under</text>
<text transform="translate(60 90) rotate(-45)">tilted</text>
<text transform="translate(80 90) rotate(-45)">beside it</text>
</svg>
<img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">
{extra}
</main>
</html>"##
    )
}

/// The findings on the good page with `extra` in it, at 320 px.
fn findings(extra: &str) -> Vec<String> {
    Page::open(&page(extra), 320, Scheme::Light).findings()
}

/// Whether there is one finding, and it has all these words.
#[track_caller]
fn assert_one(findings: &[String], words: &[&str]) {
    let [finding] = findings else {
        panic!("not one finding: {findings:#?}")
    };
    for word in words {
        assert!(finding.contains(word), "no `{word}` in: {finding}");
    }
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_good_page_has_no_findings() {
    for (width, scheme) in [
        (320, Scheme::Light),
        (320, Scheme::Dark),
        (1280, Scheme::Light),
    ] {
        let name = format!("good-{width}-{scheme:?}");
        Page::open(&page(""), width, scheme).assert_good(&name);
    }
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn the_page_gets_the_width_and_the_scheme_asked_for() {
    let mut page = Page::open(&page(""), 777, Scheme::Dark);
    assert_eq!(page.evaluate("innerWidth"), 777);
    assert_eq!(
        page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches"),
        true
    );
    assert_eq!(page.evaluate("Promise.resolve({a: [1]})")["a"][0], 1);
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn words_on_the_console_are_found() {
    let found = findings(
        "<script>console.log('fine'); console.error('a', 1); console.warn('b'); null.x</script>",
    );
    assert_eq!(found[..2], ["console error: a 1", "console warning: b"]);
    assert_one(&found[2..], &["uncaught: TypeError", "null"]);
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn requests_are_found() {
    let mut page = Page::open(
        &page(r#"<img alt="" src="http://127.0.0.1:9/x.png">"#),
        320,
        Scheme::Light,
    );
    assert_one(&page.requests(), &["http://127.0.0.1:9/x.png"]);
    assert_one(&page.errors(), &["browser error", "ERR_"]);
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn low_contrast_is_found() {
    let found = findings(r#"<p style="background: #fff; color: #bbb">pale</p>"#);
    assert_one(&found, &["axe color-contrast", "p", "1.9"]);
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn contrast_in_the_dark_is_found_in_the_dark_only() {
    let page = page(r#"<p style="color: #595959">dim</p>"#);
    assert_eq!(Page::open(&page, 320, Scheme::Light).axe(), [""; 0]);
    assert_one(
        &Page::open(&page, 320, Scheme::Dark).axe(),
        &["axe color-contrast"],
    );
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn overlapping_texts_of_a_drawing_are_found() {
    let svg = |transform: &str| {
        format!(
            r#"<svg role="img" aria-label="two" width="200" height="60">
<text x="10" y="30">one text</text><text class="label" transform="{transform}">another</text></svg>"#
        )
    };
    assert_one(
        &findings(&svg("translate(30 35)")),
        &[
            "overlap:",
            r#"<text> "one text""#,
            r#"<text.label> "another""#,
        ],
    );
    assert_one(
        &findings(&svg("translate(30 55) rotate(-45)")),
        &["overlap:"],
    );
    assert_eq!(findings(&svg("translate(70 55) rotate(-45)")), [""; 0]);
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn texts_that_are_cut_off_are_found() {
    assert_one(
        &findings(
            r#"<svg role="img" aria-label="a" width="60" height="40"><text x="30" y="20">outside</text></svg>"#,
        ),
        &["clipped:", "outside", "<svg>", "right"],
    );
    assert_one(
        &findings(
            r#"<div style="width: 5em; overflow: hidden; white-space: nowrap">far too long for it</div>"#,
        ),
        &["clipped:", "far too long", "<div>", "right"],
    );
    assert_one(
        &findings(r#"<p style="margin-left: -3em">begins too early</p>"#),
        &["clipped:", "<html>", "left"],
    );
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_page_wider_than_its_window_is_found() {
    let wide = r#"<div id="wide" style="width: 400px">wide</div>"#;
    assert_one(
        &findings(wide),
        &["overflow:", "in a window of 320 px", "<div#wide>"],
    );
    assert_eq!(
        Page::open(&page(wide), 640, Scheme::Light).findings(),
        [""; 0]
    );
}
