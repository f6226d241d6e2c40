//! Why a backend has no device of a name, and what would bring it.

use mlxbench_core::Device;
use mlxbench_core::backend::DeviceSupport;

/// That none of `known` is `device`, with what to write or install instead.
pub fn not_here(backend: &str, device: &Device, known: &[DeviceSupport]) -> String {
    let names: Vec<String> = known.iter().map(|known| known.device.to_string()).collect();
    let hint = hint(backend, device).map(|hint| format!(": {hint}"));
    format!(
        "no device `{device}` here, only {}{}",
        names.join(", "),
        hint.unwrap_or_default()
    )
}

fn hint(backend: &str, device: &Device) -> Option<String> {
    let apple = match backend {
        "tch" => "mps",
        "candle" => "metal",
        "mlx" => "gpu",
        _ => return None,
    };
    match device.kind() {
        "metal" if apple == "metal" => Some(
            "`metal` needs Apple silicon, macOS and a build with candle's feature `metal`".into(),
        ),
        kind if kind == apple => Some(format!("`{kind}` needs Apple silicon and macOS")),
        "mps" | "metal" | "gpu" => Some(format!(
            "Apple's GPU is `{apple}` to {backend}, and needs Apple silicon and macOS"
        )),
        kind if kind.starts_with("cuda") => Some(format!(
            "`{kind}` needs an NVIDIA GPU with its driver, and a build after `scripts/setup --cuda`"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_frameworks_name_is_answered_with_this_ones() {
        let told = |backend, device: &str| not_here(backend, &device.parse().unwrap(), &[]);
        assert!(told("tch", "mps").ends_with("`mps` needs Apple silicon and macOS"));
        assert!(told("candle", "mps").contains("Apple's GPU is `metal` to candle"));
        assert!(told("mlx", "mps").contains("Apple's GPU is `gpu` to mlx"));
        assert!(told("tch", "cuda:1").contains("scripts/setup --cuda"));
        assert!(told("own", "mps").ends_with("only "));
    }
}
