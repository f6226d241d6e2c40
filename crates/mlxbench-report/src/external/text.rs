//! A file's bytes as text, whatever the shell that wrote it made of what it was given.

use std::borrow::Cow;

/// UTF-16, by its byte order mark or by the zeros that ASCII leaves in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Utf16 {
    Little,
    Big,
}

/// Whether `bytes` are UTF-16, as Windows PowerShell's `>` and `Out-File` write text.
pub fn is_utf16(bytes: &[u8]) -> bool {
    utf16(bytes).is_some()
}

fn utf16(bytes: &[u8]) -> Option<Utf16> {
    match bytes {
        // Four bytes a character, which no shell writes.
        [0xff, 0xfe, 0, 0, ..] => None,
        [0xff, 0xfe, ..] => Some(Utf16::Little),
        [0xfe, 0xff, ..] => Some(Utf16::Big),
        // Without a mark: what we read begins in ASCII.
        [1..0x80, 0, 1..0x80, 0, ..] => Some(Utf16::Little),
        [0, 1..0x80, 0, 1..0x80, ..] => Some(Utf16::Big),
        _ => None,
    }
}

/// The text that `bytes` are in UTF-8 or UTF-16, without a byte order mark. What is neither becomes
/// U+FFFD.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let text = match utf16(bytes) {
        None => String::from_utf8_lossy(bytes),
        Some(order) => {
            let (pairs, rest) = bytes.as_chunks::<2>();
            let units = pairs.iter().map(|&pair| match order {
                Utf16::Little => u16::from_le_bytes(pair),
                Utf16::Big => u16::from_be_bytes(pair),
            });
            let characters = char::decode_utf16(units);
            let mut text: String = characters
                .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect();
            // A file that was cut within a character must not look whole.
            text.extend(rest.iter().map(|_| char::REPLACEMENT_CHARACTER));
            text.into()
        }
    };
    match text {
        Cow::Borrowed(text) => text.trim_start_matches('\u{feff}').into(),
        Cow::Owned(text) => match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.trim_start_matches('\u{feff}').to_owned().into(),
            None => text.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn each_order_is_read_with_a_mark_and_without() {
        for text in ["[{\"é\": 1}]\r\n", "\u{feff}[{\"é\": \"🦙\"}]"] {
            let plain = text.trim_start_matches('\u{feff}');
            assert_eq!(decode(text.as_bytes()), plain);
            assert_eq!(decode(&encoded(text, u16::to_le_bytes)), plain);
            assert_eq!(decode(&encoded(text, u16::to_be_bytes)), plain);
        }
    }

    #[test]
    fn a_file_cut_within_a_character_ends_in_a_replacement() {
        let bytes = encoded("\u{feff}ab", u16::to_le_bytes);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), "a\u{fffd}");
        let llama = encoded("\u{feff}a🦙", u16::to_le_bytes);
        assert_eq!(decode(&llama[..llama.len() - 2]), "a\u{fffd}");
    }

    #[test]
    fn what_is_short_or_no_text_is_left_to_others() {
        for bytes in [&b""[..], b"a", b"\0", b"a\0", b"\xff\xfe\0\0a\0\0\0"] {
            assert!(!is_utf16(bytes), "{bytes:?}");
            decode(bytes);
        }
        assert_eq!(decode(b"\xff\xfe"), "");
    }
}
