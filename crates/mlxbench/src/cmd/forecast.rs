//! `--dry-run`: what would run, how long about, and what memory and disk it would need.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use mlxbench_core::results::{Residency, Test};
use mlxbench_models::{cache, disk};
use mlxbench_runner::config::{Config, MeasureConfig};
use mlxbench_runner::plan::{Forecast, Origin, Outlook, forecast, worker_memory};

use crate::exit::Exit;
use crate::output::{duration, print, size};

/// Prints what the runs of `configs`, one a model, would be.
pub(crate) fn show(
    configs: &[Config],
    path: &Path,
    out: &Path,
    filter: Option<&str>,
    json: bool,
) -> anyhow::Result<Exit> {
    let forecasts = configs
        .iter()
        .map(|config| Ok(forecast(config, path, out, filter)?));
    let forecasts: Vec<Forecast> = forecasts.collect::<anyhow::Result<_>>()?;
    let text = match json {
        true => format!("{}\n", serde_json::to_string_pretty(&forecasts)?),
        false => {
            let models = configs.iter().zip(&forecasts);
            let described = models.map(|(config, forecast)| describe(config, forecast));
            described.collect::<Vec<_>>().join("\n")
        }
    };
    print(text.as_bytes())?;
    Ok(Exit::Fine)
}

fn describe(config: &Config, forecast: &Forecast) -> String {
    let mut text = String::new();
    let tests: Vec<String> = forecast.tests.iter().map(Test::to_string).collect();
    let fallback = config.models.first().fallback.as_ref();
    let fallback = fallback.map(|fallback| format!("; where it can't be had, {fallback}"));
    let model = format!("{}, {}", forecast.source, origin(&forecast.origin));
    let weights = forecast.weights.as_ref();
    let weights = weights.map(|(name, from)| ("weights", format!("{name}, {}", origin(from))));
    let lines = [
        Some(("model", model + &fallback.unwrap_or_default())),
        weights,
        Some(("tests", tests.join(", "))),
        Some(("repetitions", repetitions(&config.measure))),
    ];
    for (what, value) in lines.into_iter().flatten() {
        line(&mut text, what, &value);
    }
    let names = forecast
        .targets
        .iter()
        .map(|outlook| outlook.target.to_string());
    let width = names.map(|name| name.len()).max().unwrap_or(0);
    for (at, outlook) in forecast.targets.iter().enumerate() {
        let name = outlook.target.to_string();
        let what = if at == 0 { "targets" } else { "" };
        line(
            &mut text,
            what,
            &format!("{name:<width$}  {}", of_target(outlook)),
        );
    }
    line(&mut text, "memory", &memory(forecast));
    line(&mut text, "time", &time(forecast));
    text.push_str("Nothing was fetched, made or measured.\n");
    text
}

fn line(text: &mut String, what: &str, value: &str) {
    writeln!(text, "{what:<12} {value}").expect("a String takes every write");
}

fn origin(origin: &Origin) -> String {
    let room = || {
        let folder = cache::folder().ok();
        match folder.as_deref().and_then(disk::free_bytes) {
            Some(bytes) => format!("{} free there", size(bytes)),
            None => "the free space there is unknown".into(),
        }
    };
    match origin {
        Origin::Here { folder } => format!("in {}", folder.display()),
        Origin::Made { bytes } => format!("made first: {} on disk, {}", size(*bytes), room()),
        Origin::Fetched { bytes: Some(bytes) } => {
            format!("fetched first: about {}, where it is in bf16", size(*bytes))
        }
        Origin::Fetched { bytes: None } => "fetched first: how much isn't known before".into(),
        Origin::Imported { file_bytes } => format!(
            "imported first, from {} to f32: up to eight times as much on disk, {}",
            size(*file_bytes),
            room()
        ),
        Origin::Script => "brought by a script, which wasn't started".into(),
        Origin::Server => "on a server".into(),
    }
}

fn repetitions(measure: &MeasureConfig) -> String {
    let most = match (measure.interval_percent, measure.max_repetitions) {
        (None, _) => None,
        (Some(_), Some(most)) => Some(format!(" to {most}")),
        (Some(_), None) => Some(" or more".to_owned()),
    };
    format!(
        "{}{} per test, over {} processes per target, {}-{} warm-ups in each",
        measure.repetitions,
        most.unwrap_or_default(),
        measure.processes.min(measure.repetitions),
        measure.warmup,
        measure.most_warmup()
    )
}

fn of_target(outlook: &Outlook) -> String {
    if let Some(why) = &outlook.unusable {
        let how = if outlook.optional {
            "left out"
        } else {
            "fails"
        };
        return format!("{how}: {why}");
    }
    match (outlook.memory_bytes, outlook.seconds) {
        (Some(bytes), Some(seconds)) => {
            let by = match &outlook.by {
                Some(path) => format!("by {}", path.display()),
                None => "a guess".into(),
            };
            let on_host = outlook.host_bytes;
            let on_host = on_host.map(|bytes| format!(" + {} in the host's memory", size(bytes)));
            let on_host = on_host.unwrap_or_default();
            format!("{:>10}{on_host}  {} ({by})", size(bytes), span(seconds))
        }
        _ => "can run here".into(),
    }
}

fn memory(forecast: &Forecast) -> String {
    let (Some(bytes), Some(residency)) = (forecast.memory_bytes, forecast.residency) else {
        return match forecast.origin {
            Origin::Script => "known once the script has brought the model",
            Origin::Server => "the server's own business",
            _ => "known once the model is on this machine: `mlxbench model fetch` brings it",
        }
        .into();
    };
    let how = match residency {
        Residency::Together => "all workers together",
        Residency::OneAtATime => "one worker at a time",
    };
    let all = match forecast.machine_memory_bytes {
        0 => String::new(),
        all => format!(" of {}", size(all)),
    };
    let larger = forecast
        .reference
        .as_ref()
        .filter(|(_, needed)| *needed > bytes);
    let reference = larger.map(|(reference, needed)| {
        let room = worker_memory(forecast.machine_memory_bytes);
        let refused = match *needed > room {
            true => ", more than a worker may hold here: name another with `reference`",
            false => "",
        };
        format!(
            "; before that {} for {reference}, with which all are compared{refused}",
            size(*needed)
        )
    });
    format!(
        "{}{all} at least for weights and KV caches, {how}{}",
        size(bytes),
        reference.unwrap_or_default()
    )
}

fn time(forecast: &Forecast) -> String {
    let Some(seconds) = forecast.seconds else {
        return "known once the model is on this machine".into();
    };
    let guessed = forecast
        .targets
        .iter()
        .any(|outlook| outlook.seconds.is_some() && outlook.by.is_none());
    let how = match guessed {
        true => {
            "where no earlier result of this machine has a target, assuming 20 GFLOP/s per core and 8 GB/s (CPU), \
             5 TFLOP/s and 150 GB/s (GPU)"
        }
        false => "from the rates of earlier results on this machine",
    };
    format!("about {}, {how}", span(seconds))
}

/// `40 s`, `3 min`, `2 h 30 min`; two of them where they differ.
fn span([least, most]: [f64; 2]) -> String {
    let words = |seconds: f64| duration(Duration::from_secs_f64(seconds.max(1.0)));
    let (least, most) = (words(least), words(most));
    match least == most {
        true => least,
        false => format!("{least} to {most}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_fits() {
        assert_eq!(span([0.2, 0.3]), "1 s");
        assert_eq!(span([12.0, 89.4]), "12 s to 89 s");
        assert_eq!(span([90.0, 9000.0]), "2 min to 2 h 30 min");
    }
}
