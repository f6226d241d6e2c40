//! Weights in a quantised format, named as what they are: `quantization` of mlx-lm, and
//! `quantization_config` of transformers with its many methods, files beside config.json, and names of
//! tensors.

mod packed;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::keys::{Keys, shown};
use super::mlx::MlxPacking;

pub(crate) use packed::shown_by_names;

/// Keys that say so, wherever in the file they are.
const KEYS: [&str; 3] = ["quantization", "quantization_config", "compression_config"];

/// bitsandbytes' keys.
const FLAGS: [&str; 2] = ["load_in_4bit", "load_in_8bit"];

/// Files beside config.json in which tools say so, and the tools.
const ASIDE: [(&str, &str); 3] = [
    ("hf_quant_config.json", "ModelOpt"),
    ("quantize_config.json", "GPTQ"),
    ("quant_config.json", "AWQ"),
];

/// The names of the files beside config.json that may say that the weights are quantised.
pub fn files_aside() -> impl Iterator<Item = &'static str> {
    ASIDE.into_iter().map(|(name, _)| name)
}

/// How the file's matrices are packed, where mlx-lm packed them; `None` where they are plain numbers.
///
/// # Errors
/// When they are quantised in a way that can't be run; the message names the format and the key, and says
/// what to use.
pub(super) fn read(keys: &mut Keys<'_>) -> Result<Option<MlxPacking>, String> {
    let mut packing = None;
    for key in KEYS {
        let Some(found) = keys.one_of(&[key])? else {
            continue;
        };
        if is_off(found.value) {
            continue;
        }
        let refusal = || message(&format(key, found.value), &found.from);
        if method(key, found.value).as_deref() != Some("mlx") {
            return Err(refusal());
        }
        let read = MlxPacking::read(found.value).map_err(|why| format!("{} ({why})", refusal()))?;
        if packing
            .replace(read.clone())
            .is_some_and(|known| known != read)
        {
            return Err(format!("`{}` and `{}` disagree", KEYS[0], KEYS[1]));
        }
    }
    Ok(packing)
}

/// The name of the method of a description, where it names one or its keys show it.
fn method(key: &str, value: &Value) -> Option<String> {
    let named = value["quant_method"].as_str().map(str::to_lowercase);
    named.or_else(|| method_of_keys(key, value).map(str::to_owned))
}

/// Refuses a model that has `text` in its file `name`, one of [`files_aside`]. What is no JSON says
/// nothing.
///
/// # Errors
/// As for `config.json`, where the file says that the weights are quantised.
pub(crate) fn refuse_aside(name: &str, text: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let tool = ASIDE.iter().find(|(known, _)| *known == name);
    let Some((_, tool)) = tool.filter(|_| value.is_object() && !is_off(&value)) else {
        return Ok(());
    };
    let format = match format(name, &value) {
        named if named.starts_with(UNNAMED) => (*tool).to_owned(),
        named => named,
    };
    Err(format!(
        "{}; if its weights are plain numbers, remove {name}",
        message(&format, name)
    ))
}

/// Whether a description of quantisation says that there is none.
fn is_off(value: &Value) -> bool {
    let Value::Object(object) = value else {
        return *value == Value::Bool(false);
    };
    // bitsandbytes writes both flags, and needs one of them.
    let mut keys = object.keys().map(|key| key.trim_start_matches('_'));
    let bitsandbytes_off = keys.any(|key| FLAGS.contains(&key)) && !has_flag(value);
    // ModelOpt writes what it did to the KV cache alone, too.
    let modelopt_off = value["quantization"].is_object()
        && value["quantization"]["quant_algo"].is_null()
        && !object.contains_key("bits");
    object.is_empty() || bitsandbytes_off || modelopt_off
}

/// Whether one of bitsandbytes' flags is on.
fn has_flag(value: &Value) -> bool {
    FLAGS.iter().any(|flag| is_set(value, flag))
}

/// Whether a flag of bitsandbytes is on, under its newer or its older name.
fn is_set(value: &Value, flag: &str) -> bool {
    value[flag] == true || value[format!("_{flag}")] == true
}

/// What is said of weights in `format`, which `evidence` shows.
pub(crate) fn message(format: &str, evidence: &str) -> String {
    format!(
        "the weights are quantised: {format} (`{evidence}`). mlxbench can't run this format: use \
         the model in bf16, f16 or f32, or a GGUF file of it through `mlxbench model import`"
    )
}

/// The beginning of the words for what none of the names below is.
const UNNAMED: &str = "a format that the file doesn't name";

/// The format of `value`, which stands at `key`, in words, such as `MLX 4-bit, group size 64` or
/// `bitsandbytes 4-bit (nf4)`.
fn format(key: &str, value: &Value) -> String {
    let text = |place: &str| {
        let found = value.pointer(place).and_then(Value::as_str);
        found.map(|text| text.escape_debug().to_string())
    };
    let bits = |places: &[&str]| {
        let found = places.iter().filter_map(|place| value.pointer(place));
        let found = found.filter(|bits| bits.is_number() || bits.is_string());
        let mut texts = found.map(|bits| format!(" {}-bit", shown(bits)));
        texts.next().unwrap_or_default()
    };
    let of = |name: &str| format!("{name}{}", bits(&["/bits", "/w_bit", "/nbits"]));
    match method(key, value)
        .map(|name| name.escape_debug().to_string())
        .as_deref()
    {
        Some("mlx") => mlx(value, &of("MLX")),
        Some("bitsandbytes") => bitsandbytes(value),
        Some("gptq") => of("GPTQ"),
        Some("gptq_marlin" | "marlin") => format!("{} (Marlin)", of("GPTQ")),
        Some("awq") => of("AWQ"),
        Some("exl2") => of("EXL2"),
        Some("exl3") => of("EXL3"),
        Some("auto-round" | "intel/auto-round") => of("AutoRound"),
        Some("hqq") => format!("HQQ{}", bits(&["/quant_config/weight_quant_params/nbits"])),
        Some("aqlm") => "AQLM".to_owned(),
        Some("mxfp4") => "MXFP4".to_owned(),
        Some("eetq") => "EETQ 8-bit".to_owned(),
        Some("quanto") => match text("/weights") {
            Some(kind) => format!("quanto ({kind})"),
            None => "quanto".to_owned(),
        },
        Some("fp8" | "fbgemm_fp8") => "FP8".to_owned(),
        Some("modelopt" | "modelopt_fp4") => {
            match text("/quant_algo").or_else(|| text("/quantization/quant_algo")) {
                Some(algorithm) => format!("ModelOpt {algorithm}"),
                None => "ModelOpt".to_owned(),
            }
        }
        Some("compressed-tensors") => match text("/format") {
            Some(format) => format!("compressed-tensors ({format})"),
            None => "compressed-tensors".to_owned(),
        },
        Some(other) => of(other),
        None => format!("{UNNAMED} ({})", shown(value)),
    }
}

/// The method of a description that doesn't name it, by the keys that only one has.
fn method_of_keys(key: &str, value: &Value) -> Option<&'static str> {
    let has = |keys: &[&str]| keys.iter().any(|key| !value[*key].is_null());
    let producer = value["producer"]["name"].as_str();
    let known: [(bool, &str); 8] = [
        (
            producer == Some("modelopt") || has(&["quant_algo"]),
            "modelopt",
        ),
        (!value["quantization"]["quant_algo"].is_null(), "modelopt"),
        (has_flag(value), "bitsandbytes"),
        (has(&["w_bit", "q_group_size", "zero_point"]), "awq"),
        (
            has(&["desc_act", "sym", "damp_percent", "true_sequential"]),
            "gptq",
        ),
        (has(&["head_bits"]), "exl2"),
        (has(&["config_groups"]), "compressed-tensors"),
        // Its own key is `quantization`; beside that it writes the same under transformers' key.
        (
            has(&["group_size"]) || (key == KEYS[0] && has(&["bits"])),
            "mlx",
        ),
    ];
    known
        .iter()
        .find(|(found, _)| *found)
        .map(|(_, method)| *method)
}

fn mlx(value: &Value, name: &str) -> String {
    let mode = value["mode"].as_str();
    let mode = mode.map_or_else(String::new, |mode| format!(" ({})", mode.escape_debug()));
    let group = match &value["group_size"] {
        Value::Number(size) => format!(", group size {size}"),
        _ => String::new(),
    };
    format!("{name}{mode}{group}")
}

fn bitsandbytes(value: &Value) -> String {
    if is_set(value, FLAGS[1]) {
        return "bitsandbytes 8-bit".to_owned();
    }
    let kind = value["bnb_4bit_quant_type"].as_str().unwrap_or("fp4");
    format!("bitsandbytes 4-bit ({})", kind.escape_debug())
}
