//! A page in a browser, and what can be wrong with it.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::devtools::Browser;

const LAYOUT: &str = include_str!("layout.js");
/// Of the window, in CSS pixels.
const HEIGHT: u32 = 800;
/// Resolves when what was changed before has been laid out and drawn.
const TWO_FRAMES: &str = "new Promise(done =>
    requestAnimationFrame(() => requestAnimationFrame(() => done())))";

/// The `prefers-color-scheme` of whoever looks at the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

/// A page that has been loaded. The findings are sentences; none is fine.
pub(crate) struct Page {
    browser: Browser,
    url: String,
    width: u32,
    _folder: TempDir,
}

impl Page {
    /// Opens `html` as a file in a window that is `width` CSS pixels wide.
    pub(crate) fn open(html: &str, width: u32, scheme: Scheme) -> Self {
        // Not in /tmp: a Chromium from a snap has one of its own.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = folder.path().join("page.html");
        std::fs::write(&file, html).unwrap();
        let url = format!("file://{}", file.display());

        let mut browser = Browser::start();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let size =
            json!({"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": false});
        browser.call("Emulation.setDeviceMetricsOverride", size);
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        browser.call("Emulation.setEmulatedMedia", media);
        browser.call("Page.navigate", json!({"url": url}));
        browser.wait_for("Page.loadEventFired");
        let mut page = Self {
            browser,
            url,
            width,
            _folder: folder,
        };
        // Fonts change the layout, and scripts may wait for the first frames.
        page.evaluate(&format!("document.fonts.ready.then(() => {TWO_FRAMES})"));
        page
    }

    /// The value of a JavaScript expression; of a promise, what it resolves to.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let expression =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.browser.call("Runtime.evaluate", expression);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "the script failed: {}", exception(thrown));
        answer["result"]["value"].take()
    }

    /// Errors and warnings on the console, uncaught exceptions, and what the browser itself reports.
    pub(crate) fn errors(&mut self) -> Vec<String> {
        self.events(|event| {
            let params = &event["params"];
            match text(&event["method"]) {
                "Runtime.exceptionThrown" => Some(format!(
                    "uncaught: {}",
                    exception(&params["exceptionDetails"])
                )),
                "Runtime.consoleAPICalled" => {
                    let level = text(&params["type"]);
                    let words = params["args"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|argument| {
                            let value = argument.get("value").or(argument.get("description"));
                            value.map_or_else(|| argument.to_string(), plain)
                        });
                    ["error", "warning", "assert"].contains(&level).then(|| {
                        format!("console {level}: {}", words.collect::<Vec<_>>().join(" "))
                    })
                }
                "Log.entryAdded" => {
                    let entry = &params["entry"];
                    let level = text(&entry["level"]);
                    ["error", "warning"].contains(&level).then(|| {
                        format!(
                            "browser {level}: {} {}",
                            text(&entry["text"]),
                            text(&entry["url"])
                        )
                    })
                }
                _ => None,
            }
        })
    }

    /// What was asked of the network or the disk, but for the page itself.
    pub(crate) fn requests(&mut self) -> Vec<String> {
        let page = self.url.clone();
        self.events(|event| {
            let url = match text(&event["method"]) {
                "Network.requestWillBeSent" => text(&event["params"]["request"]["url"]),
                "Network.webSocketCreated" => text(&event["params"]["url"]),
                _ => return None,
            };
            let inside = url == page || url.starts_with("data:") || url.starts_with("blob:");
            (!inside).then(|| format!("request: {url}"))
        })
    }

    /// The rules of accessibility that axe-core finds broken, one line an element.
    pub(crate) fn axe(&mut self) -> Vec<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.native/browser/axe.min.js");
        let script = std::fs::read_to_string(&script)
            .unwrap_or_else(|error| panic!("{}: {error}: run scripts/browser", script.display()));
        self.evaluate(&format!("{script}; undefined"));
        // `preload` would make requests, which are not the page's.
        self.sentences(
            "axe.run(document, {resultTypes: ['violations'], preload: false}).then(result =>
                result.violations.flatMap(rule => rule.nodes.map(node =>
                    `axe ${rule.id}: ${rule.help}: ${node.target.flat().join(' ')}: ` +
                    (node.failureSummary ?? '').replace(/\\s+/g, ' '))))",
        )
    }

    /// What makes the page wider than its window.
    pub(crate) fn overflowing(&mut self) -> Vec<String> {
        self.sentences(&format!("({LAYOUT}).overflowing()"))
    }

    /// Texts that lie outside of their drawing, or outside of what a box shows or can be scrolled to.
    pub(crate) fn clipped(&mut self) -> Vec<String> {
        self.sentences(&format!("({LAYOUT}).clipped()"))
    }

    /// Pairs of texts of one drawing that lie on each other by more than a pixel.
    pub(crate) fn overlapping(&mut self) -> Vec<String> {
        self.sentences(&format!("({LAYOUT}).overlapping()"))
    }

    /// All of the above.
    pub(crate) fn findings(&mut self) -> Vec<String> {
        // axe last: it is the only one that adds to the page.
        [
            Self::errors,
            Self::requests,
            Self::overflowing,
            Self::clipped,
            Self::overlapping,
            Self::axe,
        ]
        .into_iter()
        .flat_map(|check| check(self))
        .collect()
    }

    /// Panics with all findings; saves a screenshot `name` first, so that it is there to look at.
    pub(crate) fn assert_good(&mut self, name: &str) {
        self.screenshot(name);
        let findings = self.findings();
        assert!(
            findings.is_empty(),
            "{name}: {} findings:\n{}",
            findings.len(),
            findings.join("\n")
        );
    }

    /// Saves the whole page as `$MLXBENCH_SCREENSHOTS/<name>.png`, if that folder is set.
    pub(crate) fn screenshot(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("MLXBENCH_SCREENSHOTS").map(PathBuf::from) else {
            return;
        };
        let size = &self.browser.call("Page.getLayoutMetrics", json!({}))["cssContentSize"];
        let height = size["height"].as_f64().unwrap().ceil();
        // A window as high as the page: beyond the window, boxes that scroll come out empty.
        self.resize(height as u32);
        let image = self
            .browser
            .call("Page.captureScreenshot", json!({"format": "png"}));
        self.resize(HEIGHT);
        std::fs::create_dir_all(&folder).unwrap();
        let image = BASE64_STANDARD.decode(text(&image["data"])).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), image).unwrap();
    }

    /// How many sheets of A4 it is printed on.
    pub(crate) fn printed_pages(&mut self) -> usize {
        let paper = json!({"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": true,
            "preferCSSPageSize": true});
        let printed = self.browser.call("Page.printToPDF", paper);
        let pdf = BASE64_STANDARD.decode(text(&printed["data"])).unwrap();
        if let Some(folder) = std::env::var_os("MLXBENCH_SCREENSHOTS").map(PathBuf::from) {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("printed.pdf"), &pdf).unwrap();
        }
        let page = b"/Type /Page\n";
        pdf.windows(page.len())
            .filter(|bytes| bytes == page)
            .count()
    }

    fn resize(&mut self, height: u32) {
        let size =
            json!({"width": self.width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.browser
            .call("Emulation.setDeviceMetricsOverride", size);
        self.evaluate(TWO_FRAMES);
    }

    fn sentences(&mut self, expression: &str) -> Vec<String> {
        serde_json::from_value(self.evaluate(expression)).unwrap()
    }

    fn events(&mut self, finding: impl Fn(&Value) -> Option<String>) -> Vec<String> {
        // Whatever was sent before the answer to this has arrived with it.
        self.evaluate("0");
        self.browser.events.iter().filter_map(finding).collect()
    }
}

fn exception(details: &Value) -> String {
    let thrown = &details["exception"];
    let value = thrown.get("description").or(thrown.get("value"));
    value.map_or_else(|| plain(&details["text"]), plain)
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), String::from)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
