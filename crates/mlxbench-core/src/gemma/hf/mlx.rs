//! How a checkpoint of mlx-lm says that its matrices are packed: `quantization` of config.json (mlx-lm's
//! `load_model` in `utils.py`), which mlx-lm repeats as `quantization_config` for transformers.

use std::collections::BTreeMap;

use serde_json::Value;

/// Which matrices are packed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MlxPacking {
    /// Of those that no path names.
    default: Affine,
    /// By the path of a module, which is the stored name of its weight without `.weight`; `None` for one
    /// that stays as it is.
    paths: BTreeMap<String, Option<Affine>>,
}

/// Affine codes: `w = scale * code + bias`, a scale and a bias for each group of a row's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Affine {
    /// Bits of a code.
    pub bits: usize,
    /// Weights of a group.
    pub group_size: usize,
}

/// Bits of a code that MLX packs.
const BITS: [usize; 6] = [2, 3, 4, 5, 6, 8];
/// Weights of a group that MLX packs.
const GROUP_SIZES: [usize; 3] = [32, 64, 128];
/// Keys that are no module's path.
const OWN_KEYS: [&str; 5] = ["group_size", "bits", "mode", "quant_method", "linear_class"];

impl MlxPacking {
    /// Reads the value of `quantization`.
    ///
    /// # Errors
    /// When it asks for something else than affine codes of a size that MLX packs.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let object = value.as_object().ok_or("it is no object")?;
        let paths = object
            .iter()
            .filter(|(key, _)| !OWN_KEYS.contains(&key.as_str()));
        let of_path = |(path, value): (&String, &Value)| {
            let packed = match value {
                Value::Bool(false) => None,
                Value::Bool(true) => {
                    Some(Affine::read(object.get("bits"), object.get("group_size"))?)
                }
                Value::Object(own) => {
                    affine_mode(value)?;
                    let or_default = |key: &str| own.get(key).or(object.get(key));
                    Some(Affine::read(or_default("bits"), or_default("group_size"))?)
                }
                other => return Err(format!("`{path}` is {other}")),
            };
            Ok((path.clone(), packed))
        };
        affine_mode(value)?;
        Ok(Self {
            default: Affine::read(object.get("bits"), object.get("group_size"))?,
            paths: paths.map(of_path).collect::<Result<_, String>>()?,
        })
    }

    /// How the module at `path` is packed, if its scales are stored: who stores scales has packed it, unless
    /// its path says no.
    pub(crate) fn of(&self, path: &str) -> Option<Affine> {
        match self.paths.get(path) {
            Some(own) => *own,
            None => Some(self.default),
        }
    }
}

/// Refuses modes that have no bias, such as `mxfp4`.
fn affine_mode(value: &Value) -> Result<(), String> {
    match value["mode"].as_str() {
        None | Some("affine") => Ok(()),
        Some(other) => Err(format!("mode \"{}\" isn't affine", other.escape_debug())),
    }
}

impl Affine {
    fn read(bits: Option<&Value>, group_size: Option<&Value>) -> Result<Self, String> {
        let one_of = |name: &str, value: Option<&Value>, known: &[usize]| {
            let found = value.and_then(Value::as_u64).map(|n| n as usize);
            let found = found.filter(|n| known.contains(n));
            found.ok_or_else(|| {
                let value = value.unwrap_or(&Value::Null);
                format!("{name} is {value}: MLX packs {known:?}")
            })
        };
        Ok(Self {
            bits: one_of("bits", bits, &BITS)?,
            group_size: one_of("group_size", group_size, &GROUP_SIZES)?,
        })
    }

    /// The codes of a row of packed words: `[columns]`, unsigned. MLX packs the bits of one code after those of
    /// the one before, the lowest first, through all words of a row (`affine_quantize` of MLX's
    /// `backend/cpu/quantized.cpp`).
    pub(crate) fn codes(self, words: &[u8], columns: usize) -> impl Iterator<Item = u32> {
        let byte = move |at: usize| u32::from(words.get(at).copied().unwrap_or(0));
        (0..columns).map(move |column| {
            let first = column * self.bits;
            let both = byte(first / 8) | byte(first / 8 + 1) << 8;
            (both >> (first % 8)) & ((1 << self.bits) - 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_win_over_the_default() {
        let packing = MlxPacking::read(&json!({"group_size": 64, "bits": 4, "mode": "affine",
            "a": {"bits": 8, "group_size": 32}, "b": false, "c": true, "d": {"bits": 6}}))
        .unwrap();
        let affine = |bits, group_size| Some(Affine { bits, group_size });
        assert_eq!(packing.of("a"), affine(8, 32));
        assert_eq!(packing.of("b"), None);
        assert_eq!(packing.of("c"), affine(4, 64));
        assert_eq!(packing.of("d"), affine(6, 64));
        assert_eq!(packing.of("elsewhere"), affine(4, 64));
    }

    #[test]
    fn what_mlx_does_not_pack_so_is_refused() {
        for (wrong, says) in [
            (json!({"group_size": 64, "bits": 7}), "bits is 7"),
            (json!({"group_size": 16, "bits": 4}), "group_size is 16"),
            (json!({"bits": 4}), "group_size is null"),
            (
                json!({"group_size": 32, "bits": 4, "mode": "mxfp4"}),
                "mode \"mxfp4\"",
            ),
            (
                json!({"group_size": 32, "bits": 4, "a": {"mode": "nvfp4"}}),
                "mode \"nvfp4\"",
            ),
            (json!({"group_size": 32, "bits": 4, "a": 3}), "`a` is 3"),
            (json!(4), "no object"),
        ] {
            let message = MlxPacking::read(&wrong).unwrap_err();
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn codes_follow_one_another_lowest_bits_first() {
        for bits in BITS {
            let codes: Vec<u32> = (0..64)
                .map(|at: u32| at.wrapping_mul(37) & ((1 << bits) - 1))
                .collect();
            let mut bytes = vec![0_u8; 64 * bits / 8];
            for (at, code) in codes.iter().enumerate() {
                for bit in 0..bits {
                    let place = at * bits + bit;
                    bytes[place / 8] |= ((code >> bit & 1) as u8) << (place % 8);
                }
            }
            let affine = Affine {
                bits,
                group_size: 64,
            };
            assert_eq!(
                affine.codes(&bytes, 64).collect::<Vec<_>>(),
                codes,
                "{bits}"
            );
        }
    }
}
