//! Zeros where weights should be: what a download leaves behind that reserved the whole file's room
//! first and was cut short. Such a file has its length and its header, and would compute nonsense.
//!
//! Costs next to nothing: of a tensor that is whole only the last bytes are looked at.

/// How much of a tensor's end is looked at first.
const END_BYTES: usize = 1024;
/// How much is looked at a time.
const BLOCK_BYTES: usize = 64 << 10;

/// What zeros in a tensor mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeros {
    /// Nothing: a norm that multiplies by `1 + w`, a bias and what isn't run may be all zeros.
    Legal,
    /// Rows of so many bytes, none of which is all zeros: a projection's.
    NoRow(usize),
    /// As [`Zeros::NoRow`] at the file's end; else it may be all zeros: a layer that was added to a model
    /// and not trained yet writes nothing into the residual stream.
    NoRowAtEnd(usize),
    /// All or half of it isn't zeros: the last rows of a table of tokens may be padding.
    NotHalf,
}

impl Zeros {
    /// Whether a tensor of zeros is none of a model's, wherever it lies.
    fn cannot_be_all(self) -> bool {
        matches!(self, Self::NoRow(_) | Self::NotHalf)
    }

    /// What they mean in a tensor of this name and shape, in the Hugging Face layout.
    pub fn of(name: &str, shape: &[usize], element_bytes: usize) -> Self {
        match shape {
            [] | [_] => Self::Legal,
            _ if name.contains("embed") || name.ends_with("lm_head.weight") => Self::NotHalf,
            [_, row @ ..] => {
                let row = row.iter().product::<usize>() * element_bytes;
                match ["o_proj.weight", "down_proj.weight"]
                    .iter()
                    .any(|end| name.ends_with(end))
                {
                    true => Self::NoRowAtEnd(row),
                    false => Self::NoRow(row),
                }
            }
        }
    }
}

/// A tensor of a file.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Where they begin in the file.
    pub start: usize,
    /// What zeros in it mean.
    pub zeros: Zeros,
}

/// Why a file with these tensors looks as if its download was cut short: a sentence that says what to
/// do, or `None` where it doesn't look so.
pub fn cut_short(tensors: &[Stretch<'_>]) -> Option<String> {
    let mut by_place: Vec<&Stretch<'_>> = tensors
        .iter()
        .filter(|tensor| !tensor.bytes.is_empty())
        .collect();
    by_place.sort_unstable_by_key(|tensor| tensor.start);
    let hollow = by_place
        .iter()
        .find(|tensor| tensor.zeros.cannot_be_all() && all_zeros(tensor.bytes));
    if let Some(tensor) = hollow {
        return Some(message(tensor.name, "is all zeros"));
    }
    // Back from the end of the file, so long as all is zeros.
    for tensor in by_place.iter().rev() {
        let length = tensor.bytes.len();
        let zeros = zeros_at_end(tensor.bytes);
        let cut = match tensor.zeros {
            Zeros::Legal => false,
            Zeros::NoRow(row) | Zeros::NoRowAtEnd(row) => zeros >= row,
            Zeros::NotHalf => zeros.saturating_mul(2) >= length,
        };
        if cut {
            return Some(message(
                tensor.name,
                "and what follows it in the file end in zeros",
            ));
        }
        if zeros < length {
            break;
        }
    }
    None
}

fn message(name: &str, what: &str) -> String {
    format!(
        "tensor `{}` {what}: it looks as if the file's download was cut short: fetch it again",
        name.escape_debug()
    )
}

fn all_zeros(bytes: &[u8]) -> bool {
    let end = bytes.len().saturating_sub(END_BYTES);
    // In this order, since most tensors end in something else.
    !bytes.is_empty() && are_zeros(&bytes[end..]) && bytes[..end].chunks(BLOCK_BYTES).all(are_zeros)
}

fn are_zeros(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |any, byte| any | byte) == 0
}

/// Length of the zeros that `bytes` end in.
fn zeros_at_end(bytes: &[u8]) -> usize {
    let blocks = bytes.rchunks(BLOCK_BYTES);
    let mut zeros = 0;
    for block in blocks {
        if !are_zeros(block) {
            return zeros + block.iter().rev().take_while(|byte| **byte == 0).count();
        }
        zeros += block.len();
    }
    zeros
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tensors one after another, each of as many bytes as its text, in which `0` is a zero.
    fn cut(tensors: &[(&str, Zeros, &str)]) -> Option<String> {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, _, text)| text.bytes().map(|byte| byte - b'0').collect())
            .collect();
        let mut start = 0;
        let stretches = tensors.iter().zip(&bytes).map(|((name, zeros, _), bytes)| {
            start += bytes.len();
            Stretch {
                name,
                bytes,
                start: start - bytes.len(),
                zeros: *zeros,
            }
        });
        // Files list their tensors in any order.
        let mut stretches: Vec<_> = stretches.collect();
        stretches.reverse();
        cut_short(&stretches)
    }

    #[test]
    fn what_a_whole_file_has_is_no_sign() {
        use Zeros::{Legal, NoRow, NotHalf};
        assert_eq!(cut(&[]), None);
        assert_eq!(
            cut(&[("up", NoRow(2), "1000"), ("up", NoRow(2), "1110")]),
            None
        );
        assert_eq!(
            cut(&[("norm", Legal, "0000"), ("up", NoRow(2), "1111")]),
            None
        );
        assert_eq!(
            cut(&[("up", NoRow(2), "1111"), ("norm", Legal, "0000")]),
            None
        );
        assert_eq!(
            cut(&[("embed", NotHalf, "111000"), ("up", NoRow(1), "1")]),
            None
        );
        assert_eq!(
            cut(&[("embed", NotHalf, "11100"), ("norm", Legal, "00")]),
            None
        );
    }

    #[test]
    fn a_hollow_matrix_is_one_wherever_it_is() {
        use Zeros::{Legal, NoRow, NotHalf};
        for zeros in [NoRow(2), NotHalf] {
            let message = cut(&[("a", zeros, "0000"), ("norm", Legal, "11")]).unwrap();
            assert!(message.starts_with("tensor `a` is all zeros"), "{message}");
            assert!(message.ends_with("fetch it again"), "{message}");
        }
    }

    #[test]
    fn a_layer_that_adds_nothing_yet_is_a_whole_one() {
        use Zeros::{NoRow, NoRowAtEnd};
        let [o, up] = [NoRowAtEnd(2), NoRow(2)];
        assert_eq!(cut(&[("o", o, "0000"), ("up", up, "1111")]), None);
        assert!(cut(&[("up", up, "1111"), ("o", o, "0000")]).is_some());
        let of = |name| Zeros::of(name, &[8, 4], 2);
        assert_eq!(of("layers.0.self_attn.o_proj.weight"), NoRowAtEnd(8));
        assert_eq!(of("layers.0.mlp.down_proj.weight"), NoRowAtEnd(8));
    }

    #[test]
    fn zeros_up_to_the_end_are_one() {
        use Zeros::{Legal, NoRow, NotHalf};
        let message = cut(&[("up", NoRow(2), "1100"), ("norm", Legal, "00")]).unwrap();
        assert!(
            message.starts_with("tensor `up` and what follows"),
            "{message}"
        );
        assert!(cut(&[("embed", NotHalf, "111000"), ("norm", Legal, "0")]).is_some());
    }

    #[test]
    fn long_tensors_are_looked_at_in_pieces() {
        let mut bytes = vec![0; 3 * BLOCK_BYTES + 5];
        assert!(all_zeros(&bytes));
        assert_eq!(zeros_at_end(&bytes), bytes.len());
        bytes[BLOCK_BYTES] = 1;
        assert!(!all_zeros(&bytes));
        assert_eq!(zeros_at_end(&bytes), 2 * BLOCK_BYTES + 4);
    }

    #[test]
    fn tables_of_tokens_are_told_from_projections() {
        let of = |name, shape: &[usize]| Zeros::of(name, shape, 2);
        assert_eq!(of("model.embed_tokens.weight", &[8, 4]), Zeros::NotHalf);
        assert_eq!(of("lm_head.weight", &[8, 4]), Zeros::NotHalf);
        assert_eq!(of("layers.0.mlp.up_proj.weight", &[8, 4]), Zeros::NoRow(8));
        assert_eq!(of("model.norm.weight", &[8]), Zeros::Legal);
    }
}
