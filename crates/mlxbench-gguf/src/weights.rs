//! Names, norms and dequantisation: GGUF's tensors to the Hugging Face layout's.

use std::cell::RefCell;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::bail;
use candle_core::Device;
use candle_core::quantized::gguf_file::Content;
use mlxbench_core::Dtype;
use mlxbench_core::gemma::{Generation, TensorSpec};
use mlxbench_models::Error;

/// The tensors of a GGUF file, read and dequantised one at a time.
#[derive(Debug)]
pub struct Weights<'a> {
    path: PathBuf,
    content: &'a Content,
    reader: RefCell<BufReader<File>>,
    generation: Generation,
    dtype: Dtype,
}

impl<'a> Weights<'a> {
    /// The tensors that `content` describes, to be written in `dtype`.
    pub fn new(
        path: &Path,
        content: &'a Content,
        reader: BufReader<File>,
        generation: Generation,
        dtype: Dtype,
    ) -> Self {
        Self {
            path: path.to_owned(),
            content,
            reader: RefCell::new(reader),
            generation,
            dtype,
        }
    }

    /// Checks that the file has every tensor of `specs`, in its shape, before anything is written.
    ///
    /// # Errors
    /// A message that names the tensor.
    pub fn check(&self, specs: &[TensorSpec]) -> anyhow::Result<()> {
        for spec in specs {
            let name = gguf_name(&spec.name, self.generation);
            let file = self.path.display();
            match self.content.tensor_infos.get(&name) {
                None => bail!("{file}: tensor `{name}` is missing"),
                Some(info) if info.shape.dims() != spec.shape => bail!(
                    "{file}: tensor `{name}` has shape {:?}, the metadata ask for {:?}",
                    info.shape.dims(),
                    spec.shape
                ),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The bytes of `spec`'s tensor in the dtype asked for.
    ///
    /// # Errors
    /// When the file is cut short or candle can't dequantise the tensor's type.
    pub fn tensor(&self, spec: &TensorSpec) -> Result<Vec<u8>, Error> {
        let name = gguf_name(&spec.name, self.generation);
        let read = || -> candle_core::Result<Vec<f32>> {
            let mut reader = self.reader.borrow_mut();
            let tensor = self.content.tensor(&mut *reader, &name, &Device::Cpu)?;
            tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()
        };
        let mut values = read().map_err(|error| {
            Error::Invalid(format!(
                "{}: tensor `{name}` can't be read ({error}): is the file whole?",
                self.path.display()
            ))
        })?;
        if spec.is_norm() {
            // GGUF stores the factor 1 + w, Hugging Face w.
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
        Ok(match self.dtype {
            Dtype::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Dtype::Bf16 => values
                .iter()
                .flat_map(|x| half::bf16::from_f32(*x).to_le_bytes())
                .collect(),
            Dtype::F16 => values
                .iter()
                .flat_map(|x| half::f16::from_f32(*x).to_le_bytes())
                .collect(),
        })
    }
}

/// GGUF's name of a Hugging Face tensor. Source: ggml's `constants.py` and `tensor_mapping.py`.
fn gguf_name(name: &str, generation: Generation) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    let rest = name.strip_prefix("model.layers.").unwrap_or(name);
    let (layer, part) = rest.split_once('.').unwrap_or((rest, ""));
    let part = part.strip_suffix(".weight").unwrap_or(part);
    let known = match part {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        // In Gemma 1 this is the norm before the MLP.
        "post_attention_layernorm" if generation == Generation::Gemma1 => "ffn_norm",
        "post_attention_layernorm" => "post_attention_norm",
        "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        other => other,
    };
    format!("blk.{layer}.{known}.weight")
}
