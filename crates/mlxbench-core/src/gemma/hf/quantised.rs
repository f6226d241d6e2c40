//! Weights in a quantised format, named as what they are: `quantization` of mlx-lm, and
//! `quantization_config` of transformers with its many methods.

use serde_json::Value;

use super::keys::{Keys, shown};

/// Keys that say so, wherever in the file they are.
const KEYS: [&str; 3] = ["quantization", "quantization_config", "compression_config"];

/// Refuses a file whose weights are quantised.
///
/// # Errors
/// When they are; the message names the format and the key, and says what to use.
pub(super) fn refuse(keys: &mut Keys<'_>) -> Result<(), String> {
    for key in KEYS {
        let Some(found) = keys.one_of(&[key])? else {
            continue;
        };
        let off = match found.value {
            Value::Object(object) => object.is_empty(),
            value => *value == Value::Bool(false),
        };
        if !off {
            return Err(message(&format(found.value), &found.from));
        }
    }
    Ok(())
}

/// What is said of weights in `format`, which `evidence` shows.
pub(crate) fn message(format: &str, evidence: &str) -> String {
    format!(
        "the weights are quantised: {format} (`{evidence}`). mlxbench can't run this format: use \
         the model in bf16, f16 or f32, or a GGUF file of it through `mlxbench model import`"
    )
}

/// The format in words, such as `MLX 4-bit, group size 64` or `bitsandbytes 4-bit (nf4)`.
fn format(value: &Value) -> String {
    let text = |key: &str| {
        value[key]
            .as_str()
            .map(|text| text.escape_debug().to_string())
    };
    let bits = || match &value["bits"] {
        Value::Null => String::new(),
        bits => format!(" {}-bit", shown(bits)),
    };
    let method = text("quant_method").or_else(|| text("quant_algo"));
    match method.as_deref() {
        None if value["group_size"].is_number() => {
            let mode = text("mode").map_or_else(String::new, |mode| format!(" ({mode})"));
            format!("MLX{}{mode}, group size {}", bits(), value["group_size"])
        }
        None => match value["load_in_4bit"] == true || value["load_in_8bit"] == true {
            true => bitsandbytes(value),
            false => format!("a format that the file doesn't name ({})", shown(value)),
        },
        Some("bitsandbytes") => bitsandbytes(value),
        Some("gptq") => format!("GPTQ{}", bits()),
        Some("awq") => format!("AWQ{}", bits()),
        Some("fp8" | "fbgemm_fp8") => "FP8".to_owned(),
        Some("compressed-tensors") => match text("format") {
            Some(format) => format!("compressed-tensors ({format})"),
            None => "compressed-tensors".to_owned(),
        },
        Some(other) => format!("{other}{}", bits()),
    }
}

fn bitsandbytes(value: &Value) -> String {
    if value["load_in_8bit"] == true {
        return "bitsandbytes 8-bit".to_owned();
    }
    let kind = value["bnb_4bit_quant_type"].as_str().unwrap_or("fp4");
    format!("bitsandbytes 4-bit ({})", kind.escape_debug())
}

/// The format that the names of a checkpoint's tensors show, with the name that shows it: packed
/// weights come with scales of their own.
pub(crate) fn shown_by_names<'a>(
    names: impl Iterator<Item = &'a str>,
) -> Option<(&'static str, &'a str)> {
    const ENDINGS: [(&str, &str); 8] = [
        (".scales", "MLX"),
        (".qweight", "GPTQ or AWQ"),
        (".quant_state.bitsandbytes__nf4", "bitsandbytes 4-bit (nf4)"),
        (".quant_state.bitsandbytes__fp4", "bitsandbytes 4-bit (fp4)"),
        (".absmax", "bitsandbytes 4-bit"),
        (".SCB", "bitsandbytes 8-bit"),
        (".weight_scale", "FP8 or compressed-tensors"),
        (".weight_scale_inv", "FP8"),
    ];
    // The first by name, so that the message is the same each time.
    let found = names.filter_map(|name| {
        let (_, format) = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending))?;
        Some((*format, name))
    });
    found.min_by_key(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(value: &Value) -> String {
        refuse(&mut Keys::new("", value.as_object().unwrap())).unwrap_err()
    }

    #[test]
    fn formats_are_named_as_what_they_are() {
        let formats = [
            (
                json!({"quantization": {"group_size": 64, "bits": 4}}),
                "MLX 4-bit, group size 64 (`quantization`)",
            ),
            (
                json!({"quantization_config": {"group_size": 32, "bits": 4, "mode": "mxfp4"}}),
                "MLX 4-bit (mxfp4), group size 32",
            ),
            (
                json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true,
                    "bnb_4bit_quant_type": "nf4"}}),
                "bitsandbytes 4-bit (nf4) (`quantization_config`)",
            ),
            (
                json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true}}),
                "bitsandbytes 8-bit",
            ),
            (
                json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}),
                "GPTQ 4-bit",
            ),
            (
                json!({"quantization_config": {"quant_method": "awq", "bits": 4}}),
                "AWQ 4-bit",
            ),
            (
                json!({"quantization_config": {"quant_method": "fp8"}}),
                "FP8",
            ),
            (
                json!({"quantization_config": {"quant_method": "compressed-tensors",
                    "format": "float-quantized"}}),
                "compressed-tensors (float-quantized)",
            ),
            (
                json!({"quantization_config": {"quant_method": "torchao"}}),
                "torchao",
            ),
            (
                json!({"quantization": "q4f16_0"}),
                "a format that the file doesn't name (\"q4f16_0\")",
            ),
        ];
        for (value, expected) in formats {
            let message = refusal(&value);
            assert!(message.contains(expected), "{message}");
            assert!(message.contains("bf16, f16 or f32"), "{message}");
        }
    }

    #[test]
    fn what_is_off_is_not_quantised() {
        let value = json!({"quantization": null, "quantization_config": {}});
        refuse(&mut Keys::new("", value.as_object().unwrap())).unwrap();
    }

    #[test]
    fn names_of_tensors_show_it_too() {
        let names = ["model.norm.weight", "model.layers.0.mlp.up_proj.scales"];
        let (format, name) = shown_by_names(names.into_iter()).unwrap();
        assert_eq!((format, name), ("MLX", names[1]));
        assert_eq!(shown_by_names(names[..1].iter().copied()), None);
    }
}
