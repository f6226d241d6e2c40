//! What was measured, to download from the page.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use maud::{Markup, html};

use crate::{Digest, csv};

/// Bytes that all downloads of a page may take as text: a page that mail and issue trackers take.
const MOST: usize = 3 << 20;

/// Links to the results themselves and to a table of all repetitions.
pub(super) fn section(digests: &[Digest<'_>]) -> Markup {
    let each = MOST / digests.len().max(1);
    html! {
        section #raw {
            h2 { "Raw data" }
            p { "Every repetition of the results below is in this page. CSV has a line a repetition; a result file has the time of every token, and is what " code { "mlxbench report" } " reads." }
            ul.downloads {
                @let results: Vec<_> = digests.iter().map(|digest| digest.result.clone()).collect();
                li { (link("repetitions.csv", &csv::render(&results))) }
                @for digest in digests {
                    @let name = file_name(digest);
                    @let bytes = serde_json::to_vec(digest.result).unwrap_or_default();
                    @let packed = packed(&bytes);
                    li {
                        @if packed.len() <= each {
                            (anchor(&name, &packed, bytes.len()))
                        } @else {
                            (name) ": the times of single tokens are too many for a page; they are in the result file."
                        }
                    }
                }
            }
        }
    }
}

/// `gemma3-270m-20261123T170943Z.json`.
fn file_name(digest: &Digest<'_>) -> String {
    let run = &digest.result.run;
    let stem: String = run
        .name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    format!("{stem}-{}.json", run.started.strftime("%Y%m%dT%H%M%SZ"))
}

fn link(name: &str, bytes: &[u8]) -> Markup {
    anchor(name, &packed(bytes), bytes.len())
}

/// A link that holds its file, compressed. The script unpacks it on the way; without a script the
/// compressed file is what one gets.
fn anchor(name: &str, packed: &str, size: usize) -> Markup {
    html! {
        a download=(format!("{name}.gz")) data-name=(name) href=(format!("data:application/gzip;base64,{packed}")) {
            (name)
        }
        " (" (crate::units::bytes(size as u64)) ")"
    }
}

fn packed(bytes: &[u8]) -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("a Vec takes every write");
    STANDARD.encode(encoder.finish().expect("a Vec takes every write"))
}
