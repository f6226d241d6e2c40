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
    /// Of these, bytes that each decoded token reads: neither experts that it doesn't go through nor other rows of
    /// tables that are looked up.
    pub weights_read_bytes: u64,
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
        weights_read_bytes: config.weights_read_bytes(&config.storage(dtype.into())),
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
        for (label, text) in self.shapes() {
            writeln!(f, "{label:<13} {text}")?;
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
            let mut weights = format!("{} of weights", size(need.weights_bytes));
            if need.weights_read_bytes < need.weights_bytes {
                let read = size(need.weights_read_bytes);
                weights += &format!(" ({read} read per decoded token)");
            }
            writeln!(f, "  {:<5} {weights}, {}", need.dtype, caches.join(", "))?;
        }
        self.provenance(f)
    }
}

impl Description {
    /// Labels and values of what the layers are made of.
    fn shapes(&self) -> Vec<(&'static str, String)> {
        let config = &self.config;
        let layers = &config.layers;
        let mut heads: Vec<String> = Vec::new();
        for LayerSpec { attention, .. } in layers {
            let text = format!(
                "{} heads of {}, {} for keys and values",
                attention.heads, attention.head_dim, attention.kv_heads
            );
            if !heads.contains(&text) {
                heads.push(text);
            }
        }
        let mut widths: Vec<String> = Vec::new();
        for layer in layers {
            let width = layer.mlp_width.to_string();
            if !widths.contains(&width) {
                widths.push(width);
            }
        }
        let widths = format!("{} hidden, {} MLP", config.hidden_size, widths.join(" or "));
        let mut shapes = vec![("attention", heads.join("; ")), ("widths", widths)];
        let sharing = layers
            .iter()
            .filter(|layer| !layer.attention.keys_values.are_own());
        match sharing.count() {
            0 => {}
            count => shapes.push(("KV cache", format!("{count} layers share another's"))),
        }
        if let Some(table) = &config.per_layer {
            let text = format!("{} wide, a table of {}", table.width, table.vocab_size);
            shapes.push(("per layer", text));
        }
        if let Some(experts) = layers.iter().find_map(|layer| layer.experts) {
            let text = format!(
                "{} of width {}, {} per token",
                experts.count, experts.width, experts.top_k
            );
            shapes.push(("experts", text));
        }
        shapes
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::UNWATCHED;
    use crate::synth;

    fn described(json: &str) -> Description {
        let config = GemmaConfig::from_json(json).unwrap();
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("model");
        synth::write(&config, Dtype::Bf16, 0, &folder, UNWATCHED).unwrap();
        describe(&folder).unwrap()
    }

    #[test]
    fn layers_that_differ_are_told_with_what_they_share() {
        let told = described(
            r#"{"model_type": "gemma4_text", "vocab_size": 64, "hidden_size": 16,
            "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 12,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            "num_kv_shared_layers": 1, "use_double_wide_mlp": true,
            "hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": 64}"#,
        );
        let text = told.to_string();
        for line in [
            "attention     4 heads of 12, 2 for keys and values; 4 heads of 8, 2 for keys and values\n",
            "widths        16 hidden, 24 or 48 MLP\n",
            "KV cache      1 layers share another's\n",
            "per layer     4 wide, a table of 64\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        // The table of embeddings for each layer, of 64 rows of 3 x 4, is looked up.
        let [of_f32, ..] = &told.needs[..] else {
            panic!("a need for each dtype")
        };
        assert_eq!(
            of_f32.weights_bytes - of_f32.weights_read_bytes,
            64 * 12 * 4
        );
        assert!(text.contains("read per decoded token"), "{text}");
    }

    #[test]
    fn of_experts_a_token_reads_those_that_it_goes_through() {
        let told = described(
            r#"{"model_type": "gemma4_text", "vocab_size": 64, "hidden_size": 16,
            "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 8, "hidden_size_per_layer_input": 0,
            "enable_moe_block": true, "num_experts": 8, "top_k_experts": 2,
            "moe_intermediate_size": 10}"#,
        );
        assert!(
            told.to_string()
                .contains("experts       8 of width 10, 2 per token\n")
        );
        let need = &told.needs[0];
        // Six of eight, each three matrices of 10 x 16, in two layers.
        assert_eq!(
            need.weights_bytes - need.weights_read_bytes,
            2 * 6 * 3 * 160 * 4
        );
    }
}
