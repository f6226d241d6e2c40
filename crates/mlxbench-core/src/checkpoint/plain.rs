//! Whether a checkpoint's names are those of plain weights: neither packed ones nor an adapter's.

use std::collections::BTreeSet;

use super::packed::is_beside_packed;
use crate::gemma::hf::quantised;

/// Parts of names that the weights of an adapter have beside or in place of a model's: peft's LoRA,
/// DoRA, IA3, LoHa, LoKr, VeRA and OFT, and mlx-lm's LoRA.
const UNMERGED: [&str; 9] = [
    "lora_",
    "dora_",
    ".base_layer.",
    ".modules_to_save.",
    "ia3_l",
    "hada_w",
    "lokr_w",
    "vera_lambda",
    "oft_r",
];

/// Checks that the stored names are those of plain weights, or where `packed` of MLX's.
///
/// # Errors
/// When they show another quantised format, or an adapter that isn't merged into its model.
pub(super) fn check_plain(stored: &BTreeSet<&str>, packed: bool) -> Result<(), String> {
    let names = stored.iter().copied();
    let others = names.filter(|name| !(packed && is_beside_packed(name, stored)));
    if let Some((format, name)) = quantised::shown_by_names(others) {
        return Err(quantised::message(format, &name.escape_debug().to_string()));
    }
    let unmerged = |name: &&&str| UNMERGED.iter().any(|part| name.contains(part));
    match stored.iter().find(unmerged) {
        None => Ok(()),
        Some(name) => Err(format!(
            "the files hold a LoRA adapter that isn't merged into its model (`{}`), and without it \
             the model computes something else: merge it first (`merge_and_unload` of peft, \
             `mlx_lm.fuse`)",
            name.escape_debug()
        )),
    }
}
