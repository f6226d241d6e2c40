//! Results for others: without names of people and machines, and without paths.

use std::path::{Path, PathBuf};

use mlxbench_core::results::{RunResult, migrate};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::{Config, ModelConfig, Sweep};
use crate::journal::STEM;
use crate::{Error, Result, system};

/// The largest file that is taken: hours of tokens fit.
pub const MOST_BYTES: usize = 8 << 20;

/// Names that say nothing of anybody.
const COMMON: [&str; 8] = [
    "root",
    "user",
    "admin",
    "runner",
    "ubuntu",
    "debian",
    "localhost",
    "home",
];

/// A result as it is sent.
#[derive(Debug)]
pub struct Shared {
    /// `<chip>-<GB>/<UTC>-<hash>.json`.
    pub path: PathBuf,
    /// Its text.
    pub bytes: Vec<u8>,
}

/// `result` without this user's and machine's names, and without paths. The text of a prompt is left out, too.
///
/// # Errors
/// When there is nothing to share: nothing was measured, the run was cut short, or the file is too large.
pub fn shared(result: &RunResult) -> Result<Shared> {
    let names: Vec<String> = system::names()
        .into_iter()
        .filter(|name| name.len() > 2 && !COMMON.contains(&name.to_lowercase().as_str()))
        .collect();
    let refused = |message: String| Error::Share(message);
    is_whole(result).map_err(refused)?;
    let mut result = result.clone();
    let run = &mut result.run;
    run.model.source = bare(&run.model.source);
    run.model.folder = PathBuf::from(last(&run.model.folder.to_string_lossy()));
    let servers = run.config.as_deref().map_or_else(Vec::new, addresses);
    run.config = run.config.take().and_then(|text| without_paths(&text));
    let mut value = serde_json::to_value(&result).map_err(|error| refused(error.to_string()))?;
    each_string(&mut value, &|text| {
        for server in &servers {
            *text = text.replace(server, SOMEWHERE);
        }
        *text = scrubbed(text, &names);
    });
    let mut bytes = serde_json::to_vec(&value).map_err(|error| refused(error.to_string()))?;
    bytes.push(b'\n');
    let text = String::from_utf8_lossy(&bytes);
    let result = migrate::result(&text).map_err(refused)?;
    let path = path_of(&result, &bytes);
    check(&path, &bytes).map_err(refused)?;
    Ok(Shared { path, bytes })
}

/// Whether a file that others sent may be kept: its size, its schema, no paths in it, and the name that
/// [`shared`] gives it.
///
/// # Errors
/// What is wrong with it.
pub fn check(path: &Path, bytes: &[u8]) -> Result<RunResult, String> {
    if bytes.len() > MOST_BYTES {
        return Err(format!(
            "{} bytes: {MOST_BYTES} at most are taken",
            bytes.len()
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let result =
        migrate::result(text).map_err(|error| format!("not a result of mlxbench: {error}"))?;
    is_whole(&result)?;
    let mut value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let found = std::cell::RefCell::new(None);
    each_string(&mut value, &|text| {
        if scrubbed(text, &[]) != *text {
            found.replace(Some(text.clone()));
        }
    });
    if let Some(text) = found.into_inner() {
        return Err(format!(
            "it holds a path, in {text:?}: let `mlxbench share` write it"
        ));
    }
    let model = &result.run.model;
    if bare(&model.source) != model.source || model.folder.components().count() > 1 {
        return Err("it holds the path of a model: let `mlxbench share` write it".into());
    }
    let own = path_of(&result, bytes);
    if !path.ends_with(&own) {
        return Err(format!("by what it holds its name is {}", own.display()));
    }
    Ok(result)
}

fn is_whole(result: &RunResult) -> Result<(), String> {
    match (result.finished, result.samples.is_empty()) {
        (_, true) => Err("nothing was measured".into()),
        (None, _) => Err("the run was cut short: finish it with --resume".into()),
        (Some(_), false) => Ok(()),
    }
}

/// `<chip>-<GB>/<UTC>-<hash>.json`.
fn path_of(result: &RunResult, bytes: &[u8]) -> PathBuf {
    let run = &result.run;
    let hash: String = Sha256::digest(bytes)[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let gigabytes = (run.machine.memory_bytes as f64 / f64::from(1 << 30)).round();
    let folder = format!("{}-{gigabytes}", slug(&chip(result)));
    Path::new(&folder).join(format!("{}-{hash}.json", run.started.strftime(STEM)))
}

/// The GPU that a framework named, or else the processor.
fn chip(result: &RunResult) -> String {
    let cpu = &result.run.machine.cpu;
    let mut on_device = result
        .targets
        .iter()
        .filter(|facts| facts.id.placement.device.kind() != "cpu");
    let named = on_device.find_map(|facts| facts.device_description.clone());
    named.unwrap_or_else(|| cpu.clone())
}

/// Lower-case letters and digits, with single dashes between.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    match words.is_empty() {
        true => "unknown".into(),
        false => words.join("-").chars().take(60).collect(),
    }
}

/// What stands for the address of a server.
const SOMEWHERE: &str = "http://server/v1";

/// The addresses of a config's servers.
fn addresses(text: &str) -> Vec<String> {
    let config = Config::parse(text).ok();
    let backends = config
        .into_iter()
        .flat_map(|config| config.backends.into_values());
    let urls = backends.filter_map(|backend| backend.url);
    urls.map(|url| url.trim_end_matches('/').to_owned())
        .collect()
}

/// A model's source without the folder that it lies in.
fn bare(source: &str) -> String {
    match source.split_once(':') {
        Some(("hf" | "synthetic" | "server", _)) => source.to_owned(),
        Some((kind @ ("gguf" | "script"), path)) => format!("{kind}:{}", last(path)),
        _ => last(source).to_owned(),
    }
}

/// The last part of a path.
fn last(path: &str) -> &str {
    let trimmed = path.trim_end_matches(['/', '\\']);
    trimmed.rsplit(['/', '\\']).next().unwrap_or(trimmed)
}

/// A config whose files and programs have their names alone; `None` where it can't be read.
fn without_paths(text: &str) -> Option<String> {
    let mut config = Config::parse(text).ok()?;
    let models = config.models.values().iter().map(|model| ModelConfig {
        source: bare(&model.source),
        fallback: model.fallback.as_deref().map(bare),
        weights: model.weights.as_deref().map(bare),
    });
    config.models = Sweep::several(models.collect())?;
    for command in config.backends.values_mut() {
        // Where a server is listening is its owner's business.
        command.url = command.url.take().map(|_| SOMEWHERE.to_owned());
        // Nobody knows what they hold.
        command.extra.clear();
        for word in &mut command.command {
            *word = last(word).to_owned();
        }
    }
    config.prompt.text = None;
    for file in [&mut config.prompt.file, &mut config.quantisation.text] {
        *file = file.take().map(|file| last(&file.to_string_lossy()).into());
    }
    for test in &mut config.tests {
        let named = test.conversation.take();
        let named = named.map(|files| files.map(|file| last(&file.to_string_lossy()).into()));
        test.conversation = named;
    }
    Some(config.to_toml())
}

/// Calls `change` with every string of a document, keys left out.
fn each_string(value: &mut Value, change: &dyn Fn(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| each_string(value, change)),
        Value::Object(map) => map
            .values_mut()
            .for_each(|value| each_string(value, change)),
        _ => {}
    }
}

/// Text in which an absolute path is its last part, and each of `names` is `someone`.
fn scrubbed(text: &str, names: &[String]) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let begins = !before.is_alphanumeric() && !"/.:_-~\\*".contains(before)
            || before == ':' && !rest.starts_with("//");
        let end = rest
            .find(|c: char| c.is_whitespace() || "\"'`<>|,;:()[]{}".contains(c))
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if begins && is_path(word) {
            clean.push_str(last(word));
            (before, rest) = ('x', after);
        } else {
            clean.push(c);
            (before, rest) = (c, &rest[c.len_utf8()..]);
        }
    }
    names
        .iter()
        .fold(clean, |text, name| without_word(&text, name))
}

/// Whether a word is an absolute path, or one from somebody's home.
fn is_path(word: &str) -> bool {
    let tail = word.strip_prefix("~/").or_else(|| word.strip_prefix('/'));
    tail.is_some_and(|tail| tail.starts_with(|c: char| c.is_alphanumeric() || "._".contains(c)))
}

/// Text with each `word` that stands alone replaced, in whatever case.
fn without_word(text: &str, word: &str) -> String {
    let (lower, word) = (text.to_ascii_lowercase(), word.to_ascii_lowercase());
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = lower[at..].find(&word) {
        let (start, end) = (at + found, at + found + word.len());
        let alone = !lower[..start].ends_with(|c: char| c.is_alphanumeric())
            && !lower[end..].starts_with(|c: char| c.is_alphanumeric());
        clean.push_str(&text[at..start]);
        clean.push_str(if alone { "someone" } else { &text[start..end] });
        at = end;
    }
    clean.push_str(&text[at..]);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        scrubbed(text, &["ada".into(), "ada-mac".into()])
    }

    #[test]
    fn paths_become_their_last_part() {
        for (text, expected) in [
            ("/home/x/models/gemma: no such file", "gemma: no such file"),
            ("reads '/tmp/a b'", "reads 'a b'"),
            ("worker --in=/opt/w/run -c ~/x/y", "worker --in=run -c y"),
            ("PATH:/usr/bin/tool", "PATH:tool"),
            ("[/a/b, /c/d]", "[b, d]"),
        ] {
            assert_eq!(clean(text), expected);
            assert_eq!(scrubbed(&clean(text), &[]), clean(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_path_stays() {
        for text in [
            "165 tokens/s and 3 GB/s, candle/cpu/f32",
            "see https://huggingface.co/google/gemma",
            "script:../scripts/x",
            "1 / 2",
            "hf:google/gemma-3-270m",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn names_go_where_they_stand_alone() {
        assert_eq!(
            clean("Ada's canada on ADA-mac"),
            "someone's canada on someone-mac"
        );
    }

    #[test]
    fn sources_keep_their_name_alone() {
        assert_eq!(bare("../my/models/gemma/"), "gemma");
        assert_eq!(bare("gguf:/x/y.gguf"), "gguf:y.gguf");
        assert_eq!(bare("script:../scripts/fetch"), "script:fetch");
        assert_eq!(
            bare("hf:google/gemma-3-270m@main"),
            "hf:google/gemma-3-270m@main"
        );
        assert_eq!(slug("Apple M4 Pro (20-core)"), "apple-m4-pro-20-core");
    }

    #[test]
    fn a_config_keeps_no_folder_and_no_prompt() {
        let text = "name = \"x\"\n[model]\nsource = \"../mine/gemma\"\n[prompt]\ntext = \"secret\"\n[[test]]\n\
                    prompt_tokens = 1\n[[target]]\nbackend = \"own\"\ndtypes = [\"f32\"]\n[backend.own]\n\
                    command = [\"./deep/worker\", \"--at\", \"../there/x\"]\n";
        let clean = without_paths(text).unwrap();
        for gone in ["mine", "secret", "deep", "there"] {
            assert!(!clean.contains(gone), "{clean}");
        }
        assert!(
            clean.contains("command = [\"worker\", \"--at\", \"x\"]"),
            "{clean}"
        );
    }
}
