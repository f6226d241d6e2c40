//! What `mlx_lm.benchmark` prints, of one run or of several: `Timing with ...`, the trials,
//! `Averages: ...`. Anything around these lines is passed over.
//!
//! The model is taken from a command line with `--model`, where there is one above; the text tells
//! neither dtype nor device. mlx-lm is a step ahead of the token that it reads: [`Mode::Pipelined`].
//! Its first versions knew no batches: they print `Timing with prompt_tokens=1 and generation_tokens=1.`.

use mlxbench_analysis::Estimate;
use mlxbench_core::generate::Mode;
use mlxbench_core::results::{GenerateTest, Metric, Test};

use super::{External, ExternalRow, Fault, UNKNOWN, quoted};
use crate::apart::Facts;

/// How the line begins that says what is timed.
const HEAD: &str = "Timing with ";

/// Whether `text` is of `mlx_lm.benchmark`, whole or not.
pub(super) fn wrote(text: &str) -> bool {
    lines(text).any(|(_, line)| line.starts_with(HEAD) && line.contains("prompt_tokens="))
}

/// Its lines, counted from 1. A progress bar ends with a carriage return, which begins no new line
/// in an editor.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate();
    lines.map(|(index, line)| (index + 1, line.rsplit('\r').next().unwrap_or(line).trim()))
}

pub(super) fn read(text: &str) -> Result<Option<External>, Fault> {
    let mut rows = Vec::new();
    let mut command = Command::default();
    let mut open: Option<Timing> = None;
    for (number, line) in lines(text) {
        if let Some(called) = Command::of(line) {
            command = called;
        } else if line.starts_with(HEAD) {
            if let Some(timing) = &open {
                return Err(timing.unfinished(number));
            }
            open = Some(Timing::new(number, line, &command)?);
        } else if let Some(timing) = &mut open {
            if line.starts_with("Trial ") {
                timing.trials.push(Trial::new(number, line)?);
            } else if line.starts_with("Averages:") {
                // The averages must be whole, too, for the file to be; the trials say more.
                let averages = Trial::new(number, line)?;
                rows.push(timing.row(averages));
                open = None;
            }
        }
    }
    if let Some(timing) = open {
        return Err(timing.unfinished(text.lines().count() + 1));
    }
    Ok(Some(External {
        tool: "mlx_lm.benchmark".into(),
        file: String::new(),
        machine: None,
        rows,
        skipped: Vec::new(),
    }))
}

/// What a command line of the program says of the runs below it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Command {
    /// What follows `--model`; the default differs between versions.
    model: Option<String>,
    /// The other options, but for those that the program's own lines repeat.
    settings: Facts,
}

impl Command {
    /// `None` for any other line, and for the program's own advice on how to call it.
    fn of(line: &str) -> Option<Self> {
        let names = ["mlx_lm.benchmark", "mlx_lm benchmark"];
        let (_, options) = names.iter().find_map(|name| line.split_once(name))?;
        if line.contains("deprecated") {
            return None;
        }
        let mut command = Self::default();
        let mut words = words(options).into_iter().peekable();
        while let Some(word) = words.next() {
            // What follows is of the shell.
            if word.contains(['|', '>', ';', '&']) {
                break;
            }
            let Some(option) = word.strip_prefix('-') else {
                continue;
            };
            let option = option.trim_start_matches('-');
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, value.to_owned()),
                None => match words.next_if(|next| !is_option(next)) {
                    Some(value) => (option, value),
                    None if option == "model" => continue,
                    None => (option, "on".into()),
                },
            };
            match key {
                "model" => command.model = Some(value),
                key if REPEATED.contains(&key) => {}
                key => command.settings.push((key.into(), value)),
            }
        }
        Some(command)
    }
}

/// Options whose values the program's own lines tell.
const REPEATED: [&str; 8] = [
    "prompt-tokens",
    "p",
    "generation-tokens",
    "g",
    "batch-size",
    "b",
    "num-trials",
    "n",
];

/// Whether a word is an option, and not a negative number.
fn is_option(word: &str) -> bool {
    word.starts_with('-') && word.parse::<f64>().is_err()
}

/// The words of a command line, without the quotes around them.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match quote {
            Some(open) if character == open => quote = None,
            None if matches!(character, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            None if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// The value after `key=` in a line of `key=value, key=value`.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = line
        .split([' ', ','])
        .filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The value after `key=` for a message.
fn found(line: &str, key: &str) -> String {
    value(line, key).map_or("nothing".into(), quoted)
}

/// One run of the program: a row in the making.
struct Timing {
    command: Command,
    test: Test,
    trials: Vec<Trial>,
}

impl Timing {
    fn new(number: usize, line: &str, command: &Command) -> Result<Self, Fault> {
        // The full stop ends the sentence: a line without it was cut, maybe within a number.
        let sentence = line.strip_suffix('.');
        let count = |key: &str| {
            let count = value(sentence?, key)?.parse::<usize>().ok()?;
            (count > 0).then_some(count)
        };
        let needed = |key: &str| {
            count(key).ok_or_else(|| {
                let expected = format!(
                    "`{key}=COUNT` in a sentence with its full stop, found {}",
                    found(line, key)
                );
                Fault::new(format!("line {number}"), expected)
            })
        };
        let batch = match value(line, "batch_size") {
            Some(_) => needed("batch_size")?,
            None => 1,
        };
        Ok(Self {
            command: command.clone(),
            test: Test::Generate(GenerateTest {
                prompt_tokens: needed("prompt_tokens")?,
                generate_tokens: needed("generation_tokens")?,
                depth: 0,
                batch,
                mode: Mode::Pipelined,
            }),
            trials: Vec::new(),
        })
    }

    fn unfinished(&self, number: usize) -> Fault {
        let prompt_tokens = self.test.prompt_tokens();
        let trials = self.trials.len();
        Fault::new(
            format!("line {number}"),
            format!(
                "`Averages: ...` of the run with prompt_tokens={prompt_tokens} after its {trials} trials"
            ),
        )
    }

    fn row(&self, averages: Trial) -> ExternalRow {
        let averages = [averages];
        let trials = match self.trials.as_slice() {
            [] => averages.as_slice(),
            trials => trials,
        };
        let estimate = |rate: fn(&Trial) -> f64| {
            let rates: Vec<f64> = trials.iter().map(rate).collect();
            Estimate::of(&rates)
        };
        // Of one token the program divides by a time in which nothing was generated.
        let decode = self
            .test
            .yields(Metric::Decode)
            .then(|| estimate(|trial| trial.generation_tps))
            .flatten();
        ExternalRow {
            model: self.command.model.clone().unwrap_or(UNKNOWN.into()),
            backend: "mlx-lm".into(),
            device: UNKNOWN.into(),
            dtype: UNKNOWN.into(),
            threads: None,
            test: self.test,
            prefill_tokens_per_second: estimate(|trial| trial.prompt_tps),
            decode_tokens_per_second: decode,
            peak_memory_bytes: trials.iter().map(|trial| trial.peak_memory_bytes).max(),
            settings: self.command.settings.clone(),
            origin: Facts::new(),
            differs: Vec::new(),
        }
    }
}

/// The figures of one generation.
struct Trial {
    prompt_tps: f64,
    generation_tps: f64,
    peak_memory_bytes: u64,
}

impl Trial {
    fn new(number: usize, line: &str) -> Result<Self, Fault> {
        let figure = |key: &str| {
            // All are written with three decimals: fewer were cut off.
            let text = value(line, key)?;
            let (_, decimals) = text.split_once('.')?;
            let figure: f64 = text.parse().ok()?;
            (decimals.len() == 3 && figure.is_finite() && figure >= 0.0).then_some(figure)
        };
        let needed = |key: &str| {
            figure(key).ok_or_else(|| {
                let expected = format!(
                    "`{key}=NUMBER` with three decimals, found {}",
                    found(line, key)
                );
                Fault::new(format!("line {number}"), expected)
            })
        };
        Ok(Self {
            prompt_tps: needed("prompt_tps")?,
            generation_tps: needed("generation_tps")?,
            peak_memory_bytes: (needed("peak_memory")? * 1e9).round() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_comes_from_the_command() {
        let known = |line| Command::of(line).map(|command| command.model);
        assert_eq!(
            known("$ mlx_lm.benchmark --model org/a-bf16 -p 512"),
            Some(Some("org/a-bf16".into()))
        );
        assert_eq!(
            known("$ python -m mlx_lm.benchmark -p 512 --model='my model'"),
            Some(Some("my model".into()))
        );
        assert_eq!(known("$ mlx_lm.benchmark -p 512"), Some(None));
        assert_eq!(known("$ mlx_lm.benchmark --model"), Some(None));
        let advice = "Calling `python -m mlx_lm.benchmark...` directly is deprecated.";
        assert_eq!(known(advice), None);
        assert_eq!(known("Running warmup.."), None);
    }

    #[test]
    fn other_options_are_settings() {
        let line =
            "$ mlx_lm.benchmark -p 8 --prefill-step-size 64 --pipeline --x=-1 --y -2 | tee -a log";
        let settings = Command::of(line).map(|command| command.settings);
        let pairs = [
            ("prefill-step-size", "64"),
            ("pipeline", "on"),
            ("x", "-1"),
            ("y", "-2"),
        ];
        let pairs = pairs.map(|(key, value)| (key.into(), value.into()));
        assert_eq!(settings, Some(pairs.to_vec()));
    }
}
