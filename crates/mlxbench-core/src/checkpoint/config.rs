//! `config.json` and its neighbour `generation_config.json`.

use std::path::Path;

use crate::gemma::{ConfigFile, Fact, GemmaConfig};
use crate::{Error, Result};

/// The largest text file of a model folder that is read; real ones have some kilobytes, the index of
/// the largest model some megabytes.
const MOST_TEXT_BYTES: u64 = 64 << 20;

/// The `config.json` of `folder`.
///
/// # Errors
/// When the folder or the file is missing, or the file is no supported Gemma's.
pub fn read_config(folder: &Path) -> Result<GemmaConfig> {
    Ok(read_config_file(folder)?.config)
}

/// The same with the facts behind it.
///
/// # Errors
/// As [`read_config`].
pub fn read_config_file(folder: &Path) -> Result<ConfigFile> {
    if !folder.is_dir() {
        return Err(Error::model(
            folder,
            "no such folder: name a model folder, hf:owner/name or synthetic:PRESET",
        ));
    }
    let path = folder.join("config.json");
    if !path.is_file() {
        return Err(Error::model(folder, without_config(folder)));
    }
    let text = read_text(&path)?;
    let parsed = ConfigFile::parse(&text);
    let mut file = parsed.map_err(|error| Error::model(&path, error.to_string()))?;
    add_generation_eos(folder, &mut file);
    Ok(file)
}

fn without_config(folder: &Path) -> &'static str {
    if folder.join("adapter_config.json").is_file() {
        return "this is a LoRA adapter, not a model: merge it into its model first \
                (`merge_and_unload` of peft) and name the merged model's folder";
    }
    "no config.json in this folder: a model in the Hugging Face layout has one beside its \
     *.safetensors"
}

/// The text of a small file of a model folder.
///
/// # Errors
/// When it can't be read, or is far larger than any such file.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let io = |error| Error::io(path, error);
    let bytes = std::fs::metadata(path).map_err(io)?.len();
    if bytes > MOST_TEXT_BYTES {
        return Err(Error::model(
            path,
            format!("{bytes} bytes long: a file of this name has some kilobytes"),
        ));
    }
    std::fs::read_to_string(path).map_err(io)
}

/// Instruction-tuned models name their end of turn in `generation_config.json` only.
fn add_generation_eos(folder: &Path, file: &mut ConfigFile) {
    const NAME: &str = "generation_config.json";
    let text = read_text(&folder.join(NAME)).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let ids = match &value["eos_token_id"] {
        serde_json::Value::Array(ids) => ids.clone(),
        id => vec![id.clone()],
    };
    let ids = ids.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok());
    let known = file.config.eos_token_ids.len();
    file.config.eos_token_ids.extend(ids);
    let added = file.config.eos_token_ids.len() > known;
    file.config.eos_token_ids.sort_unstable();
    file.config.eos_token_ids.dedup();
    if added {
        let fact = file.facts.iter().find(|fact| fact.name == "eos_token_ids");
        let from = fact.map_or(String::new(), |fact| format!("{}; ", fact.from));
        let ids = file.config.eos_token_ids.clone();
        let from = format!("{from}eos_token_id of {NAME}");
        Fact::new("eos_token_ids", ids, from).replace(&mut file.facts);
    }
}
