//! What files of a kind look like.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use mlxbench_report::{Picture, Written};

/// How much of a file shows that it is no text.
const HEAD: usize = 4096;

/// The longest header that a file of logits may have.
const MOST_HEADER: u64 = 1 << 16;

/// A kind of file that a command writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A report, a comparison or a chart.
    Report(Written),
    /// What `generate --logits` writes.
    Logits,
    /// Markdown that others write as well, and that is added to.
    Summary,
}

impl Kind {
    /// What a file of this kind is to people.
    pub(super) fn name(self) -> String {
        let ours = |name| format!("{name} that mlxbench wrote");
        match self {
            Self::Report(written) => ours(written.name()),
            Self::Logits => ours("a file of logits"),
            Self::Summary => "Markdown".into(),
        }
    }

    /// Whether the file at `path` is an earlier one of this kind, or empty.
    pub(super) fn wrote(self, path: &Path) -> io::Result<bool> {
        let mut file = File::open(path)?;
        let mut head = Vec::new();
        file.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        if head.is_empty() {
            return Ok(true);
        }
        if self == Self::Logits {
            return Ok(is_logits(&head));
        }
        // Weights may be too large to be read for this.
        let is_picture = self == Self::Report(Written::Chart(Picture::Png));
        if head.contains(&0) && !is_picture {
            return Ok(false);
        }
        let bytes = fs::read(path)?;
        Ok(match self {
            Self::Report(written) => written.wrote(&bytes),
            Self::Summary => is_markdown(path, &bytes),
            Self::Logits => false,
        })
    }
}

/// Whether a file begins as safetensors with one tensor, of `logits`.
fn is_logits(head: &[u8]) -> bool {
    let Some((length, rest)) = head.split_first_chunk() else {
        return false;
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length.min(MOST_HEADER)).ok();
    let header = header
        .and_then(|length| rest.get(..length))
        .unwrap_or_default();
    let names: Result<serde_json::Map<String, serde_json::Value>, _> =
        serde_json::from_slice(header);
    names.is_ok_and(|names| names.keys().all(|name| name == "logits") && names.len() == 1)
}

/// Whether Markdown may be added to a text: not to what a program reads in another format.
fn is_markdown(path: &Path, bytes: &[u8]) -> bool {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    if !matches!(ending.as_deref(), None | Some("md" | "markdown" | "txt")) {
        return false;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let begins = |begin: &str| text.trim_start().starts_with(begin);
    let is_json = begins("{") || serde_json::from_str::<serde_json::Value>(text).is_ok();
    let is_toml = toml::from_str::<toml::Table>(text).is_ok_and(|table| !table.is_empty());
    let is_other = ["#!", "<?xml", "<!DOCTYPE", "<svg"].into_iter().any(begins);
    !is_json && !is_toml && !is_other
}

#[cfg(test)]
mod tests {
    use mlxbench_core::logits_file::LogitsWriter;

    use super::*;

    #[track_caller]
    fn wrote(kind: Kind, name: &str, bytes: &[u8]) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        kind.wrote(&path).unwrap()
    }

    #[test]
    fn logits_are_known_by_their_only_tensor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logits.safetensors");
        let mut writer = LogitsWriter::create(&path, 5000).unwrap();
        writer.push(&[1.0; 5000]).unwrap();
        writer.finish().unwrap();
        assert!(Kind::Logits.wrote(&path).unwrap());
        let weights = fs::read(&path).unwrap();
        let weights = weights
            .iter()
            .map(|byte| if *byte == b'g' { b'q' } else { *byte });
        assert!(!wrote(
            Kind::Logits,
            "model.safetensors",
            &weights.collect::<Vec<_>>()
        ));
        for other in [&b"name = 1"[..], b"{}", &[0xff; 200], &[0; 200]] {
            assert!(!wrote(Kind::Logits, "x", other), "{other:?}");
        }
    }

    #[test]
    fn markdown_is_added_to_and_nothing_else() {
        for text in [
            "",
            "# Notes\n",
            "<details>\n",
            "[a](b)\n",
            "```toml\na = 1\n```\n",
            "# only a heading",
        ] {
            assert!(
                wrote(Kind::Summary, "step_summary", text.as_bytes()),
                "{text}"
            );
        }
        for text in [
            "name = \"x\"\n",
            "[model]\nsource = \"m\"\n",
            "{\"a\": ",
            "[1]",
            "#!/bin/sh\n",
            "<?xml ?>",
            "a\0b",
        ] {
            assert!(
                !wrote(Kind::Summary, "step_summary", text.as_bytes()),
                "{text}"
            );
        }
        assert!(!wrote(Kind::Summary, "my.toml", b"half = [\n"));
        assert!(wrote(Kind::Summary, "my.toml", b""));
    }
}
