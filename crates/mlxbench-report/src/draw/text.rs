//! How wide words are, and where they are cut.

use crate::units::is_unprintable;

/// Width of `text` in pixels, in a wide sans-serif font of `size`: no font is at hand when an SVG
/// is drawn, so it is what DejaVu Sans, the widest of the usual ones, needs at most of the time.
pub(super) fn width(text: &str, size: i32) -> i32 {
    let units: f64 = text.chars().map(units).sum();
    (units * f64::from(size)).ceil() as i32
}

/// Width of a character in ems.
fn units(character: char) -> f64 {
    match character {
        'i' | 'j' | 'l' | '\'' | '|' => 0.29,
        ' ' | '.' | ',' | ':' | ';' | '/' | '(' | ')' | 'f' | 't' | 'r' | 'I' | '-' => 0.4,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.98,
        '+' | '±' | '=' | '×' | '<' | '>' => 0.84,
        character if character.is_ascii_uppercase() => 0.72,
        character if character.is_ascii() => 0.64,
        // CJK and emoji are squares.
        character if character as u32 >= 0x1100 => 1.05,
        _ => 0.7,
    }
}

/// `text` without what a drawing can't show, and with its end cut off where it needs more than
/// `room` pixels.
pub(super) fn cut(text: &str, room: i32, size: i32) -> String {
    let gap = |character: char| character.is_whitespace() || is_unprintable(character);
    let words = text.split(gap);
    let text: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let mut text = text.join(" ");
    let em = f64::from(size);
    let (mut units_so_far, mut end) = (0.0, 0);
    for (start, character) in text.char_indices() {
        // Where an ellipsis still fits behind what stands before.
        if (units_so_far * em).ceil() as i32 + width("…", size) <= room {
            end = start;
        }
        units_so_far += units(character);
        if (units_so_far * em).ceil() as i32 > room {
            text.truncate(text[..end].trim_end().len());
            text.push('…');
            return text;
        }
    }
    text
}

/// `text` in lines of at most `room` pixels, three at most, broken between words.
pub(super) fn wrapped(text: &str, room: i32, size: i32) -> Vec<String> {
    const MOST: usize = 3;
    let gap = |character: char| character.is_whitespace() || is_unprintable(character);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(gap).filter(|word| !word.is_empty()) {
        let full = lines.len() == MOST;
        match lines.last_mut() {
            Some(line) if full || width(&format!("{line} {word}"), size) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 60, 12), ["one two", "three"]);
        assert_eq!(wrapped("", 60, 12), [""; 0]);
        let long = wrapped(&"words ".repeat(99), 60, 12);
        assert!(long.len() == 3 && long[2].len() > 400, "{long:?}");
    }

    #[test]
    fn words_are_cut_to_their_room() {
        assert_eq!(cut("candle/cpu/f32", 200, 12), "candle/cpu/f32");
        let short = cut("candle/cpu/f32", 60, 12);
        assert!(short.ends_with('…') && width(&short, 12) <= 60, "{short}");
        assert_eq!(cut("a\nb\u{7}c", 100, 12), "a b c");
        assert_eq!(cut("anything", 0, 12), "…");
        // Some millions of characters are cut in no time.
        let long = cut(&"words ".repeat(1 << 20), 60, 12);
        assert!(width(&long, 12) <= 60, "{long}");
    }
}
