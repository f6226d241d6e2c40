//! What is in a model folder, and what running it needs.

use std::fmt;
use std::path::{Path, PathBuf};

use humansize::{BINARY, format_size};
use mlxbench_core::checkpoint::GGUF_FILE;
use mlxbench_core::gemma::{Fact, LayerSpec};
use mlxbench_core::{Checkpoint, Dtype, GemmaConfig};
use serde::Serialize;

use crate::Result;

/// Columns that the value of a fact takes in the table at most, before it pushes its key aside.
const WIDEST_VALUE: usize = 24;

/// The note in an imported model's `config.json` of the keys of its GGUF file that weren't used.
pub const GGUF_UNUSED_KEYS: &str = "_gguf_unused_keys";

/// A model and its needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// The folder.
    pub folder: PathBuf,
    /// The configuration, defaults filled in.
    pub config: GemmaConfig,
    /// Parameters, tied weights counted once.
    pub parameters: u64,
    /// The dtypes that its tensors are stored in.
    pub stored_dtypes: Vec<Dtype>,
    /// Bytes of its tensors as stored.
    pub stored_bytes: u64,
    /// Whether text prompts can be used.
    pub has_tokenizer: bool,
    /// What every backend needs at least, a dtype.
    pub needs: Vec<Need>,
    /// Everything that was derived from the files, and the keys that it was derived from: all
    /// adapters work by it, so that no comparison between them can see a mistake in it.
    pub facts: Vec<Fact>,
    /// The keys of `config.json` that nothing was derived from.
    pub unused_keys: Vec<String>,
    /// The keys of the GGUF file that it was imported from that nothing was derived from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gguf_unused_keys: Vec<String>,
    /// What is unusual about the files, a sentence each.
    pub warnings: Vec<String>,
}

/// What running a model in a dtype needs at least.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Need {
    /// The dtype.
    pub dtype: Dtype,
    /// Bytes of the weights.
    pub weights_bytes: u64,
    /// Bytes of the KV cache, by tokens of context.
    pub kv_cache: Vec<KvCacheNeed>,
}

/// What a context needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KvCacheNeed {
    /// Tokens of context.
    pub context: usize,
    /// Bytes of keys and values.
    pub kv_cache_bytes: u64,
}

/// Describes the model in `folder`.
///
/// # Errors
/// When it isn't a whole, supported model.
pub fn describe(folder: &Path) -> Result<Description> {
    let checkpoint = Checkpoint::open(folder)?;
    let config = checkpoint.config();
    let full = config.max_position_embeddings;
    let contexts: Vec<usize> = [512, 4096]
        .into_iter()
        .filter(|&n| n < full)
        .chain([full])
        .collect();
    let need = |dtype| Need {
        dtype,
        weights_bytes: config.weights_bytes(dtype.into()),
        kv_cache: contexts
            .iter()
            .map(|&context| KvCacheNeed {
                context,
                kv_cache_bytes: config.kv_cache_bytes(dtype, 1, context),
            })
            .collect(),
    };
    let unused = checkpoint.unused_keys().iter();
    Ok(Description {
        folder: folder.to_owned(),
        config: config.clone(),
        parameters: config.parameters(),
        stored_dtypes: checkpoint.dtypes().into_iter().collect(),
        stored_bytes: checkpoint.stored_bytes(),
        has_tokenizer: folder.join("tokenizer.json").is_file(),
        needs: Dtype::ALL.map(need).into(),
        facts: checkpoint.facts().to_vec(),
        unused_keys: unused
            .filter(|key| ![GGUF_UNUSED_KEYS, GGUF_FILE].contains(&key.as_str()))
            .cloned()
            .collect(),
        gguf_unused_keys: gguf_unused_keys(folder),
        warnings: checkpoint.warnings().to_vec(),
    })
}

/// Whether the model in `folder` was imported from a GGUF file.
pub fn is_imported(folder: &Path) -> bool {
    listed_at_import(folder).is_some()
}

/// The value of [`GGUF_UNUSED_KEYS`]; `None` where the model wasn't imported.
fn listed_at_import(folder: &Path) -> Option<Vec<serde_json::Value>> {
    let text = std::fs::read_to_string(folder.join("config.json")).ok()?;
    let config: serde_json::Value = serde_json::from_str(&text).ok()?;
    config[GGUF_UNUSED_KEYS].as_array().cloned()
}

/// What [`GGUF_UNUSED_KEYS`] lists; nothing where the model wasn't imported.
fn gguf_unused_keys(folder: &Path) -> Vec<String> {
    let keys = listed_at_import(folder).unwrap_or_default();
    let keys = keys.iter();
    keys.filter_map(|key| Some(key.as_str()?.to_owned()))
        .collect()
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        let size = |bytes| format_size(bytes, BINARY);
        let windows = config
            .layers
            .iter()
            .filter_map(|layer| layer.attention.window);
        let windows: Vec<usize> = windows.collect();
        let dtypes: Vec<&str> = self
            .stored_dtypes
            .iter()
            .map(|dtype| dtype.name())
            .collect();
        writeln!(f, "folder        {}", self.folder.display())?;
        writeln!(f, "architecture  {:?}", config.generation)?;
        writeln!(f, "parameters    {:.1} M", self.parameters as f64 * 1e-6)?;
        writeln!(
            f,
            "stored        {} in {}",
            size(self.stored_bytes),
            dtypes.join(", ")
        )?;
        write!(f, "layers        {}", config.num_layers())?;
        match windows.first() {
            Some(window) => writeln!(f, ", {} with a window of {window}", windows.len())?,
            None => writeln!(f)?,
        }
        // The layers of all models so far are alike in their shapes.
        if let Some(LayerSpec {
            attention,
            mlp_width,
            ..
        }) = config.layers.first()
        {
            writeln!(
                f,
                "attention     {} heads of {}, {} for keys and values",
                attention.heads, attention.head_dim, attention.kv_heads
            )?;
            writeln!(
                f,
                "widths        {} hidden, {mlp_width} MLP",
                config.hidden_size
            )?;
        }
        writeln!(f, "vocabulary    {}", config.vocab_size)?;
        writeln!(f, "context       {} tokens", config.max_position_embeddings)?;
        let tokenizer = if self.has_tokenizer {
            "yes"
        } else {
            "no: give token ids, not text"
        };
        writeln!(f, "tokenizer     {tokenizer}")?;
        writeln!(f, "needs at least, with any backend:")?;
        for need in &self.needs {
            let caches = need.kv_cache.iter().map(|cache| {
                format!(
                    "{} KV cache at {} tokens",
                    size(cache.kv_cache_bytes),
                    cache.context
                )
            });
            let caches: Vec<String> = caches.collect();
            let weights = size(need.weights_bytes);
            writeln!(
                f,
                "  {:<5} {weights} of weights, {}",
                need.dtype,
                caches.join(", ")
            )?;
        }
        self.provenance(f)
    }
}

impl Description {
    /// The facts with their keys, the keys that weren't used, the warnings.
    fn provenance(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "derived from config.json and the weights:")?;
        let values: Vec<String> = self.facts.iter().map(Fact::to_string).collect();
        let names = self.facts.iter().map(|fact| fact.name.len());
        let name_width = names.max().unwrap_or(0);
        // A long list of windows pushes its own key out, not those of all.
        let widths = values
            .iter()
            .map(String::len)
            .filter(|&width| width <= WIDEST_VALUE);
        let value_width = widths.max().unwrap_or(0);
        for (fact, value) in self.facts.iter().zip(&values) {
            writeln!(
                f,
                "  {:<name_width$}  {value:<value_width$}  {}",
                fact.name, fact.from
            )?;
        }
        let unused = match self.unused_keys.is_empty() {
            true => "none".to_owned(),
            false => self.unused_keys.join(", "),
        };
        writeln!(f, "keys that weren't used: {unused}")?;
        if !self.gguf_unused_keys.is_empty() {
            let unused = self.gguf_unused_keys.join(", ");
            writeln!(f, "keys of the GGUF file that weren't used: {unused}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}
