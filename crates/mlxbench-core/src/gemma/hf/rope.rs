//! RoPE of each kind of layer, from the old keys (`rope_theta`, `rope_local_base_freq`,
//! `rope_scaling`) and the new one (`rope_parameters`).
//!
//! The objects' `rope_theta` counts before the keys beside them, as in `modeling_rope_utils.py` of
//! transformers; two objects that describe the same layers must agree.

use super::defaults::{Defaults, LOCAL_THETA, PARTIAL_ROTARY_FACTOR};
use super::keys::{Keys, Sourced};
use super::unused;
use crate::gemma::Generation;

/// RoPE of all layers.
pub(super) struct Rope {
    pub(super) theta: Sourced<f64>,
    /// Positions are divided by this; 1 without scaling.
    pub(super) factor: Sourced<f64>,
    /// The base on local layers; Gemma 1 and 2 have one for all.
    pub(super) local_theta: Sourced<f64>,
    /// The share of frequencies on global layers that aren't 0: all but in Gemma 4.
    pub(super) rotated: Sourced<f64>,
    pub(super) unused: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// What one object says.
#[derive(Default)]
struct Stated {
    theta: Option<Sourced<f64>>,
    factor: Option<Sourced<f64>>,
    /// By what RoPE is proportional.
    rotated: Option<Sourced<f64>>,
}

/// mlx-lm's first name of `rope_theta`.
pub(super) const MLX_THETA: &str = "rope_global_base_freq";

/// Gemma 4's type on global layers.
const PROPORTIONAL: &str = "proportional";

const OLD: &str = "rope_scaling";
const NEW: &str = "rope_parameters";
const GLOBAL: &str = "full_attention";
const LOCAL: &str = "sliding_attention";

/// Reads it from the keys of a text model.
pub(super) fn read(keys: &mut Keys<'_>, generation: Generation) -> Result<Rope, String> {
    let mut reader = Reader {
        generation,
        unused: Vec::new(),
        warnings: Vec::new(),
    };
    let old = reader.object(keys.object(OLD)?)?;
    let (flat, global, local) = reader.by_kind(keys)?;
    let default_theta = Defaults::of(generation).rope_theta;
    // Gemma 4's class reads no key beside the objects.
    let beside = match generation {
        Generation::Gemma4 => None,
        _ => keys.number(&["rope_theta", MLX_THETA])?,
    };
    if !matches!(generation, Generation::Gemma3 | Generation::Gemma4) {
        // One RoPE for all layers, wherever it is stated.
        let stated = old.agree(flat)?.agree(global)?.agree(local)?;
        let theta = reader.theta(stated.theta, beside, default_theta);
        return Ok(Rope {
            local_theta: theta.clone(),
            theta,
            factor: reader.factor(stated.factor),
            rotated: reader.factor(None),
            unused: reader.unused,
            warnings: reader.warnings,
        });
    }
    if let (Generation::Gemma4, Some(stated)) = (generation, &old.factor) {
        return Err(format!(
            "`{}`: the reference of Gemma 4 doesn't read `{OLD}`: write it as `{NEW}.{GLOBAL}`",
            stated.from
        ));
    }
    let by_kind = global.theta.is_some() || global.factor.is_some();
    let stated = old.agree(global)?;
    let rotated = match (generation, by_kind) {
        (Generation::Gemma4, false) => Sourced::default_of(generation, PARTIAL_ROTARY_FACTOR),
        _ => reader.factor(stated.rotated),
    };
    let theta = reader.theta(stated.theta, beside, default_theta);
    let factor = reader.factor(stated.factor);
    if let Some(scaled) = local.factor.filter(|factor| factor.value != 1.0) {
        return Err(format!(
            "`{}` scales RoPE on sliding-window layers: that is not supported",
            scaled.from
        ));
    }
    let beside = match generation {
        Generation::Gemma4 => None,
        _ => keys.number(&["rope_local_base_freq"])?,
    };
    let local_theta = reader.theta(local.theta, beside, LOCAL_THETA);
    check_flat(&flat, generation, &theta, &factor, &rotated)?;
    Ok(Rope {
        theta,
        factor,
        local_theta,
        rotated,
        unused: reader.unused,
        warnings: reader.warnings,
    })
}

/// The references of Gemma 3 and 4 pass over a `rope_parameters` that isn't split by kind of layer.
fn check_flat(
    flat: &Stated,
    generation: Generation,
    theta: &Sourced<f64>,
    factor: &Sourced<f64>,
    rotated: &Sourced<f64>,
) -> Result<(), String> {
    let places = [
        (&flat.theta, theta),
        (&flat.factor, factor),
        (&flat.rotated, rotated),
    ];
    for (stated, derived) in places {
        if let Some(stated) = stated
            .as_ref()
            .filter(|stated| stated.value != derived.value)
        {
            return Err(format!(
                "`{}` says {}, and the reference of {} doesn't read it there: write it as \
                 `{NEW}.{GLOBAL}`",
                stated.from,
                stated.value,
                generation.name()
            ));
        }
    }
    Ok(())
}

struct Reader {
    generation: Generation,
    unused: Vec<String>,
    warnings: Vec<String>,
}

impl Reader {
    /// `rope_parameters`: what it says of all layers, of global and of local ones.
    fn by_kind(&mut self, keys: &mut Keys<'_>) -> Result<(Stated, Stated, Stated), String> {
        let Some(mut new) = keys.object(NEW)? else {
            return Ok(Default::default());
        };
        let (global, local) = (new.object(GLOBAL)?, new.object(LOCAL)?);
        let split = global.is_some() || local.is_some();
        let global = self.object(global)?;
        let local = self.object(local)?;
        let flat = self.object(Some(new))?;
        // Beside objects by kind of layer, transformers reads nothing else.
        let flat = if split {
            let places = [flat.theta, flat.factor].into_iter().flatten();
            self.unused.extend(places.map(|stated| stated.from));
            Stated::default()
        } else {
            flat
        };
        Ok((flat, global, local))
    }

    /// One object of RoPE's.
    fn object(&mut self, keys: Option<Keys<'_>>) -> Result<Stated, String> {
        let Some(mut keys) = keys else {
            return Ok(Stated::default());
        };
        let kind = keys.text(&["rope_type", "type"])?;
        let theta = keys.number(&["rope_theta"])?;
        let factor = keys.number(&["factor"])?;
        let is_proportional = self.generation == Generation::Gemma4
            && kind.as_ref().is_some_and(|kind| kind.value == PROPORTIONAL);
        let rotated = match is_proportional {
            true => keys.number(&["partial_rotary_factor"])?,
            false => None,
        };
        let factor = match (kind, factor) {
            (Some(kind), factor) if is_proportional => {
                Some(factor.unwrap_or_else(|| kind.map(|_| 1.0)))
            }
            (None, None) => None,
            (Some(kind), factor) if kind.value == "default" => {
                self.unused.extend(factor.map(|factor| factor.from));
                Some(kind.map(|_| 1.0))
            }
            (Some(kind), Some(factor)) if kind.value == "linear" && factor.value > 0.0 => {
                Some(Sourced {
                    value: factor.value,
                    from: format!("{}, {}", kind.from, factor.from),
                })
            }
            (Some(kind), _) if kind.value == "linear" => {
                let factor = keys.place_of("factor");
                return Err(format!(
                    "linear RoPE scaling (`{}`) needs a `{factor}` greater than 0",
                    kind.from
                ));
            }
            (Some(kind), _) => {
                let known = match self.generation {
                    Generation::Gemma4 => "Gemma 4's is proportional",
                    _ => "Gemma's is linear",
                };
                return Err(format!(
                    "RoPE type \"{}\" (`{}`) is not supported: {known}",
                    kind.value.escape_debug(),
                    kind.from
                ));
            }
            (None, Some(factor)) if factor.value == 1.0 => {
                self.unused.push(factor.from);
                None
            }
            (None, Some(factor)) => {
                return Err(format!(
                    "`{}` has no `{}` beside it: write \"linear\" or \"default\"",
                    factor.from,
                    keys.place_of("rope_type")
                ));
            }
        };
        self.unused.extend(unused::check_rope(&keys)?);
        Ok(Stated {
            theta,
            factor,
            rotated,
        })
    }

    /// The base: of RoPE's own object, else of the key beside it, else the default.
    fn theta(
        &mut self,
        stated: Option<Sourced<f64>>,
        beside: Option<Sourced<f64>>,
        default: f64,
    ) -> Sourced<f64> {
        match (stated, beside) {
            (Some(stated), Some(beside)) => {
                if stated.value != beside.value {
                    self.warnings.push(format!(
                        "config.json has two bases of RoPE: `{}` ({}) counts, as in transformers, \
                         and `{}` ({}) doesn't",
                        stated.from, stated.value, beside.from, beside.value
                    ));
                }
                self.unused.push(beside.from);
                stated
            }
            (stated, beside) => stated
                .or(beside)
                .unwrap_or_else(|| Sourced::default_of(self.generation, default)),
        }
    }

    fn factor(&self, stated: Option<Sourced<f64>>) -> Sourced<f64> {
        stated.unwrap_or_else(|| Sourced::default_of(self.generation, 1.0))
    }
}

impl Stated {
    /// What two objects say of the same layers.
    fn agree(self, other: Self) -> Result<Self, String> {
        Ok(Self {
            theta: Sourced::agree(self.theta, other.theta)?,
            factor: Sourced::agree(self.factor, other.factor)?,
            rotated: Sourced::agree(self.rotated, other.rotated)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Base and factor of global layers, base of local ones.
    fn rope(generation: Generation, value: Value) -> Result<(f64, f64, f64), String> {
        let rope = read(&mut Keys::new("", value.as_object().unwrap()), generation)?;
        Ok((rope.theta.value, rope.factor.value, rope.local_theta.value))
    }

    #[test]
    fn old_and_new_keys_mean_the_same() {
        let old = json!({"rope_theta": 5e5, "rope_local_base_freq": 2e4,
            "rope_scaling": {"type": "linear", "factor": 8.0}});
        let new = json!({"rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 5e5, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 2e4}}});
        assert_eq!(rope(Generation::Gemma3, old), Ok((5e5, 8.0, 2e4)));
        assert_eq!(rope(Generation::Gemma3, new), Ok((5e5, 8.0, 2e4)));
        let flat = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 2e4}});
        assert_eq!(rope(Generation::Gemma1, flat), Ok((2e4, 1.0, 2e4)));
        let scaled = json!({"rope_scaling": {"rope_type": "linear", "factor": 4}});
        assert_eq!(rope(Generation::Gemma2, scaled), Ok((1e4, 4.0, 1e4)));
    }

    #[test]
    fn a_base_inside_the_object_counts_and_the_other_is_told() {
        let value = json!({"rope_theta": 1e6,
            "rope_scaling": {"rope_type": "linear", "factor": 4.0, "rope_theta": 300.0}});
        let read = read(
            &mut Keys::new("", value.as_object().unwrap()),
            Generation::Gemma3,
        );
        let read = read.unwrap();
        assert_eq!((read.theta.value, read.factor.value), (300.0, 4.0));
        assert_eq!(read.theta.from, "rope_scaling.rope_theta");
        assert_eq!(read.unused, ["rope_theta"]);
        assert!(
            read.warnings[0].contains("`rope_theta` (1000000)"),
            "{:?}",
            read.warnings
        );
    }

    #[test]
    fn what_disagrees_is_an_error_with_both_places() {
        let apart = [
            json!({"rope_scaling": {"type": "linear", "rope_type": "default", "factor": 8.0}}),
            json!({"rope_theta": 1e6, "rope_global_base_freq": 1e4}),
            json!({"rope_scaling": {"type": "linear", "factor": 8.0},
                "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 4.0}}}),
        ];
        for value in apart {
            let message = rope(Generation::Gemma3, value).unwrap_err();
            assert_eq!(message.matches(" says ").count(), 2, "{message}");
        }
        let kinds = json!({"rope_parameters": {"full_attention": {"rope_theta": 1e4},
            "sliding_attention": {"rope_theta": 1e5}}});
        assert!(rope(Generation::Gemma2, kinds.clone()).is_err());
        assert_eq!(rope(Generation::Gemma3, kinds), Ok((1e4, 1.0, 1e5)));
    }

    #[test]
    fn gemma_3_does_not_guess_which_layers_a_flat_object_means() {
        let flat = |theta: f64| json!({"rope_parameters": {"rope_theta": theta}});
        assert_eq!(rope(Generation::Gemma3, flat(1e6)), Ok((1e6, 1.0, 1e4)));
        let message = rope(Generation::Gemma3, flat(5e5)).unwrap_err();
        assert!(
            message.contains("`rope_parameters.full_attention`"),
            "{message}"
        );
    }

    #[test]
    fn null_is_absent() {
        let value = json!({"rope_scaling": null, "rope_theta": null,
            "rope_parameters": {"full_attention": null, "sliding_attention": {"rope_theta": null}}});
        assert_eq!(rope(Generation::Gemma3, value), Ok((1e6, 1.0, 1e4)));
    }

    #[test]
    fn other_scalings_and_unknown_keys_are_refused_by_name() {
        let refused = [
            (json!({"rope_type": "yarn", "factor": 4.0}), "\"yarn\""),
            (
                json!({"rope_type": "linear"}),
                "`rope_scaling.factor` greater than 0",
            ),
            (
                json!({"rope_type": "linear", "factor": -1.0}),
                "greater than 0",
            ),
            (json!({"factor": 8.0}), "`rope_scaling.rope_type`"),
            (
                json!({"rope_type": "linear", "factor": 8.0, "partial_rotary_factor": 0.5}),
                "`rope_scaling.partial_rotary_factor`",
            ),
            (
                json!({"rope_type": "default", "mrope_section": [1]}),
                "`rope_scaling.mrope_section`",
            ),
        ];
        for (scaling, expected) in refused {
            let value = json!({"rope_scaling": scaling});
            let message = rope(Generation::Gemma3, value).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        let local = json!({"rope_parameters": {"sliding_attention":
            {"rope_type": "linear", "factor": 8.0}}});
        assert!(rope(Generation::Gemma3, local).is_err());
    }
}
