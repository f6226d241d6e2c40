//! Where the entries are in what llama-bench printed: among its own log, in one array, in several,
//! or one a line.
//!
//! llama-bench writes its entries to stdout and everything else to stderr, and many a file holds both.
//! So a line that is no JSON is passed over, before, between and after the entries; but what can only be
//! a piece of an entry or of an array is a fault, for then something was lost.

use serde_json::{Map, Value};

use super::{MARK, is_entry};
use crate::external::Fault;

/// The entries of `text`, in their order.
pub(super) fn entries(text: &str) -> Result<Vec<Map<String, Value>>, Fault> {
    let mut reader = Reader {
        text,
        at: 0,
        open: false,
        entries: Vec::new(),
    };
    while reader.at < text.len() {
        reader.step()?;
    }
    match reader.open {
        true => Err(reader.fault(text.len(), MORE)),
        false => Ok(reader.entries),
    }
}

/// What a file lacks that was cut short.
const MORE: &str = "more JSON after the end of the file";

struct Reader<'a> {
    text: &'a str,
    /// What is read next.
    at: usize,
    /// Whether an array is open.
    open: bool,
    entries: Vec<Map<String, Value>>,
}

impl Reader<'_> {
    /// Reads an object, or the line that begins here.
    fn step(&mut self) -> Result<(), Fault> {
        let rest = &self.text[self.at..];
        // A progress bar's carriage return ends a line, too.
        let line = rest.split_inclusive(['\n', '\r']).next().unwrap_or(rest);
        let is_between = |c: char| c.is_whitespace() || matches!(c, '[' | ']' | ',');
        let Some(start) = line.find(|c| !is_between(c)) else {
            return self.pass_between(line.len());
        };
        let content = &rest[start..];
        if content.starts_with('{') && begins_object(content) {
            self.pass_between(start)?;
            return self.object(content);
        }
        // A log doesn't begin a line so; an entry of which the beginning is missing does.
        if content.starts_with(['"', '}']) || line.contains(MARK) {
            return Err(self.fault(self.at + start, "JSON"));
        }
        // Behind an entry, brackets are the array's; at the beginning of a line they are the log's own.
        let begins_line = self.at == 0 || self.text[..self.at].ends_with(['\n', '\r']);
        let end = self.at + line.len();
        if !begins_line {
            self.pass_between(start)?;
        }
        self.at = end;
        Ok(())
    }

    /// Passes over `length` bytes of white space, brackets and commas.
    fn pass_between(&mut self, length: usize) -> Result<(), Fault> {
        let end = self.at + length;
        for (place, character) in self.text[self.at..end].char_indices() {
            let opens = match character {
                '[' => true,
                ']' => false,
                _ => continue,
            };
            if self.open == opens {
                return Err(self.fault(self.at + place, "JSON"));
            }
            self.open = opens;
        }
        self.at = end;
        Ok(())
    }

    /// Reads the object at the beginning of `content`. Others than entries are of a log that is JSON.
    fn object(&mut self, content: &str) -> Result<(), Fault> {
        let mut values = serde_json::Deserializer::from_str(content).into_iter();
        let read: Option<Result<Map<String, Value>, serde_json::Error>> = values.next();
        match read {
            Some(Ok(keys)) => {
                self.at += values.byte_offset();
                if is_entry(&keys) {
                    self.entries.push(keys);
                }
                Ok(())
            }
            Some(Err(error)) => {
                let (line, column) = self.place(self.at);
                let column = match error.line() {
                    1 => column - 1 + error.column(),
                    _ => error.column(),
                };
                let place = format!("line {}, column {column}", line - 1 + error.line());
                Err(Fault::new(
                    place,
                    if error.is_eof() { MORE } else { "JSON" },
                ))
            }
            None => Err(self.fault(self.at, MORE)),
        }
    }

    /// Line and column of a byte, counted from 1.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, at - line_start + 1)
    }

    fn fault(&self, at: usize, expected: &str) -> Fault {
        let (line, column) = self.place(at);
        Fault::new(format!("line {line}, column {column}"), expected)
    }
}

/// Whether `{...` can be an object of JSON: a log may well begin with a brace.
fn begins_object(text: &str) -> bool {
    let inside = text[1..].trim_start();
    inside.is_empty() || inside.starts_with(['"', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Result<Vec<u64>, String> {
        let entries =
            entries(text).map_err(|Fault { place, expected }| format!("{place}: {expected}"))?;
        let number = |keys: &Map<String, Value>| keys.get("n_gen").and_then(Value::as_u64);
        Ok(entries.iter().filter_map(number).collect())
    }

    #[test]
    fn a_log_around_and_between_the_entries_is_passed_over() {
        let text = "warning: asserts enabled\n[INFO] {cuda} init\n[\n  Device 0: {0x1}\n{\"n_gen\": 1},\n\
                    llama-bench: benchmark 2/2: starting\r{\"n_gen\": 2}\n| a | table |\n]\n\nbuild: abc (1)\n";
        assert_eq!(numbers(text), Ok(vec![1, 2]));
        assert_eq!(
            numbers("{\"level\": \"info\"}\n{\"n_gen\": 3}{\"n_gen\": 4}"),
            Ok(vec![3, 4])
        );
        assert_eq!(
            numbers("[{\"n_gen\": 5}, {\"n_gen\": 6}]done"),
            Ok(vec![5, 6])
        );
    }

    #[test]
    fn what_was_lost_is_said() {
        for (text, fault) in [
            ("[\n{\"n_gen\": 1},\n", "line 3, column 1: more JSON"),
            (
                "[{\"n_gen\": 1}, {\"n_gen\"",
                "line 1, column 23: more JSON",
            ),
            ("\"n_depth\": 0}\n{\"n_gen\": 1}]", "line 1, column 1: JSON"),
            ("}\n{\"n_gen\": 1}\n", "line 1, column 1: JSON"),
            ("{\"n_gen\": 1}\n]", "line 2, column 1: JSON"),
            ("log {\"model_filename\": 1}", "line 1, column 1: JSON"),
            ("[[{\"n_gen\": 1}]", "line 1, column 2: JSON"),
            ("\n  {\"n_gen\": x}", "line 2, column 13: JSON"),
        ] {
            let found = numbers(text).unwrap_err();
            assert!(found.starts_with(fault), "{text}: {found}");
        }
    }
}
