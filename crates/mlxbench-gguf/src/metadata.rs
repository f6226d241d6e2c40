//! A GGUF file's facts, and Gemma's configuration from them.
//!
//! Keys: the GGUF specification of ggml. What the file doesn't say (attention scale, layer pattern,
//! RoPE base of local layers) follows llama.cpp's `llama-model.cpp`.

use anyhow::{Context, bail};
use candle_core::quantized::gguf_file::{Content, Value};
use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::{Generation, LayerKind};

/// Typed access to a file's metadata.
#[derive(Debug)]
pub struct Metadata<'a> {
    content: &'a Content,
}

impl<'a> Metadata<'a> {
    /// The metadata of `content`.
    pub fn new(content: &'a Content) -> Self {
        Self { content }
    }

    /// A text.
    ///
    /// # Errors
    /// When the key is missing or no text.
    pub fn text(&self, key: &str) -> anyhow::Result<&'a str> {
        Ok(self
            .required(key)?
            .to_string()
            .with_context(|| wrong_type(key))?)
    }

    /// A count, of whatever integer type the file has it in.
    ///
    /// # Errors
    /// When the key is there and no count.
    pub fn count(&self, key: &str) -> anyhow::Result<Option<usize>> {
        self.optional(key)
            .map(|value| integer(value).with_context(|| wrong_type(key)))
            .transpose()
    }

    /// An f32.
    ///
    /// # Errors
    /// When the key is there and no f32.
    pub fn number(&self, key: &str) -> anyhow::Result<Option<f64>> {
        let number = self
            .optional(key)
            .map(|value| value.to_f32().with_context(|| wrong_type(key)));
        // Through its shortest text: the f32 nearest to 1e-6 means 1e-6.
        number
            .transpose()?
            .map(|number| Ok(number.to_string().parse()?))
            .transpose()
    }

    /// A list.
    ///
    /// # Errors
    /// When the key is missing or no list.
    pub fn list(&self, key: &str) -> anyhow::Result<&'a [Value]> {
        Ok(self
            .required(key)?
            .to_vec()
            .with_context(|| wrong_type(key))?)
    }

    fn optional(&self, key: &str) -> Option<&'a Value> {
        self.content.metadata.get(key)
    }

    fn required(&self, key: &str) -> anyhow::Result<&'a Value> {
        self.optional(key)
            .with_context(|| format!("the file has no metadata `{key}`"))
    }

    /// The model's configuration.
    ///
    /// # Errors
    /// When the file is another architecture's, or a key that can't be guessed is missing.
    pub fn config(&self) -> anyhow::Result<GemmaConfig> {
        let architecture = self.text("general.architecture")?;
        let generation = match architecture {
            "gemma" => Generation::Gemma1,
            "gemma2" => Generation::Gemma2,
            "gemma3" => Generation::Gemma3,
            other => bail!("the file's architecture is `{other}`: gemma, gemma2 and gemma3 work"),
        };
        let key = |name: &str| format!("{architecture}.{name}");
        let need = |name: &str| {
            self.count(&key(name))?
                .with_context(|| format!("the file has no metadata `{}`", key(name)))
        };
        let embedding = "token_embd.weight";
        let vocab_size = self
            .content
            .tensor_infos
            .get(embedding)
            .and_then(|info| info.shape.dims().first().copied())
            .with_context(|| format!("the file has no tensor `{embedding}`"))?;
        let hidden_size = need("embedding_length")?;
        let heads = need("attention.head_count")?;
        let head_dim = need("attention.key_length")?;
        let count = need("block_count")?;
        let default_theta = if generation == Generation::Gemma3 {
            1e6
        } else {
            1e4
        };
        let rope_theta = self
            .number(&key("rope.freq_base"))?
            .unwrap_or(default_theta);
        if let Some(kind) = self.optional(&key("rope.scaling.type")) {
            let kind = kind.to_string().with_context(|| key("rope.scaling.type"))?;
            if kind != "linear" && kind != "none" {
                bail!("the file asks for RoPE scaling `{kind}`: only linear is supported");
            }
        }
        let eos = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"];
        let mut eos_token_ids = Vec::new();
        for key in eos {
            eos_token_ids.extend(self.count(key)?.map(|id| id as u32));
        }
        Ok(GemmaConfig {
            generation,
            vocab_size,
            hidden_size,
            intermediate_size: need("feed_forward_length")?,
            num_attention_heads: heads,
            num_key_value_heads: self
                .count(&key("attention.head_count_kv"))?
                .unwrap_or(heads),
            head_dim,
            rms_norm_eps: self
                .number(&key("attention.layer_norm_rms_epsilon"))?
                .unwrap_or(1e-6),
            max_position_embeddings: need("context_length")?,
            query_pre_attn_scalar: scale_base(generation, count, hidden_size / heads, head_dim),
            layers: layers(generation, count),
            sliding_window: match generation {
                Generation::Gemma1 => None,
                _ => Some(need("attention.sliding_window")?),
            },
            rope_theta,
            rope_local_theta: if generation == Generation::Gemma3 {
                1e4
            } else {
                rope_theta
            },
            rope_linear_factor: self.number(&key("rope.scaling.factor"))?.unwrap_or(1.0),
            attn_logit_softcapping: match generation {
                Generation::Gemma2 => {
                    Some(self.number(&key("attn_logit_softcapping"))?.unwrap_or(50.0))
                }
                _ => None,
            },
            final_logit_softcapping: match generation {
                Generation::Gemma2 => Some(
                    self.number(&key("final_logit_softcapping"))?
                        .unwrap_or(30.0),
                ),
                _ => None,
            },
            attention_bias: false,
            tie_word_embeddings: !self.content.tensor_infos.contains_key("output.weight"),
            bos_token_id: self
                .count("tokenizer.ggml.bos_token_id")?
                .map(|id| id as u32),
            eos_token_ids,
        })
    }
}

/// The number whose inverse root scales attention scores: the head's width, but in the 27B models
/// of Gemma 2 (46 layers) and Gemma 3 (62 layers), which are told by their depth.
fn scale_base(generation: Generation, layers: usize, per_head: usize, head_dim: usize) -> f64 {
    match (generation, layers) {
        (Generation::Gemma2, 46) | (Generation::Gemma3, 62) => per_head as f64,
        _ => head_dim as f64,
    }
}

fn layers(generation: Generation, count: usize) -> Vec<LayerKind> {
    let every = match generation {
        Generation::Gemma1 => 1,
        Generation::Gemma2 => 2,
        Generation::Gemma3 => 6,
    };
    let kind = |layer| {
        if (layer + 1) % every == 0 {
            LayerKind::Global
        } else {
            LayerKind::Local
        }
    };
    (0..count).map(kind).collect()
}

/// A value of any integer type.
pub(crate) fn integer(value: &Value) -> anyhow::Result<usize> {
    let count = match value {
        Value::U8(n) => u64::from(*n),
        Value::U16(n) => u64::from(*n),
        Value::U32(n) => u64::from(*n),
        Value::U64(n) => *n,
        Value::I8(n) => (*n).try_into()?,
        Value::I16(n) => (*n).try_into()?,
        Value::I32(n) => (*n).try_into()?,
        Value::I64(n) => (*n).try_into()?,
        other => bail!("{other:?} is no count"),
    };
    Ok(count.try_into()?)
}

fn wrong_type(key: &str) -> String {
    format!("metadata `{key}` has another type than expected")
}
