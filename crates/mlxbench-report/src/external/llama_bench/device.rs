//! What an entry was computed on, so far as llama-bench tells.

use serde_json::{Map, Value};

use crate::external::UNKNOWN;

/// Layers on a GPU that are all of a model's: llama-bench's own default, where that isn't negative. What
/// is fewer may leave some on the CPU; the file doesn't tell how many a model has.
const ALL_LAYERS: i64 = 99;

/// Backends that compute on the CPU.
const OF_THE_CPU: [&str; 3] = ["CPU", "BLAS", "ZenDNN"];

/// What older versions have in place of `backends`: whether each was built in.
const OLD_BACKENDS: [(&str, &str); 9] = [
    ("cuda", "CUDA"),
    ("opencl", "OpenCL"),
    ("vulkan", "Vulkan"),
    ("kompute", "Kompute"),
    ("metal", "Metal"),
    ("sycl", "SYCL"),
    ("rpc", "RPC"),
    ("gpu_blas", "GPU BLAS"),
    ("blas", "BLAS"),
];

/// The devices that were asked for, or else the backends of the build, which may be several: the file
/// doesn't tell which of them worked. `ngl=N` where the model isn't wholly on them: even with 0, a GPU
/// does the products of long prompts.
pub(super) fn device(keys: &Map<String, Value>) -> String {
    let backends = backends(keys);
    let devices = text(keys, "devices").filter(|&devices| devices != "auto");
    if devices == Some("none") || backends == "CPU" {
        return "cpu".into();
    }
    if backends
        .split(',')
        .all(|name| OF_THE_CPU.contains(&name.trim()))
    {
        return format!("cpu ({backends})");
    }
    let name = devices.unwrap_or(&backends);
    match keys.get("n_gpu_layers").and_then(Value::as_i64) {
        Some(layers @ 0..ALL_LAYERS) => format!("{name} ngl={layers}"),
        _ => name.into(),
    }
}

/// The backends of the build, apart by commas.
fn backends(keys: &Map<String, Value>) -> String {
    if let Some(backends) = text(keys, "backends") {
        return backends.into();
    }
    let known = OLD_BACKENDS.iter();
    let known = known.filter_map(|(key, name)| Some((*name, keys.get(*key)?.as_bool()?)));
    let known: Vec<(&str, bool)> = known.collect();
    let built = known.iter().filter(|(_, built)| *built);
    let built: Vec<&str> = built.map(|(name, _)| *name).collect();
    match built.as_slice() {
        [] if known.is_empty() => UNKNOWN.into(),
        [] => "CPU".into(),
        built => built.join(","),
    }
}

/// Text, where there is some.
pub(super) fn text<'a>(keys: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let text = keys.get(key)?.as_str()?.trim();
    Some(text).filter(|text| !text.is_empty())
}
