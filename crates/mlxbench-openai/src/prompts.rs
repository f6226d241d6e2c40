//! Prompts of plain words, drawn anew for each request: no two share more than their first few, so that a server's cache
//! of prefixes has little of them. How many tokens a word makes, and how many a chat template adds, the server tells itself.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::endpoint::Kind;

/// Words that are one token in most vocabularies.
const WORDS: [&str; 64] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
];

/// What a chat is asked for: an answer that is long enough to be measured.
const TASK: &str = ". Tell a very long story with all of these words.";

/// How many tokens a prompt has, by the number of its words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lengths {
    /// Tokens of a word.
    pub a_word: f64,
    /// Tokens of what isn't a word of the prompt: a begin token, the chat's template, the task.
    pub beside: f64,
}

impl Lengths {
    /// Where the server doesn't count: a token a word.
    pub const UNKNOWN: Self = Self {
        a_word: 1.0,
        beside: 0.0,
    };

    /// By the server's counts for two prompts, each with its number of words, the shorter one first.
    pub fn of(short: (usize, u64), long: (usize, u64)) -> Self {
        let words = long.0.saturating_sub(short.0);
        let tokens = long.1.saturating_sub(short.1);
        if words == 0 || tokens == 0 {
            return Self::UNKNOWN;
        }
        let a_word = tokens as f64 / words as f64;
        Self {
            a_word,
            beside: (short.1 as f64 - a_word * short.0 as f64).max(0.0),
        }
    }

    /// Words of a prompt that has about `tokens`, at least one.
    pub fn words(&self, tokens: usize) -> usize {
        (((tokens as f64 - self.beside) / self.a_word).round() as usize).max(1)
    }
}

/// A prompt of `words` words, drawn by `seed`.
pub fn prompt(kind: Kind, words: usize, seed: u64) -> String {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let draw = |_| WORDS[(random.next_u64() % WORDS.len() as u64) as usize];
    let words: Vec<&str> = (0..words).map(draw).collect();
    let task = match kind {
        Kind::Chat => TASK,
        Kind::Completions => "",
    };
    words.join(" ") + task
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_has_its_words_and_none_begins_like_another() {
        let prompts: Vec<String> = (0..50)
            .map(|seed| prompt(Kind::Completions, 40, seed))
            .collect();
        assert!(prompts.iter().all(|prompt| prompt.split(' ').count() == 40));
        let start = |prompt: &String| {
            prompt
                .split(' ')
                .take(6)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let mut starts: Vec<_> = prompts.iter().map(start).collect();
        starts.sort();
        starts.dedup();
        assert_eq!(starts.len(), 50);
    }

    #[test]
    fn lengths_follow_the_servers_counts() {
        let lengths = Lengths::of((16, 30), (116, 155));
        assert_eq!((lengths.a_word, lengths.beside), (1.25, 10.0));
        assert_eq!(lengths.words(135), 100);
        assert_eq!(lengths.words(3), 1);
        assert_eq!(Lengths::of((16, 30), (116, 30)), Lengths::UNKNOWN);
    }
}
