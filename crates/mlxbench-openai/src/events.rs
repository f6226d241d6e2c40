//! Server-sent events, as far as the API uses them: the data of each, comments left out.

use std::io::{self, BufRead, Read};

/// Bytes of a line at most, and of the data of an event before its last line.
const LINE: u64 = 1 << 22;

/// Reads events from a body.
pub(crate) struct Events<R> {
    body: R,
}

impl<R: BufRead> Events<R> {
    pub(crate) fn new(body: R) -> Self {
        Self { body }
    }

    /// The data of the next event; `None` at the end of the body. What is no field of an event is an event of its own,
    /// so that whoever reads it can say so.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut data: Option<Vec<u8>> = None;
        loop {
            let mut line = Vec::new();
            let read = self.body.by_ref().take(LINE).read_until(b'\n', &mut line)?;
            let text = line.trim_ascii_end();
            match (read, text) {
                (0, _) => return Ok(data),
                (_, []) if data.is_some() => return Ok(data),
                (_, [] | [b':', ..]) => {}
                (_, text) => match field(text) {
                    Some((b"data", value)) => match &mut data {
                        None => data = Some(value.to_vec()),
                        Some(data) if data.len() as u64 > LINE => {
                            return Err(io::Error::other("an event of the stream doesn't end"));
                        }
                        Some(data) => {
                            data.push(b'\n');
                            data.extend_from_slice(value);
                        }
                    },
                    Some((b"event" | b"id" | b"retry", _)) => {}
                    _ => return Ok(Some(text.to_vec())),
                },
            }
        }
    }
}

/// A line's name and value.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let value = &line[colon + 1..];
    Some((&line[..colon], value.strip_prefix(b" ").unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(body: &str) -> Vec<String> {
        let mut events = Events::new(body.as_bytes());
        let events = std::iter::from_fn(|| events.next().unwrap());
        events
            .map(|data| String::from_utf8(data).unwrap())
            .collect()
    }

    #[test]
    fn data_is_what_stands_behind_its_name_up_to_an_empty_line() {
        assert_eq!(
            all("data: a\n\ndata:b\r\n\r\ndata: c\ndata: d\n\n"),
            ["a", "b", "c\nd"]
        );
    }

    #[test]
    fn comments_and_other_fields_are_left_out() {
        let body = ": keepalive 1/512\n\n: again\n\nevent: x\nid: 7\ndata: a\n\n";
        assert_eq!(all(body), ["a"]);
    }

    #[test]
    fn the_last_event_may_lack_its_empty_line() {
        assert_eq!(all("data: a\n\ndata: [DONE]"), ["a", "[DONE]"]);
    }

    #[test]
    fn what_is_no_event_is_handed_on() {
        assert_eq!(all("<!doctype html>\n<p>"), ["<!doctype html>", "<p>"]);
    }
}
