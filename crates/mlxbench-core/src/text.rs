//! Text that others wrote (workers, frameworks, files), made fit for messages and terminals, and how
//! a program tells its user something.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

/// Whether a character has no place in print: control characters, and those that turn the direction
/// of what follows, which could make a line say something else.
pub fn is_unprintable(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    // XML takes no U+FFFE and U+FFFF.
    turns || character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}')
}

/// `text` with an escape as JSON writes it, such as `\u001b`, in place of every character that acts on a
/// terminal instead of being shown: a JSON document stays the same document. Tabs and line breaks stay;
/// `\r\n` becomes a plain one.
pub fn printable(text: &str) -> Cow<'_, str> {
    let acts = |character: char| !matches!(character, '\n' | '\t') && is_unprintable(character);
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.replace("\r\n", "\n").chars() {
        match acts(character) {
            true => shown.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// Characters of a framework's or a worker's words that are quoted at most.
pub const QUOTED: usize = 4000;

/// A framework's or a worker's own words as part of a message: without backtraces, which say to a user
/// nothing but how deep he fell, [`printable`], and no longer than [`QUOTED`].
pub fn quotable(text: &str) -> String {
    let mut quoted = without_backtraces(text);
    if let Some((end, _)) = quoted.char_indices().nth(QUOTED) {
        let rest = quoted[end..].chars().count();
        quoted.truncate(end);
        quoted.push_str(&format!("… ({rest} more characters)"));
    }
    quoted
}

fn without_backtraces(text: &str) -> String {
    let mut backtraces = Backtraces::default();
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| backtraces.lets_through(line))
        .collect();
    let kept = kept.join("\n");
    match kept.trim() {
        // Nothing but a backtrace: its beginning is better than nothing.
        "" => printable(text.trim().lines().next().unwrap_or_default()).into_owned(),
        kept => printable(kept).into_owned(),
    }
}

/// Tells backtraces from other lines, line by line: those of libtorch (`Exception raised from f at
/// g.cpp:1 (most recent call first):`, `frame #0: ...`), of Rust (candle adds one to its errors under
/// `RUST_BACKTRACE=1`) and of Python.
#[derive(Debug, Default)]
pub struct Backtraces {
    within: Option<Trace>,
}

/// Whose backtrace.
#[derive(Debug, Clone, Copy)]
enum Trace {
    Libtorch,
    Rust,
    Python,
}

impl Backtraces {
    /// Whether the next line is none of a backtrace's.
    pub fn lets_through(&mut self, line: &str) -> bool {
        if let Some(trace) = Trace::begins(line) {
            self.within = Some(trace);
            return false;
        }
        if self.within.is_some_and(|trace| trace.goes_on(line)) {
            return false;
        }
        self.within = None;
        // What Rust says below a panic's message.
        let about = |hint: &str| line.starts_with("note: ") && line.contains(hint);
        !about("RUST_BACKTRACE")
    }
}

impl Trace {
    /// The backtrace that `line` is the first line of, or, where a beginning was lost, one of.
    fn begins(line: &str) -> Option<Self> {
        let words = line.trim();
        let is = |beginning: &str| words.starts_with(beginning);
        if is("Exception raised from ") || is("frame #") || is("C++ CapturedTraceback:") {
            Some(Self::Libtorch)
        } else if words == "stack backtrace:" || (is_indented(line) && number(words) == Some(0)) {
            Some(Self::Rust)
        } else if is("Traceback (most recent call last):") {
            Some(Self::Python)
        } else {
            None
        }
    }

    /// Whether `line` belongs to the backtrace that the line before it belonged to.
    fn goes_on(self, line: &str) -> bool {
        let words = line.trim();
        match self {
            Self::Libtorch => {
                // `frame #3: f + 0x1 (0x2 in lib.so)`, in newer ones `#3 f from g.cpp:1`.
                words.is_empty() || words.starts_with('#') || words.starts_with("<omitting")
            }
            // `   3: crate::function`, and below it `             at ./src/lib.rs:1:2`.
            Self::Rust => {
                is_indented(line) && (words.starts_with("at ") || number(words).is_some())
            }
            Self::Python => words.is_empty() || is_indented(line),
        }
    }
}

fn is_indented(line: &str) -> bool {
    line.starts_with([' ', '\t'])
}

/// The number of a frame of Rust's: `12: core::fmt`.
fn number(words: &str) -> Option<u32> {
    let (number, rest) = words.split_once(':')?;
    rest.starts_with(' ').then(|| number.parse().ok())?
}

/// Tells the user something: a line on stderr, [`printable`]. That nobody listens any more (a closed
/// pipe, a full disk) is no reason to stop the work.
pub fn tell(message: impl fmt::Display) {
    let line = format!("{message}\n");
    let _ = io::stderr().write_all(printable(&line).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_escaped_and_the_rest_stays() {
        assert_eq!(printable("a\tb\r\nc é 界\n"), "a\tb\nc é 界\n");
        assert!(matches!(printable("plain"), Cow::Borrowed(_)));
        assert_eq!(
            printable("\u{1b}[2Jx\r\u{7}\u{9b}y\u{202e}"),
            r"\u001b[2Jx\u000d\u0007\u009by\u202e"
        );
    }

    #[test]
    fn a_json_document_stays_the_same() {
        let document = serde_json::json!({"a\u{9b}": "\u{1b}\u{7f}\u{2066}\r\n"});
        let shown = printable(&document.to_string()).into_owned();
        assert!(!shown.contains(is_unprintable), "{shown:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            document
        );
    }

    #[test]
    fn libtorchs_backtrace_is_cut() {
        let said = "The size of tensor a (3) must match the size of tensor b (4)\n\
            Exception raised from infer_size_impl at ../aten/src/ATen/ExpandUtils.cpp:31 (most recent call first):\n\
            frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x9e (0x7f in libc10.so)\n\
            frame #1: <unknown function> + 0x1 (0x7f in libtorch_cpu.so)\n\
            <omitting python frames>\n\
            frame #2: main + 0x4 (0x5 in worker)\n\n\
            and this is said after it";
        let expected = "The size of tensor a (3) must match the size of tensor b (4)\n\
            and this is said after it";
        assert_eq!(quotable(said), expected);
        let newer = "CUDA error: out of memory\n\
            Exception raised from c10_cuda at CUDAException.cpp:43 (most recent call first):\n\
            C++ CapturedTraceback:\n\
            #4 std::_Function_handler<std::string ()> from Logging.cpp:0\n\
            #5 c10::Error::Error from ??:0\n";
        assert_eq!(quotable(newer), "CUDA error: out of memory");
    }

    #[test]
    fn candles_and_a_panics_backtrace_are_cut() {
        let candle = "shape mismatch in matmul, lhs: [1, 2], rhs: [3, 4]\n   \
            0: candle_core::error::Error::bt\n             at ./src/error.rs:260:25\n   \
            1: candle_core::tensor::Tensor::matmul\n  12: main\n";
        assert_eq!(
            quotable(candle),
            "shape mismatch in matmul, lhs: [1, 2], rhs: [3, 4]"
        );
        let panic = "thread 'main' panicked at src/main.rs:2:5:\nno such layer\nstack backtrace:\n   \
            0: rust_begin_unwind\n             at /rustc/1/library/std/src/panicking.rs:697:5\n\
            note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.\n";
        assert_eq!(
            quotable(panic),
            "thread 'main' panicked at src/main.rs:2:5:\nno such layer"
        );
    }

    #[test]
    fn of_pythons_traceback_the_exception_stays() {
        let said = "Traceback (most recent call last):\n  File \"worker.py\", line 3, in load\n    \
            model = open(folder)\n            ~~~~^^^^^^^^\nFileNotFoundError: no such folder\n";
        assert_eq!(quotable(said), "FileNotFoundError: no such folder");
    }

    #[test]
    fn what_only_looks_like_a_backtrace_stays() {
        for said in [
            "3 of 4 tensors differ:\n  1: model.norm.weight\n  2: lm_head.weight",
            "frames: 12",
            "0: not indented",
        ] {
            assert_eq!(quotable(said), said);
        }
        let nothing_else =
            "Exception raised from f at g.cpp:1 (most recent call first):\nframe #0: h";
        let kept = "Exception raised from f at g.cpp:1 (most recent call first):";
        assert_eq!(quotable(nothing_else), kept);
        assert_eq!(quotable(""), "");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left_and_nothing_printable_is_lost(text in any::<String>()) {
            let shown = printable(&text).into_owned();
            prop_assert!(shown.chars().all(|c| matches!(c, '\n' | '\t') || !is_unprintable(c)));
            let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
            prop_assert!(letters(&shown) >= letters(&text));
            quotable(&text);
        }
    }
}
