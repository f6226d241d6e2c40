//! What `mlx_lm.benchmark` prints, of one run or of several: `Timing with ...`, the trials,
//! `Averages: ...`. Anything around these lines is passed over.
//!
//! The model is taken from a command line with `--model`, where there is one above; the text tells
//! neither dtype nor device. mlx-lm is a step ahead of the token that it reads: [`Mode::Pipelined`].

use mlxbench_analysis::Estimate;
use mlxbench_core::generate::Mode;
use mlxbench_core::results::Test;

use super::{External, ExternalRow, Fault, UNKNOWN, quoted};

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
    let mut model = UNKNOWN.to_owned();
    let mut open: Option<Timing> = None;
    for (number, line) in lines(text) {
        if let Some(named) = model_of_command(line) {
            model = named;
        } else if line.starts_with(HEAD) {
            if let Some(timing) = &open {
                return Err(timing.unfinished(number));
            }
            open = Some(Timing::new(number, line, &model)?);
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

/// What a command line of the program says after `--model`: `unknown` where it says nothing, as the
/// default differs between versions. `None` for any other line, and for the program's own advice on
/// how to call it.
fn model_of_command(line: &str) -> Option<String> {
    let names = ["mlx_lm.benchmark", "mlx_lm benchmark"];
    let (_, options) = names.iter().find_map(|name| line.split_once(name))?;
    if line.contains("deprecated") {
        return None;
    }
    let named = options.split_once("--model").and_then(|(_, value)| {
        let value = value.trim_start_matches([' ', '=']);
        match value.chars().next()? {
            quote @ ('"' | '\'') => value.split(quote).nth(1),
            _ => value.split_whitespace().next(),
        }
    });
    Some(named.unwrap_or(UNKNOWN).to_owned())
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
    model: String,
    test: Test,
    trials: Vec<Trial>,
}

impl Timing {
    fn new(number: usize, line: &str, model: &str) -> Result<Self, Fault> {
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
        Ok(Self {
            model: model.into(),
            test: Test {
                prompt_tokens: needed("prompt_tokens")?,
                generate_tokens: needed("generation_tokens")?,
                depth: 0,
                batch: needed("batch_size")?,
                mode: Mode::Pipelined,
            },
            trials: Vec::new(),
        })
    }

    fn unfinished(&self, number: usize) -> Fault {
        let Test { prompt_tokens, .. } = self.test;
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
        let decode = (self.test.generate_tokens > 1)
            .then(|| estimate(|trial| trial.generation_tps))
            .flatten();
        ExternalRow {
            model: self.model.clone(),
            backend: "mlx-lm".into(),
            device: UNKNOWN.into(),
            dtype: UNKNOWN.into(),
            threads: None,
            test: self.test,
            prefill_tokens_per_second: estimate(|trial| trial.prompt_tps),
            decode_tokens_per_second: decode,
            peak_memory_bytes: trials.iter().map(|trial| trial.peak_memory_bytes).max(),
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
        let known = |line| model_of_command(line);
        assert_eq!(
            known("$ mlx_lm.benchmark --model org/a-bf16 -p 512"),
            Some("org/a-bf16".into())
        );
        assert_eq!(
            known("$ python -m mlx_lm.benchmark -p 512 --model='my model'"),
            Some("my model".into())
        );
        assert_eq!(known("$ mlx_lm.benchmark -p 512"), Some(UNKNOWN.into()));
        assert_eq!(known("$ mlx_lm.benchmark --model"), Some(UNKNOWN.into()));
        let advice = "Calling `python -m mlx_lm.benchmark...` directly is deprecated.";
        assert_eq!(known(advice), None);
        assert_eq!(known("Running warmup.."), None);
    }
}
