//! The small JSON files of a model folder, whatever editor or shell wrote them: UTF-8 with or without a
//! byte order mark, or UTF-16; and what is wrong with one, in words.

use std::path::Path;

use crate::{Error, Result};

/// The largest text file of a model folder that is read; real ones have some kilobytes, the index of
/// the largest model some megabytes.
const MOST_TEXT_BYTES: u64 = 64 << 20;

/// The text of a small file of a model folder.
///
/// # Errors
/// When it can't be read, is no text, or is far larger than any such file.
pub fn read_text(path: &Path) -> Result<String> {
    let io = |error| Error::io(path, error);
    let bytes = std::fs::metadata(path).map_err(io)?.len();
    if bytes > MOST_TEXT_BYTES {
        return Err(Error::model(
            path,
            format!("{bytes} bytes long: a file of this name has some kilobytes"),
        ));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    decode(&bytes).map_err(|message| Error::model(path, message))
}

/// The text that `bytes` are, without a byte order mark.
fn decode(bytes: &[u8]) -> Result<String, String> {
    let units = |of: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| of(*pair)).collect();
        match (String::from_utf16(&units), rest) {
            (Ok(text), []) => Ok(text),
            _ => Err("UTF-16 that is broken or cut short: save it as UTF-8".to_owned()),
        }
    };
    // JSON begins with two characters of ASCII, so that zeros tell UTF-16 without a mark, too.
    let text = match bytes {
        [0xff, 0xfe, ..] | [1..=255, 0, ..] => units(u16::from_le_bytes)?,
        [0xfe, 0xff, ..] | [0, 1..=255, ..] => units(u16::from_be_bytes)?,
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                let byte = error.valid_up_to();
                return Err(format!(
                    "byte {byte} isn't UTF-8, which JSON is written in: save it as UTF-8"
                ));
            }
        },
    };
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// What is wrong with `text`, which is no JSON by `error`: in words and with its place.
pub(crate) fn explain(text: &str, error: &serde_json::Error) -> String {
    if text
        .trim_matches(|c: char| c.is_whitespace() || c == '\0')
        .is_empty()
    {
        return "the file is empty: fetch it again".to_owned();
    }
    if text.starts_with("version https://git-lfs") {
        return "a pointer of Git LFS, not the file itself: run `git lfs pull`, or fetch it again"
            .to_owned();
    }
    if text.trim_start().starts_with('<') {
        return "a web page, not JSON: fetch the file itself".to_owned();
    }
    let line = text.lines().nth(error.line().saturating_sub(1));
    match line.and_then(|line| mistake(line, error.column())) {
        Some(mistake) => format!("line {}: {mistake}", error.line()),
        None => format!("not JSON: {error}"),
    }
}

/// What stands at the column (from 1) of a line at which a reader of JSON gave up, if it is a mistake
/// that people and programs make.
fn mistake(line: &str, column: usize) -> Option<String> {
    // The reader may have gone into the word or stopped before it.
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let at = column.saturating_sub(1).min(line.len());
    let before = line.get(..at)?;
    let start = before.trim_end_matches(is_word).len();
    let rest = line.get(start..)?;
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let word = &rest[..end];
    match word {
        "NaN" | "-NaN" | "nan" | "Infinity" | "-Infinity" | "inf" | "-inf" => Some(format!(
            "`{word}`, which Python writes, is no number of JSON: write a number or null"
        )),
        "True" | "False" | "None" => {
            Some(format!("`{word}` is Python: JSON has true, false and null"))
        }
        _ if ["//", "/*", "#"]
            .iter()
            .any(|mark| rest.starts_with(mark) || before.trim_start().starts_with(mark)) =>
        {
            Some("a comment, which JSON doesn't have: remove it".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_in_every_encoding_that_editors_write() {
        let text = "{\"a\": \"é\"}";
        let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let marked = format!("\u{feff}{text}");
        let encoded: [Vec<u8>; 6] = [
            text.into(),
            marked.clone().into(),
            little(text),
            little(&marked),
            big(text),
            big(&marked),
        ];
        for bytes in encoded {
            assert_eq!(decode(&bytes).unwrap(), text);
        }
        assert_eq!(decode(b"").unwrap(), "");
        assert!(decode(b"{\"a\": \"\xe9\"}").unwrap_err().contains("byte 7"));
        assert!(decode(b"\xff\xfe{\0\"").unwrap_err().contains("UTF-16"));
    }

    fn explained(text: &str) -> String {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
        explain(text, &parsed.unwrap_err())
    }

    #[test]
    fn what_people_write_is_told_in_words() {
        for (text, expected) in [
            ("", "the file is empty"),
            (" \n", "the file is empty"),
            ("\0\0\0", "the file is empty"),
            ("// x\n{}", "line 1: a comment"),
            ("{\n  # x\n}", "line 2: a comment"),
            ("{\"a\": 1, /* x */ \"b\": 2}", "line 1: a comment"),
            ("{\"a\": 1 // x\n}", "line 1: a comment"),
            ("{\"a\":\n NaN}", "line 2: `NaN`"),
            ("{\"a\": -Infinity, \"b\": 1}", "line 1: `-Infinity`"),
            ("[Infinity]", "line 1: `Infinity`"),
            ("{\"a\": nan}", "line 1: `nan`"),
            ("{\"a\": True}", "line 1: `True`"),
            ("<html>", "a web page"),
            (
                "version https://git-lfs.github.com/spec/v1\n",
                "git lfs pull",
            ),
            ("{\"a\": 1,}", "not JSON: trailing comma at line 1"),
            ("{\"a\": \"NaN\" 1}", "not JSON: expected"),
        ] {
            let told = explained(text);
            assert!(
                told.starts_with(expected) || told.contains(expected),
                "{text:?}: {told}"
            );
        }
    }
}
