//! Gemma's configuration from the metadata of a GGUF file.
//!
//! Keys: the GGUF specification of ggml, and Ollama's names where its converter has others. What a
//! file doesn't say (attention scale, layer pattern, RoPE base of local layers) follows llama.cpp's
//! `load_arch_hparams` of the three models.

use anyhow::{Context, bail, ensure};
use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::{FlatConfig, Generation, LayerKind};

use crate::metadata::{Metadata, count, need};
use crate::parts::Model;
use crate::value::Value;

/// Wider than any Gemma is. A product of two is still far from overflowing.
const WIDEST: u64 = 1 << 24;
/// Longer than any context.
const LONGEST: u64 = 1 << 30;
/// The embedding table: its rows are the vocabulary.
const EMBEDDING: &str = "token_embd.weight";

/// Keys of an architecture that don't change the work of the text model where RoPE scaling is
/// linear or none: where the factor came from.
const HARMLESS: [&str; 2] = [
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
];

/// The model's configuration.
///
/// Afterwards every key of the architecture that could change the work has been read.
///
/// # Errors
/// When the file is another architecture's, a key that can't be guessed is missing, a number is
/// impossible, or a key asks for work that no Gemma 1, 2 or 3 does. The message names the key.
pub fn config(model: &Model<'_>) -> anyhow::Result<GemmaConfig> {
    let architecture = architecture(&model.metadata)?;
    let generation = match architecture {
        "gemma" => Generation::Gemma1,
        "gemma2" => Generation::Gemma2,
        "gemma3" => Generation::Gemma3,
        other => bail!(
            "the file's architecture is `{}`{}: gemma, gemma2 and gemma3 work",
            other.escape_debug(),
            match other {
                "gemma3n" => " (Gemma 3n)",
                "gemma4" => " (Gemma 4)",
                "gemma-embedding" => " (EmbeddingGemma, which generates no text)",
                "clip" => " (a vision tower, which comes beside its text model)",
                _ => "",
            }
        ),
    };
    let reader = Reader {
        model,
        metadata: &model.metadata,
        architecture,
        generation,
    };
    let config = reader.config()?;
    reader.check_repeated(&config)?;
    reader.check_unread()?;
    Ok(config.into())
}

/// The architecture of a file that holds a model.
fn architecture<'a>(metadata: &Metadata<'a>) -> anyhow::Result<&'a str> {
    if let Some(kind) = metadata.text("general.type")?
        && kind != "model"
    {
        bail!(
            "metadata `general.type` is `{}`: this file holds no model of its own",
            kind.escape_debug()
        );
    }
    if let Some(version) = metadata.count("general.quantization_version")? {
        ensure!(
            version == 2,
            "metadata `general.quantization_version` is {version}: the blocks of version 2 can be \
             read"
        );
    }
    let key = "general.architecture";
    need(metadata.text(key)?, key)
}

struct Reader<'m, 'a> {
    model: &'m Model<'a>,
    metadata: &'m Metadata<'a>,
    architecture: &'a str,
    generation: Generation,
}

impl Reader<'_, '_> {
    fn config(&self) -> anyhow::Result<FlatConfig> {
        let vocab_size = self.vocabulary()?;
        let layer_count = self.layer_count()?;
        let size = |name, most| need(self.size(name, layer_count, most)?, &self.key(name));
        let hidden_size = size("embedding_length", WIDEST)?;
        let heads = size("attention.head_count", WIDEST)?;
        let kv_heads = self.size("attention.head_count_kv", layer_count, WIDEST)?;
        let kv_heads = kv_heads.unwrap_or(heads);
        ensure!(
            heads.is_multiple_of(kv_heads),
            "metadata `{}` is {kv_heads}, of which {heads}, the number of heads, is no multiple",
            self.key("attention.head_count_kv")
        );
        let head_dim = self.size("attention.key_length", layer_count, WIDEST)?;
        let head_dim = head_dim.unwrap_or(hidden_size / heads);
        ensure!(
            head_dim > 0 && head_dim.is_multiple_of(2),
            "metadata `{}`: heads of {head_dim} values can't be: RoPE needs pairs",
            self.key("attention.key_length")
        );
        let (layers, sliding_window) = self.windows(layer_count)?;
        let (rope_theta, rope_local_theta) = self.rope_bases()?;
        let (attention_cap, final_cap) = match self.generation {
            Generation::Gemma2 => (Some(50.0), Some(30.0)),
            _ => (None, None),
        };
        Ok(FlatConfig {
            generation: self.generation,
            vocab_size,
            hidden_size,
            intermediate_size: size("feed_forward_length", WIDEST)?,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            rms_norm_eps: self
                .metadata
                .positive(&self.key("attention.layer_norm_rms_epsilon"))?
                .unwrap_or(1e-6),
            max_position_embeddings: size("context_length", LONGEST)?,
            query_pre_attn_scalar: self.scale_base(layer_count, hidden_size / heads, head_dim),
            layers,
            sliding_window,
            rope_theta,
            rope_local_theta,
            rope_linear_factor: self.linear_factor()?,
            attn_logit_softcapping: self.soft_cap("attn_logit_softcapping", attention_cap)?,
            final_logit_softcapping: self.soft_cap("final_logit_softcapping", final_cap)?,
            attention_bias: self.model.tensors.contains_key("blk.0.attn_q.bias"),
            tie_word_embeddings: !self.model.tensors.contains_key("output.weight"),
            bos_token_id: Some(
                self.token("tokenizer.ggml.bos_token_id", vocab_size)?
                    .unwrap_or(2),
            ),
            eos_token_ids: self.end_tokens(vocab_size)?,
            gemma4: None,
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// A count from 1 to `most`.
    fn size(&self, name: &str, layers: usize, most: u64) -> anyhow::Result<Option<usize>> {
        let key = self.key(name);
        let Some(size) = self.metadata.count_of_layers(&key, layers)? else {
            return Ok(None);
        };
        ensure!(
            (1..=most).contains(&size),
            "metadata `{key}` is {size}: it must be from 1 to {most}"
        );
        Ok(Some(size as usize))
    }

    /// Rows of the embedding table.
    fn vocabulary(&self) -> anyhow::Result<usize> {
        let table = self.model.tensors.get(EMBEDDING);
        let table = table.with_context(|| format!("the file has no tensor `{EMBEDDING}`"))?;
        let rows = table.shape[0];
        ensure!(
            rows as u64 <= WIDEST,
            "tensor `{EMBEDDING}` has {rows} rows, more than any vocabulary"
        );
        Ok(rows)
    }

    /// The number of layers, which the file's tensors must bear out.
    fn layer_count(&self) -> anyhow::Result<usize> {
        let key = self.key("block_count");
        let stated = need(self.metadata.count(&key)?, &key)?;
        let names = self.model.tensors.keys();
        let found = names
            .filter(|name| name.starts_with("blk.") && name.ends_with(".attn_norm.weight"))
            .count();
        ensure!(
            stated > 0 && stated == found as u64,
            "metadata `{key}` is {stated}, the file has the tensors of {found} layers"
        );
        Ok(found)
    }

    /// What each layer sees, and the window of those that don't see all.
    fn windows(&self, layers: usize) -> anyhow::Result<(Vec<LayerKind>, Option<usize>)> {
        let default = match self.generation {
            // Its keys stay unread: a Gemma 1 that asks for windows is refused.
            Generation::Gemma1 => return Ok((vec![LayerKind::Global; layers], None)),
            Generation::Gemma2 => Some(4096),
            _ => None,
        };
        let key = self.key("attention.sliding_window");
        let window = self
            .size("attention.sliding_window", layers, LONGEST)?
            .or(default);
        Ok((self.pattern(layers)?, Some(need(window, &key)?)))
    }

    /// Which layers are windowed: the file's own list, or every n-th isn't.
    fn pattern(&self, layers: usize) -> anyhow::Result<Vec<LayerKind>> {
        let key = self.key("attention.sliding_window_pattern");
        let every = match self.metadata.get(&key) {
            None if self.generation == Generation::Gemma2 => 2,
            None => 6,
            Some(Value::List(list)) => {
                let kinds = self.metadata.layer_by_layer(&key, list, layers)?;
                return kinds
                    .map(|windowed| match windowed {
                        Value::Bool(true) | Value::Integer(1) => Ok(LayerKind::Local),
                        Value::Bool(false) | Value::Integer(0) => Ok(LayerKind::Global),
                        _ => bail!("metadata `{key}` lists what is neither true nor false"),
                    })
                    .collect();
            }
            Some(number) => count(number).with_context(|| format!("metadata `{key}`"))?,
        };
        ensure!(every > 0, "metadata `{key}` must not be 0");
        let kind = |layer: u64| match (layer + 1).is_multiple_of(every) {
            true => LayerKind::Global,
            false => LayerKind::Local,
        };
        Ok((0..layers as u64).map(kind).collect())
    }

    /// RoPE's base on global and on local layers.
    fn rope_bases(&self) -> anyhow::Result<(f64, f64)> {
        let keys = |names: &[&str]| names.iter().map(|name| self.key(name)).collect::<Vec<_>>();
        let global = keys(&["rope.freq_base", "rope.global.freq_base"]);
        let local = keys(&["rope.freq_base_swa", "rope.local.freq_base"]);
        let global = self.metadata.positive_of(&global)?;
        let local_base = self.metadata.positive_of(&local)?;
        if self.generation == Generation::Gemma3 {
            return Ok((global.unwrap_or(1e6), local_base.unwrap_or(1e4)));
        }
        let global = global.unwrap_or(1e4);
        if let Some(base) = local_base
            && base != global
        {
            bail!(
                "metadata `{}` is {base}, the base of global layers {global}: only Gemma 3 has two",
                local[0]
            );
        }
        Ok((global, global))
    }

    /// The factor of linear RoPE scaling: 1 for none.
    fn linear_factor(&self) -> anyhow::Result<f64> {
        let kind_key = self.key("rope.scaling.type");
        let kind = self.metadata.text(&kind_key)?;
        let keys = ["rope.scaling.factor", "rope.scale_linear"].map(|name| self.key(name));
        match kind {
            Some("none") => {
                // Whatever it is, it has no effect.
                for key in &keys {
                    let _ = self.metadata.get(key);
                }
                Ok(1.0)
            }
            Some("linear") => need(self.metadata.positive_of(&keys)?, &keys[0]),
            None => Ok(self.metadata.positive_of(&keys)?.unwrap_or(1.0)),
            Some(other) => bail!(
                "metadata `{kind_key}` is `{}`: linear and none are supported",
                other.escape_debug()
            ),
        }
    }

    /// A soft-cap. GGUF has no null: where there is none by default, llama.cpp takes 0 for none.
    fn soft_cap(&self, name: &str, default: Option<f64>) -> anyhow::Result<Option<f64>> {
        let key = self.key(name);
        match self.metadata.get(&key) {
            Some(Value::F32(0.0) | Value::F64(0.0)) if default.is_none() => Ok(None),
            _ => Ok(self.metadata.positive(&key)?.or(default)),
        }
    }

    /// The number whose inverse root scales attention scores: the head's width, but in the 27B
    /// models of Gemma 2 (46 layers) and Gemma 3 (62 layers), which are told by their depth.
    fn scale_base(&self, layers: usize, per_head: usize, head_dim: usize) -> f64 {
        match (self.generation, layers) {
            (Generation::Gemma2, 46) | (Generation::Gemma3, 62) => per_head as f64,
            _ => head_dim as f64,
        }
    }

    fn token(&self, key: &str, vocab_size: usize) -> anyhow::Result<Option<u32>> {
        let token = self.metadata.count(key)?;
        token.map(|id| token_id(key, id, vocab_size)).transpose()
    }

    /// Tokens that end a generation, in ascending order.
    fn end_tokens(&self, vocab_size: usize) -> anyhow::Result<Vec<u32>> {
        let mut ids = Vec::new();
        for name in ["eos", "eot", "eom"] {
            let key = format!("tokenizer.ggml.{name}_token_id");
            ids.extend(self.token(&key, vocab_size)?);
        }
        // Ollama's.
        let key = "tokenizer.ggml.eos_token_ids";
        let more = self.metadata.list(key)?;
        for value in more.into_iter().flat_map(|list| list.iter()) {
            let id = count(value).with_context(|| format!("metadata `{key}`"))?;
            ids.push(token_id(key, id, vocab_size)?);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Keys that repeat what others say, or that say what every Gemma does: they must do so.
    fn check_repeated(&self, config: &FlatConfig) -> anyhow::Result<()> {
        let repeated = [
            ("vocab_size", config.vocab_size),
            ("attention.value_length", config.head_dim),
            ("attention.key_length_swa", config.head_dim),
            ("attention.value_length_swa", config.head_dim),
            ("rope.dimension_count", config.head_dim),
            ("rope.dimension_count_swa", config.head_dim),
            ("attention.shared_kv_layers", 0),
            ("embedding_length_per_layer_input", 0),
            ("expert_count", 0),
            ("expert_used_count", 0),
        ];
        for (name, expected) in repeated {
            let key = self.key(name);
            if let Some(stated) = self.metadata.count_of_layers(&key, config.layers.len())? {
                ensure!(
                    stated == expected as u64,
                    "metadata `{key}` is {stated}, where {} needs {expected}",
                    self.architecture
                );
            }
        }
        let key = self.key("attention.causal");
        ensure!(
            self.metadata.flag(&key)? != Some(false),
            "metadata `{key}` is false: attention to later tokens is not supported"
        );
        Ok(())
    }

    /// Refuses keys of the architecture that nothing was read from.
    fn check_unread(&self) -> anyhow::Result<()> {
        let prefix = self.key("");
        let could_change = |key: &&str| match key.strip_prefix(&prefix) {
            Some(name) => !HARMLESS.contains(&name),
            None => key.starts_with("adapter."),
        };
        let keys: Vec<String> = self
            .metadata
            .unread()
            .into_iter()
            .filter(could_change)
            .map(|key| format!("`{key}`"))
            .collect();
        ensure!(
            keys.is_empty(),
            "the metadata {} could change the model's work, and mlxbench doesn't know what a {} \
             does with them",
            keys.join(", "),
            self.architecture
        );
        Ok(())
    }
}

/// A token that the vocabulary has.
pub(crate) fn token_id(key: &str, id: u64, vocab_size: usize) -> anyhow::Result<u32> {
    ensure!(
        id < vocab_size as u64,
        "metadata `{key}` is {id}, the vocabulary has {vocab_size} tokens"
    );
    Ok(u32::try_from(id)?)
}
