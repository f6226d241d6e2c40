//! Formats of packed weights by the names of their tensors, which come with scales of their own.

use std::collections::BTreeSet;

/// Endings of names and the format that they show, the most telling first: several formats have
/// `.scales`, one of them has nothing else.
///
/// Sources: the packing code of bitsandbytes, AutoGPTQ, AutoAWQ, exllamav2 and exllamav3, HQQ, AQLM,
/// VPTQ, QuIP#, optimum-quanto, torchao, compressed-tensors, TensorRT Model Optimizer, EETQ, mlx-lm,
/// and transformers' MXFP4 and FP8 integrations.
const ENDINGS: &[(&str, &str)] = &[
    (".quant_state.bitsandbytes__nf4", "bitsandbytes 4-bit (nf4)"),
    (".quant_state.bitsandbytes__fp4", "bitsandbytes 4-bit (fp4)"),
    (".quant_map", "bitsandbytes 4-bit"),
    (".absmax", "bitsandbytes 4-bit"),
    (".SCB", "bitsandbytes 8-bit"),
    (".g_idx", "GPTQ"),
    (".q_weight", "EXL2"),
    (".q_invperm", "EXL2"),
    (".trellis", "EXL3"),
    (".suh", "EXL3"),
    (".W_q", "HQQ"),
    (".codebooks", "AQLM"),
    (".centroids.weight", "VPTQ"),
    (".Qidxs", "QuIP#"),
    ("_blocks", "MXFP4"),
    ("._data", "quanto"),
    ("._weight_qdata", "torchao"),
    (".weight_global_scale", "compressed-tensors (NVFP4)"),
    (".weight_packed", "compressed-tensors (packed)"),
    (".weight_scale_2", "ModelOpt NVFP4"),
    (".weight_scale_inv", "FP8"),
    (".weight_scales", "EETQ 8-bit"),
    (
        ".weight_scale",
        "FP8 or 8-bit (compressed-tensors, ModelOpt)",
    ),
    // Where it had an order of its columns, it would be GPTQ's alone.
    (".qweight", "AWQ or GPTQ"),
    (".qzeros", "AWQ or GPTQ"),
    (".scales", "MLX"),
];

/// The format that the names of a checkpoint's tensors show, with the name that shows it.
pub(crate) fn shown_by_names<'a>(
    names: impl Iterator<Item = &'a str>,
) -> Option<(&'static str, &'a str)> {
    // In order, so that the message is the same each time.
    let names: BTreeSet<&str> = names.collect();
    ENDINGS.iter().find_map(|(ending, format)| {
        let name = names.iter().find(|name| name.ends_with(ending))?;
        Some((*format, *name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format of a projection with these tensors, in a model whose other tensors are plain.
    fn format(endings: &[&str]) -> Option<&'static str> {
        let of_projection = |ending: &&str| format!("model.layers.0.self_attn.q_proj{ending}");
        let mut names: Vec<String> = endings.iter().map(of_projection).collect();
        names.push("model.layers.0.input_layernorm.weight".to_owned());
        names.push("a.weight".to_owned());
        shown_by_names(names.iter().map(String::as_str)).map(|(format, _)| format)
    }

    #[test]
    fn each_format_is_told_by_what_only_it_has() {
        let formats: [(&[&str], &str); 18] = [
            (&[".weight", ".scales", ".biases"], "MLX"),
            (&[".qweight", ".qzeros", ".scales", ".g_idx"], "GPTQ"),
            (&[".qweight", ".qzeros", ".scales"], "AWQ or GPTQ"),
            (&[".weight", ".SCB"], "bitsandbytes 8-bit"),
            (
                &[".weight", ".weight.absmax", ".weight.quant_map"],
                "bitsandbytes 4-bit",
            ),
            (
                &[".weight.absmax", ".weight.quant_state.bitsandbytes__nf4"],
                "bitsandbytes 4-bit (nf4)",
            ),
            (&[".W_q", ".scale", ".zero"], "HQQ"),
            (&[".q_weight", ".q_scale", ".q_groups"], "EXL2"),
            (&[".trellis", ".suh", ".svh"], "EXL3"),
            (&[".codes", ".codebooks", ".scales"], "AQLM"),
            (&[".weight_blocks", ".weight_scales"], "MXFP4"),
            (&["_blocks", "_scales"], "MXFP4"),
            (&[".weight._data", ".weight._scale"], "quanto"),
            (
                &[".weight_packed", ".weight_scale", ".weight_global_scale"],
                "compressed-tensors (NVFP4)",
            ),
            (
                &[".weight_packed", ".weight_scale", ".weight_shape"],
                "compressed-tensors (packed)",
            ),
            (
                &[".weight", ".weight_scale", ".weight_scale_2"],
                "ModelOpt NVFP4",
            ),
            (&[".weight", ".weight_scale_inv"], "FP8"),
            (&[".weight", ".weight_scales"], "EETQ 8-bit"),
        ];
        for (endings, expected) in formats {
            assert_eq!(format(endings), Some(expected), "{endings:?}");
        }
        assert_eq!(format(&[".weight", ".bias"]), None);
    }
}
