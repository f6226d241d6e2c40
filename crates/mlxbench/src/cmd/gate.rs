//! What `compare` and `run` have in common: what counts as a change, and who is told.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mlxbench_analysis::comparison::Options;
use mlxbench_analysis::{Compared, Comparison, DifferenceKind, Gate};
use mlxbench_core::results::RunResult;
use mlxbench_report::{ComparisonFormat, Written, render_comparison};

use crate::exit::Exit;
use crate::outfile::{self, Kind, Outputs};

/// What counts as a change, and who is told. Says nothing without a `base` to compare with.
#[derive(clap::Args)]
#[command(next_help_heading = "Comparing")]
#[group(requires = "base")]
pub(crate) struct GateArgs {
    /// Changes within ± this count as no change: 5% or 0.05. 5% unless given.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    threshold: Option<f64>,
    /// The same for memory. 5% unless given.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    memory_threshold: Option<f64>,
    /// What to compare, separated by commas: decode, prefill, ttft, latency-p99, memory, energy; of conversations
    /// overall, warm-ttft; training; of servers throughput, goodput. All unless given, but for ttft of generations, which
    /// says what prefill says.
    #[arg(long, value_name = "METRIC", value_delimiter = ',', value_parser = metric)]
    metric: Vec<Compared>,
    /// What may differ because it is what is to be compared, separated by commas: machine, build,
    /// versions, settings.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = difference)]
    across: Vec<DifferenceKind>,
    /// Exit 1 also when it can't be told whether something got worse.
    #[arg(long)]
    strict: bool,
    /// Append the comparison as Markdown: `--summary "$GITHUB_STEP_SUMMARY"`.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Write the comparison as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print GitHub's workflow commands: an error for what got worse.
    #[arg(long)]
    annotations: bool,
}

impl GateArgs {
    pub(crate) fn options(&self) -> Options {
        let unless_given = Options::default();
        Options {
            threshold: self.threshold.unwrap_or(unless_given.threshold),
            memory_threshold: self
                .memory_threshold
                .unwrap_or(unless_given.memory_threshold),
            metrics: match self.metric.as_slice() {
                [] => unless_given.metrics,
                chosen => chosen.into(),
            },
            across: self.across.clone(),
        }
    }

    /// The same for the two sides of a run that is over: what the command line leaves open is as the run decided it.
    pub(crate) fn options_of(&self, result: &RunResult) -> anyhow::Result<Options> {
        let mut options = self.options();
        let sides = result.run.sides.as_ref();
        let Some(decided) = sides.and_then(|sides| sides.sequence.as_ref()) else {
            return Ok(options);
        };
        if self.threshold.is_none() {
            options.threshold = recorded("--threshold", decided.threshold)?;
        }
        if self.memory_threshold.is_none() {
            options.memory_threshold = recorded("--memory-threshold", decided.memory_threshold)?;
        }
        if self.metric.is_empty() {
            let metrics = decided.metrics.iter().map(|name| metric(name));
            let metrics: Result<Vec<Compared>, String> = metrics.collect();
            options.metrics = metrics
                .map_err(anyhow::Error::msg)
                .context("its run decided a metric that is unknown here: give --metric")?;
        }
        Ok(options)
    }

    /// Sees that the files that are written are nobody's.
    pub(crate) fn claim(&self, outputs: &mut Outputs) -> anyhow::Result<()> {
        if let Some(file) = &self.summary {
            outputs.claim(file, Kind::Summary)?;
        }
        if let Some(file) = &self.junit {
            let junit = Written::Comparison(ComparisonFormat::Junit);
            outputs.claim(file, Kind::Report(junit))?;
        }
        Ok(())
    }

    /// Sees that what is to be written can be, before anything is measured for it.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let try_out = |file: &Path, remove: bool| {
            outfile::append(file, b"")?;
            match remove {
                // The file, and not a link to it.
                true => fs::canonicalize(file)
                    .and_then(fs::remove_file)
                    .with_context(|| file.display().to_string()),
                false => Ok(()),
            }
        };
        if let Some(file) = &self.summary {
            try_out(file, !file.exists())?;
        }
        if let Some(file) = &self.junit {
            // That of an earlier run must not pass for this one's, should it end before its time.
            let regular = !file.exists() || file.is_file();
            try_out(file, regular)?;
        }
        Ok(())
    }

    /// Writes files for whoever is to be told; what goes to stdout is handed back.
    pub(crate) fn tell(&self, comparison: &Comparison) -> anyhow::Result<Vec<u8>> {
        if let Some(file) = &self.summary {
            let summary = render_comparison(comparison, ComparisonFormat::Markdown);
            outfile::append(file, &summary)?;
        }
        if let Some(file) = &self.junit {
            let junit = render_comparison(comparison, ComparisonFormat::Junit);
            outfile::replace(file, &junit)?;
        }
        Ok(match self.annotations {
            true => render_comparison(comparison, ComparisonFormat::Annotations),
            false => Vec::new(),
        })
    }

    pub(crate) fn exit(&self, gate: Gate) -> Exit {
        match gate {
            Gate::Fail => Exit::Regression,
            Gate::Inconclusive if self.strict => Exit::Regression,
            Gate::Inconclusive | Gate::Pass => Exit::Fine,
        }
    }
}

/// Reads `5%`, `5 %` or `0.05`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 0.01),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().ok().map(|number| number * scale);
    share
        .filter(|share| is_share(*share))
        .ok_or_else(|| "write a share between 0 and 1: 5% or 0.05".into())
}

/// Whether this can be a threshold.
fn is_share(share: f64) -> bool {
    share > 0.0 && share < 1.0
}

/// A threshold as a result holds it, which anybody may have written.
fn recorded(option: &str, share: f64) -> anyhow::Result<f64> {
    match is_share(share) {
        true => Ok(share),
        false => bail!("its run can't have decided by a threshold of {share}: give {option}"),
    }
}

pub(super) fn metric(name: &str) -> Result<Compared, String> {
    let mut all = Compared::ALL.into_iter();
    let known = all.find(|metric| metric.name() == name);
    known.ok_or_else(|| {
        let names = Compared::ALL.map(Compared::name).join(", ");
        format!("write one of {names}")
    })
}

fn difference(name: &str) -> Result<DifferenceKind, String> {
    match name {
        "machine" => Ok(DifferenceKind::Machine),
        "build" => Ok(DifferenceKind::Build),
        "versions" => Ok(DifferenceKind::Versions),
        "settings" => Ok(DifferenceKind::Settings),
        "model" | "prompts" => Err("different models or prompts can't be compared".into()),
        _ => Err("write one of machine, build, versions, settings".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_people_write_them() {
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("2.5 %"), Ok(0.025));
        assert_eq!(share("0.1"), Ok(0.1));
        for wrong in ["5", "0", "-1%", "100%", "NaN", "much"] {
            assert!(share(wrong).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn what_is_not_known_names_what_is() {
        assert!(metric("speed").unwrap_err().contains("latency-p99"));
        assert!(
            difference("model")
                .unwrap_err()
                .contains("different models")
        );
    }
}
