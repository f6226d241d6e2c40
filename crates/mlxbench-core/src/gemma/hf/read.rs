//! From the keys of `config.json` to a configuration, with the key that each fact was read from.

mod arithmetic;
#[cfg(test)]
mod tests;
mod tokens;

use std::path::PathBuf;

use serde_json::{Value, json};

use super::defaults::{self, Defaults};
use super::keys::{Keys, Sourced};
use super::mlx::MlxPacking;
use super::{gemma4, layers, quantised, rope, unused};
use crate::checkpoint::json::explain;
use crate::gemma::{Fact, FlatConfig, GemmaConfig, Generation, LayerKind, bounds};
use crate::{Dtype, Error, Result};

/// A `config.json`, read.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigFile {
    /// What the adapters work by.
    pub config: GemmaConfig,
    /// Every derived fact and where it came from.
    pub facts: Vec<Fact>,
    /// The keys of the file that nothing was derived from.
    pub unused: Vec<String>,
    /// What a user should know before believing that this is the model that was meant.
    pub warnings: Vec<String>,
    /// What the file says of the output head. The weights may know better.
    pub(crate) head: HeadFlag,
    /// How matrices are packed whose scales are stored.
    pub(crate) packing: Option<MlxPacking>,
    /// The GGUF file that the model was imported from.
    pub(crate) gguf: Option<PathBuf>,
}

/// What a file says of the output head.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeadFlag {
    /// Whether it is the embedding table.
    pub(crate) tied: bool,
    /// The key that says so, or that it is a default.
    pub(crate) from: String,
    /// Whether transformers reads that key. It doesn't read the inner one of a multimodal file.
    pub(crate) read_by_reference: bool,
}

impl ConfigFile {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// When the text is no JSON; the architecture is none of Gemma 1 to 4 and VaultGemma; two spellings of a
    /// key disagree; a number can't be a Gemma's; the weights are quantised in a way that can't be run; or a key asks for
    /// something that the adapters don't implement, or that nobody here knows.
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| Error::Invalid(explain(text, &error)))?;
        read(&value)
    }
}

impl GemmaConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// As [`ConfigFile::parse`].
    pub fn from_json(text: &str) -> Result<Self> {
        Ok(ConfigFile::parse(text)?.config)
    }
}

fn read(file: &Value) -> Result<ConfigFile> {
    let reading = begin(file).map_err(Error::Invalid)?;
    reading.finish()
}

fn begin(file: &Value) -> Result<Reading<'_>, String> {
    let object = file.as_object();
    let mut outer = match object {
        Some(object) => Keys::new("", object),
        None => return Err("not a JSON object: is this a model's config.json?".into()),
    };
    match outer.object("text_config")? {
        // Multimodal files keep the text model's keys apart.
        Some(text) => Reading::begin(text, Some(outer)),
        None => Reading::begin(outer, None),
    }
}

/// The model types of files that keep the text model's keys in `text_config`.
const WHOLE: [&str; 3] = ["gemma3", "gemma4", "gemma4_unified"];
const WHOLE_GEMMA_3: [&str; 1] = ["gemma3"];
const WHOLE_GEMMA_4: [&str; 2] = ["gemma4", "gemma4_unified"];
/// Those of text models alone.
const TEXT_ALONE: [&str; 6] = [
    "gemma",
    "gemma2",
    "gemma3_text",
    "gemma4_text",
    "gemma4_unified_text",
    "vaultgemma",
];

/// A file half read.
struct Reading<'a> {
    /// The object of the text model.
    text: Keys<'a>,
    /// That of the whole model, where it has more parts.
    outer: Option<Keys<'a>>,
    generation: Generation,
    /// Whether it is Gemma 4's unified class, whose defaults are others.
    unified: bool,
    packing: Option<MlxPacking>,
    facts: Vec<Fact>,
    unused: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Reading<'a> {
    /// Which generation it is, and that its weights are numbers.
    fn begin(mut text: Keys<'a>, mut outer: Option<Keys<'a>>) -> Result<Self, String> {
        let inner_type = text.text(&["model_type"])?;
        let outer_type = match &mut outer {
            Some(outer) => outer.text(&["model_type"])?,
            None => None,
        };
        let whole = outer_type.as_ref().map(|whole| whole.value);
        let wholes = match inner_type.as_ref().map(|text| text.value) {
            Some(text) if text.starts_with("gemma4") => &WHOLE_GEMMA_4[..],
            Some(_) => &WHOLE_GEMMA_3,
            None => &WHOLE,
        };
        match whole {
            None => {}
            Some(whole) if wholes.contains(&whole) => {}
            Some(text) if TEXT_ALONE.contains(&text) => {
                return Err(format!(
                    "model_type \"{text}\" is a text model's, whose keys stand beside it, but \
                     there is a `text_config`: write \"gemma3\" or \"gemma4\" if the model is one of \
                     those, else remove it"
                ));
            }
            Some(other) => return Err(unsupported(other)),
        }
        let unified = [whole, inner_type.as_ref().map(|text| text.value)];
        let unified = unified
            .iter()
            .flatten()
            .any(|name| name.starts_with("gemma4_unified"));
        let Some(model_type) = inner_type.or(outer_type) else {
            return Err("`model_type` is missing: is this a model's config.json?".into());
        };
        let generation = match model_type.value {
            "gemma" => Generation::Gemma1,
            "gemma2" => Generation::Gemma2,
            "gemma3" | "gemma3_text" => Generation::Gemma3,
            "vaultgemma" => Generation::VaultGemma,
            "gemma4" | "gemma4_text" | "gemma4_unified" | "gemma4_unified_text" => {
                Generation::Gemma4
            }
            other => return Err(unsupported(other)),
        };
        let mut packing = None;
        for keys in [Some(&mut text), outer.as_mut()].into_iter().flatten() {
            packing = quantised::read(keys)?.or(packing);
        }
        let architecture = format!("{generation:?}");
        Ok(Self {
            text,
            outer,
            generation,
            unified,
            packing,
            facts: vec![Fact::new("architecture", architecture, model_type.from)],
            unused: Vec::new(),
            warnings: Vec::new(),
        })
    }

    fn finish(mut self) -> Result<ConfigFile> {
        let (flat, head) = self.derive().map_err(Error::Invalid)?;
        flat.check()?;
        Ok(ConfigFile {
            config: flat.into(),
            facts: self.facts,
            unused: self.unused,
            warnings: self.warnings,
            head,
            packing: self.packing,
            gguf: None,
        })
    }

    /// All that the adapters work by, with the facts behind it.
    fn derive(&mut self) -> Result<(FlatConfig, HeadFlag), String> {
        let generation = self.generation;
        let defaults = self.defaults();
        let vocab_size = self.count("vocab_size", defaults.vocab_size)?;
        let hidden_size = self.count("hidden_size", defaults.hidden_size)?;
        let intermediate_size = self.count("intermediate_size", defaults.intermediate_size)?;
        let layers = self.count("num_hidden_layers", defaults.layers)?;
        let num_attention_heads = self.count("num_attention_heads", defaults.heads)?;
        let mut num_key_value_heads = self.count("num_key_value_heads", defaults.kv_heads)?;
        let mut head_dim = self.count("head_dim", defaults::HEAD_DIM)?;
        let max_position_embeddings = self.count("max_position_embeddings", defaults.context)?;
        let (layers, sliding_window) = self.layers(layers)?;
        let rope = self.rope(&layers)?;
        let mut more = None;
        if generation == Generation::Gemma4 {
            let heads = gemma4::Heads {
                head_dim,
                kv_heads: num_key_value_heads,
            };
            let read = self.gemma4(&layers, heads, rope.rotated.value)?;
            (head_dim, num_key_value_heads) = (read.local.head_dim, read.local.kv_heads);
            more = Some(read.gemma4);
        }
        let mut flat = FlatConfig {
            generation,
            vocab_size,
            hidden_size,
            intermediate_size,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            rms_norm_eps: self.norms()?,
            max_position_embeddings,
            query_pre_attn_scalar: self.attention_scale(head_dim)?,
            layers,
            sliding_window,
            rope_theta: rope.theta.value,
            rope_local_theta: rope.local_theta.value,
            rope_linear_factor: rope.factor.value,
            attn_logit_softcapping: self.attention_softcap(defaults.attn_softcap)?,
            final_logit_softcapping: self.final_softcap(defaults.final_softcap)?,
            attention_bias: self.biases()?,
            tie_word_embeddings: true,
            bos_token_id: self.bos(vocab_size)?,
            eos_token_ids: self.eos()?,
            gemma4: more,
        };
        self.activation()?;
        let scale = GemmaConfig::from(flat.clone()).embedding_scale(Dtype::F32);
        let scale = Fact::new("embedding_scale", scale, "hidden_size: its root");
        self.facts.push(scale);
        let head = self.head()?;
        flat.tie_word_embeddings = head.tied;
        self.dtypes()?;
        self.leftovers()?;
        Ok((flat, head))
    }

    fn fact<T: Clone + Into<Value>>(&mut self, name: &'static str, found: &Sourced<T>) {
        let value = found.value.clone();
        self.facts.push(Fact::new(name, value, found.from.clone()));
    }

    fn count(&mut self, key: &'static str, default: usize) -> Result<usize, String> {
        let found = match self.text.count(&[key])? {
            Some(Sourced { value, from }) => {
                let value = bounds::count(key, value).map_err(|error| error.to_string())?;
                Sourced { value, from }
            }
            None => Sourced::default_of(self.generation, default),
        };
        self.fact(key, &found);
        Ok(found.value)
    }

    /// The kind of each layer, and the window of local ones.
    fn layers(&mut self, count: usize) -> Result<(Vec<LayerKind>, Option<usize>), String> {
        let kinds = layers::kinds(&mut self.text, self.generation, count)?;
        let defaults = self.defaults();
        let window = layers::window(&mut self.text, self.generation, defaults.sliding_window)?;
        let of_default = layers::repeated(defaults.pattern, count);
        self.warn_of_private(
            &kinds,
            layers::PRIVATE_PATTERN,
            kinds.value == of_default,
            &format!("every {}th layer is global", defaults.pattern),
        );
        let has_local = kinds.value.contains(&LayerKind::Local);
        let default_window = defaults.sliding_window;
        self.warn_of_private(
            &window,
            layers::OLDER_WINDOW,
            window.value == default_window || !has_local,
            &default_window.map_or_else(String::new, |window| format!("the window is {window}")),
        );
        let windows = kinds.value.iter().map(|kind| match kind {
            LayerKind::Global => Value::Null,
            LayerKind::Local => json!(window.value),
        });
        let from = match has_local {
            true => format!("{}; {}", kinds.from, window.from),
            false => kinds.from,
        };
        self.facts
            .push(Fact::new("windows", Value::from_iter(windows), from));
        Ok((kinds.value, window.value))
    }

    fn rope(&mut self, layers: &[LayerKind]) -> Result<rope::Rope, String> {
        let rope = rope::read(&mut self.text, self.generation)?;
        let default_theta = Defaults::of(self.generation).rope_theta;
        self.warn_of_private(
            &rope.theta,
            rope::MLX_THETA,
            rope.theta.value == default_theta,
            &format!("the base is {default_theta}"),
        );
        self.unused.extend(rope.unused.iter().cloned());
        self.warnings.extend(rope.warnings.iter().cloned());
        self.fact("rope_theta", &rope.theta);
        self.fact("rope_linear_factor", &rope.factor);
        if self.generation == Generation::Gemma4 {
            self.fact("partial_rotary_factor", &rope.rotated);
        }
        let by_kind = matches!(self.generation, Generation::Gemma3 | Generation::Gemma4);
        if by_kind && layers.contains(&LayerKind::Local) {
            self.fact("rope_local_theta", &rope.local_theta);
            let none = Sourced {
                value: 1.0,
                from: format!(
                    "{}: local layers aren't scaled",
                    self.generation.model_type().trim_end_matches("_text")
                ),
            };
            self.fact("rope_local_linear_factor", &none);
        }
        Ok(rope)
    }

    fn defaults(&self) -> Defaults {
        match self.unified {
            true => Defaults::unified(),
            false => Defaults::of(self.generation),
        }
    }

    /// What Gemma 4 alone has.
    fn gemma4(
        &mut self,
        kinds: &[LayerKind],
        heads: gemma4::Heads,
        rotated: f64,
    ) -> Result<gemma4::Read, String> {
        let known = gemma4::Known {
            kinds,
            heads,
            rotated,
            unified: self.unified,
        };
        let mut read = gemma4::read(&mut self.text, &known)?;
        let facts = read.sources.drain(..);
        let facts = facts.map(|(name, value, from)| Fact::new(name, value, from));
        self.facts.extend(facts);
        self.unused.append(&mut read.unused);
        Ok(read)
    }

    /// Warns where a fact was read from `key` alone, which transformers doesn't read, so that there
    /// the default stands: `otherwise`, in words. Nothing where that is the `same`.
    fn warn_of_private<T>(&mut self, found: &Sourced<T>, key: &str, same: bool, otherwise: &str) {
        if !same && found.from == self.text.place_of(key) {
            self.warnings.push(format!(
                "`{}` counts here, but transformers doesn't read this key: there {otherwise}",
                found.from
            ));
        }
    }

    /// Whether the output head is the embedding table, as far as the file says.
    fn head(&mut self) -> Result<HeadFlag, String> {
        const KEY: &str = "tie_word_embeddings";
        let inner = self.text.flag(&[KEY])?;
        let outer = match &mut self.outer {
            Some(outer) => outer.flag(&[KEY])?,
            None => None,
        };
        let read_by_reference = outer.is_some() || self.outer.is_none();
        let found = outer.or(inner);
        let found = found.unwrap_or_else(|| Sourced::default_of(self.generation, true));
        let flag = HeadFlag {
            tied: found.value,
            from: found.from,
            read_by_reference,
        };
        flag.fact().replace(&mut self.facts);
        Ok(flag)
    }

    /// The dtype is that of the tensors: both spellings of the key are passed over, if they agree.
    fn dtypes(&mut self) -> Result<(), String> {
        for keys in [Some(&mut self.text), self.outer.as_mut()] {
            let Some(keys) = keys else { continue };
            if let Some(found) = keys.one_of(&["torch_dtype", "dtype"])? {
                self.unused
                    .extend(found.from.split(", ").map(str::to_owned));
            }
        }
        Ok(())
    }

    /// What nothing was derived from: checked, and kept to be shown.
    fn leftovers(&mut self) -> Result<(), String> {
        let rest = unused::check(&self.text)?;
        self.unused.extend(rest);
        if let Some(outer) = &self.outer {
            let rest = outer.rest().map(|(key, _)| outer.place_of(key));
            self.unused.extend(rest);
        }
        self.unused.sort_unstable();
        Ok(())
    }
}

impl HeadFlag {
    /// The fact that it makes, so long as the weights don't say otherwise.
    pub(crate) fn fact(&self) -> Fact {
        head_fact(self.tied, &self.from)
    }
}

/// The fact of an output head.
pub(crate) fn head_fact(tied: bool, from: &str) -> Fact {
    let head = match tied {
        true => "tied to the embeddings",
        false => "a table of its own",
    };
    Fact::new("output_head", head, from)
}

fn unsupported(model_type: &str) -> String {
    if model_type.starts_with("gemma3n") {
        return format!(
            "model_type \"{}\" is Gemma 3n, which mlxbench doesn't run: its layers are built of other \
             parts (AltUp, LAuReL, activation sparsity); Gemma 4's E2B and E4B come after it",
            model_type.escape_debug()
        );
    }
    format!(
        "model_type \"{}\" is not supported: mlxbench runs the text models of gemma, gemma2, \
         gemma3, gemma4 and vaultgemma",
        model_type.escape_debug()
    )
}
