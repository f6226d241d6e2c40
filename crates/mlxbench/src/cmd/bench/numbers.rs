//! Numbers as llama-bench's options write them: `512`, `0,4096`, `1-8`, `512-2048+512`, `512-2048*2`.

use std::str::FromStr;

/// The most numbers that one option's text stands for.
const MOST: usize = 1000;

/// What one text stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers(Vec<usize>);

impl Numbers {
    /// Those of an option that was given so often, in order.
    pub(super) fn all(given: &[Self]) -> Vec<usize> {
        given
            .iter()
            .flat_map(|numbers| &numbers.0)
            .copied()
            .collect()
    }

    /// [`Self::all`], or `default` where the option wasn't given.
    pub(super) fn or(given: &[Self], default: usize) -> Vec<usize> {
        match given {
            [] => vec![default],
            given => Self::all(given),
        }
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = Vec::new();
        for part in text.split(',') {
            numbers.extend(range(part).ok_or_else(|| {
                format!("`{part}` is neither a number nor a range: write 512, 1-8, 512-2048+512 or 512-2048*2")
            })?);
            if numbers.len() > MOST {
                return Err(format!("more than {MOST} numbers"));
            }
        }
        Ok(Self(numbers))
    }
}

/// The number after another.
type Step = Box<dyn Fn(usize) -> Option<usize>>;

/// The numbers of `first`, `first-last`, `first-last+step` or `first-last*factor`, one more than [`MOST`] at most.
fn range(text: &str) -> Option<Vec<usize>> {
    let Some((first, rest)) = text.split_once('-') else {
        return Some(vec![text.parse().ok()?]);
    };
    let (last, step): (&str, Step) = match (rest.split_once('+'), rest.split_once('*')) {
        (Some((last, step)), _) => {
            let step = step.parse().ok().filter(|&step: &usize| step > 0)?;
            (last, Box::new(move |number| number.checked_add(step)))
        }
        (None, Some((last, factor))) => {
            let factor = factor.parse().ok().filter(|&factor: &usize| factor > 1)?;
            (
                last,
                Box::new(move |number| number.checked_mul(factor).filter(|&next| next > number)),
            )
        }
        (None, None) => (rest, Box::new(|number| number.checked_add(1))),
    };
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    let numbers = std::iter::successors(Some(first), |&number| step(number));
    let numbers = numbers.take_while(|&number| number <= last).take(MOST + 1);
    Some(numbers.collect()).filter(|numbers: &Vec<usize>| !numbers.is_empty())
}

/// `PP,TG`: prompt tokens, then tokens to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) prompt: usize,
    pub(super) generate: usize,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = text.split_once(',').and_then(|(prompt, generate)| {
            Some(Self {
                prompt: prompt.parse().ok()?,
                generate: generate.parse().ok()?,
            })
        });
        pair.ok_or_else(|| "write prompt tokens and tokens to generate: 512,128".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn numbers(text: &str) -> Vec<usize> {
        text.parse::<Numbers>().unwrap().0
    }

    #[test]
    fn lists_and_ranges_are_those_of_llama_bench() {
        assert_eq!(numbers("512"), [512]);
        assert_eq!(numbers("0,4096"), [0, 4096]);
        assert_eq!(numbers("1-4"), [1, 2, 3, 4]);
        assert_eq!(numbers("512-2048+512"), [512, 1024, 1536, 2048]);
        assert_eq!(numbers("512-2048*2"), [512, 1024, 2048]);
        assert_eq!(numbers("100-1000*3,7"), [100, 300, 900, 7]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "", "a", "1-", "-1", "8-1", "1-8+0", "1-8*1", "1,,2", "1-8+2*2",
        ] {
            let message = text.parse::<Numbers>().unwrap_err();
            assert!(message.contains("512-2048*2"), "{text}: {message}");
        }
        assert!(
            "0-99999999"
                .parse::<Numbers>()
                .unwrap_err()
                .contains("more than")
        );
    }

    #[test]
    fn a_pair_has_two_numbers() {
        let pair = Pair {
            prompt: 512,
            generate: 128,
        };
        assert_eq!("512,128".parse(), Ok(pair));
        assert!("512".parse::<Pair>().unwrap_err().contains("512,128"));
    }
}
