//! `config.json` and its neighbour `generation_config.json`.

use std::path::{Path, PathBuf};

use super::json::{explain, read_text};
use crate::gemma::hf::quantised::{self, files_aside};
use crate::gemma::{ConfigFile, Fact, GemmaConfig};
use crate::{Error, Result};

/// What peft and mlx-lm write beside the weights of an adapter.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";

/// The key under which an imported model's `config.json` names its GGUF file.
pub const GGUF_FILE: &str = "_gguf_file";

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
        return Err(Error::model(folder, no_folder(folder)));
    }
    let path = folder.join("config.json");
    if !path.is_file() {
        return Err(Error::model(folder, without_config(folder)));
    }
    let text = read_text(&path)?;
    let parsed = ConfigFile::parse(&text);
    let mut file = parsed.map_err(|error| Error::model(&path, error.to_string()))?;
    file.gguf = gguf_file(&text);
    check_aside(folder)?;
    add_generation_eos(folder, &mut file);
    if folder.join(ADAPTER_CONFIG).is_file() {
        file.warnings.push(format!(
            "a LoRA adapter lies beside this model ({ADAPTER_CONFIG}) and isn't applied: the model \
             alone is run. To run both, merge them first (`merge_and_unload` of peft)"
        ));
    }
    Ok(file)
}

/// The GGUF file that the model was imported from.
fn gguf_file(text: &str) -> Option<PathBuf> {
    let config: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(config[GGUF_FILE].as_str()?.into())
}

/// What is said of a path that is no folder.
fn no_folder(path: &Path) -> String {
    let name = path.display();
    match path.extension().and_then(|ending| ending.to_str()) {
        _ if !path.exists() => {
            "no such folder: name a model folder, hf:owner/name, gguf:FILE or synthetic:PRESET"
                .to_owned()
        }
        Some("gguf") => format!("a GGUF file: write gguf:{name}"),
        _ => "a file: name the folder of the model, which holds its config.json".to_owned(),
    }
}

fn without_config(folder: &Path) -> &'static str {
    if folder.join(ADAPTER_CONFIG).is_file() {
        return "this is a LoRA adapter, not a model: merge it into its model first \
                (`merge_and_unload` of peft) and name the merged model's folder";
    }
    "no config.json in this folder: a model in the Hugging Face layout has one beside its \
     *.safetensors"
}

/// Refuses a folder one of whose other files says that the weights are quantised.
fn check_aside(folder: &Path) -> Result<()> {
    for name in files_aside() {
        let path = folder.join(name);
        if path.is_file() {
            let text = read_text(&path)?;
            quantised::refuse_aside(name, &text)
                .map_err(|message| Error::model(folder, message))?;
        }
    }
    Ok(())
}

/// Instruction-tuned models name their end of turn in `generation_config.json` only.
fn add_generation_eos(folder: &Path, file: &mut ConfigFile) {
    const NAME: &str = "generation_config.json";
    let path = folder.join(NAME);
    if !path.is_file() {
        return;
    }
    let added = read_text(&path)
        .map_err(|error| error.to_string())
        .and_then(|text| generation_eos(&text).map_err(|why| format!("{NAME}: {why}")));
    let added = match added {
        Ok(ids) => ids,
        Err(why) => {
            file.warnings.push(format!(
                "{why}; so its end tokens don't count, only those of config.json"
            ));
            return;
        }
    };
    let known = file.config.eos_token_ids.len();
    file.config.eos_token_ids.extend(added);
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

/// The end tokens that the text of a `generation_config.json` names.
fn generation_eos(text: &str) -> Result<Vec<u32>, String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| explain(text, &error))?;
    let ids = match &value["eos_token_id"] {
        serde_json::Value::Null => Vec::new(),
        serde_json::Value::Array(ids) => ids.clone(),
        id => vec![id.clone()],
    };
    let ids = ids.iter().map(|id| u32::try_from(id.as_u64()?).ok());
    let ids: Option<Vec<u32>> = ids.collect();
    ids.ok_or_else(|| "`eos_token_id` is neither a token id nor a list of them".to_owned())
}
