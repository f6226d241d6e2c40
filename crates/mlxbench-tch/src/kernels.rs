//! Which of libtorch's forms of attention are right here: each is tried at load, on this device, in this
//! dtype and for these heads, against attention in f32 on the CPU. Whatever fails isn't used.

mod trial;

use std::collections::BTreeMap;

use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::pass::{Mask, Pass};
use tch::{Device, Kind, TchError, Tensor};

use crate::attention::Form;
use crate::{flash, forms, mask};
pub(crate) use trial::tolerance;
use trial::{Heads, Trial};

/// Keys beside one query: around the blocks of kernels.
const KEYS: [usize; 5] = [31, 33, 1023, 1024, 4097];
/// Queries of a trial with several.
const QUERIES: usize = 64;
/// Keys before them, and the window that hides some.
const BEFORE: usize = 37;
const WINDOW: usize = 50;
/// Entries of a buffer before and behind those that are read.
const AROUND: [i64; 2] = [7, 20];

/// The forms that are right, for each kind of heads that a model has.
#[derive(Debug)]
pub(crate) struct Kernels {
    place: (Kind, Device),
    of_heads: Vec<(Heads, Right)>,
}

/// Which forms are right. The default is none: attention in separate steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Right {
    /// The kernel of fused attention for one query, without a mask.
    token: Option<String>,
    /// That with a mask.
    masked: Option<String>,
    /// That with the causal flag, where libtorch has more than separate steps for it.
    causal: Option<String>,
    /// Flash attention with its windows.
    flash: bool,
    /// Flash attention of lengths that are on the device.
    lengths: bool,
}

impl Kernels {
    /// Tries all forms for each of `attentions`.
    pub(crate) fn try_all<'a>(
        attentions: impl Iterator<Item = &'a AttentionSpec>,
        place: (Kind, Device),
    ) -> Result<Self, TchError> {
        let mut of_heads: Vec<(Heads, Right)> = Vec::new();
        for attention in attentions {
            let heads = Heads::of(attention);
            if of_heads.iter().all(|(known, _)| *known != heads) {
                let right = Right::found(&heads, place)?;
                of_heads.push((heads, right));
            }
        }
        Ok(Self { place, of_heads })
    }

    /// How the pass computes attention.
    pub(crate) fn form(&self, pass: &Pass, attention: &AttentionSpec) -> Result<Form, TchError> {
        let right = self.right(attention);
        let group = attention.queries_per_kv() as i64;
        let (tokens, read) = pass.mask_shape();
        let mask = |kind| mask::of_pass(pass, group, (kind, self.place.1));
        Ok(match pass.mask {
            _ if right.flash => Form::Flash(match pass.mask {
                Mask::Windowed(window) => Some(window),
                Mask::None | Mask::Causal => None,
            }),
            Mask::Causal if tokens == read && right.causal.is_some() => Form::Causal,
            Mask::None if right.token.is_some() => Form::Grouped(None),
            Mask::Causal | Mask::Windowed(_) if right.masked.is_some() => {
                Form::Grouped(mask(self.place.0)?)
            }
            _ => Form::Plain(mask(Kind::Float)?),
        })
    }

    /// Whether attention can read entries whose place and number only the device knows.
    pub(crate) fn takes_lengths(&self, attention: &AttentionSpec) -> bool {
        self.right(attention).lengths
    }

    /// What was found, in words. `on_device`: single tokens read what the device says.
    pub(crate) fn names(&self, on_device: bool) -> BTreeMap<String, String> {
        let joined = |of: &dyn Fn(&Right) -> String| {
            let mut names: Vec<String> = self.of_heads.iter().map(|(_, right)| of(right)).collect();
            names.dedup();
            names.join("; ")
        };
        BTreeMap::from([
            ("attention of a first chunk".into(), joined(&Right::first)),
            ("attention of later chunks".into(), joined(&Right::later)),
            (
                "attention of a token".into(),
                joined(&|right| right.of_token(on_device)),
            ),
        ])
    }

    fn right(&self, attention: &AttentionSpec) -> &Right {
        let heads = Heads::of(attention);
        let known = self.of_heads.iter().find(|(known, _)| *known == heads);
        &known.expect("every attention of the model was tried").1
    }
}

impl Right {
    /// What computes the attention of a chunk before which nothing is cached.
    fn first(&self) -> String {
        match &self.causal {
            Some(kernel) if !self.flash => kernel.clone(),
            _ => self.later(),
        }
    }

    /// Of a chunk behind others, or with a window that hides some of it.
    fn later(&self) -> String {
        match &self.masked {
            _ if self.flash => "flash".into(),
            Some(kernel) => format!("{kernel} + mask"),
            None => "plain + mask".into(),
        }
    }

    /// Of a single token.
    fn of_token(&self, on_device: bool) -> String {
        match &self.token {
            _ if on_device && self.lengths => "flash, lengths on the device".into(),
            _ if on_device => "plain + mask, lengths in buckets".into(),
            _ if self.flash => "flash".into(),
            Some(kernel) => kernel.clone(),
            None => "plain".into(),
        }
    }

    /// Tries all forms. No fused call knows a soft-cap.
    fn found(heads: &Heads, place: (Kind, Device)) -> Result<Self, TchError> {
        if heads.softcap.is_some() {
            return Ok(Self::default());
        }
        let scale = heads.scale;
        let numbers = trial::Numbers::new(heads, KEYS[KEYS.len() - 1], QUERIES, place)?;
        let trial = |queries, keys, window| Trial::new(&numbers, queries, keys, window);
        let tokens = KEYS.map(|keys| trial(1, keys, None));
        let tokens: Vec<Trial<'_>> = tokens.into_iter().collect::<Result<_, _>>()?;
        let first = trial(QUERIES, QUERIES, None)?.with_future()?;
        let later = trial(QUERIES, BEFORE + QUERIES, None)?.with_future()?;
        let windowed = trial(QUERIES, BEFORE + QUERIES, Some(WINDOW))?.with_future()?;

        let grouped = |mask: Option<&Tensor>, trial: &Trial<'_>| {
            trial.holds(|q, kv| forms::grouped(q, kv, mask, scale))
        };
        let masked = |trial: &[Trial<'_>; 2], window| -> Result<bool, TchError> {
            let (queries, keys) = trial[0].positions();
            let mask = mask::of_positions(&queries, &keys, window, heads.group, place)?;
            Ok(trial.iter().all(|trial| grouped(Some(&mask), trial)))
        };
        let token = tokens.iter().all(|trial| grouped(None, trial));
        let masked = masked(&later, None)? && masked(&windowed, Some(WINDOW))?;
        let causal = first
            .iter()
            .all(|trial| trial.holds(|q, kv| forms::causal(q, kv, scale)));
        let flash =
            |trial: &Trial<'_>, window| trial.holds(|q, kv| flash::causal(q, kv, window, scale));
        let chunks = first.iter().chain(&later);
        let flash = tokens.iter().chain(chunks).all(|trial| flash(trial, None))
            && windowed.iter().all(|trial| flash(trial, Some(WINDOW)));
        let lengths = flash && tokens.iter().all(|trial| trial.holds_within(AROUND, scale));

        let of_token = token.then(|| tokens[tokens.len() - 1].grouped_kernel(None));
        let of_masked = masked.then(|| -> Result<_, TchError> {
            let (queries, keys) = later[0].positions();
            let mask = mask::of_positions(&queries, &keys, None, heads.group, place)?;
            Ok(later[0].grouped_kernel(Some(&mask)))
        });
        let of_causal = causal.then(|| first[0].causal_kernel()).flatten();
        Ok(Self {
            token: of_token,
            masked: of_masked.transpose()?,
            causal: of_causal,
            flash,
            lengths,
        })
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::preset;

    use super::*;

    const PLACE: (Kind, Device) = (Kind::Float, Device::Cpu);

    fn kernels(model: &str, place: (Kind, Device)) -> Kernels {
        let config = preset(model).unwrap().config();
        let attentions = config.layers.iter().map(|layer| &layer.attention);
        Kernels::try_all(attentions, place).unwrap()
    }

    #[test]
    fn libtorchs_fused_attention_is_right_on_the_cpu() {
        for kind in [Kind::Float, Kind::BFloat16] {
            let kernels = kernels("gemma-3-270m", (kind, Device::Cpu));
            let [(_, right)] = &kernels.of_heads[..] else {
                panic!("local and global layers have the same heads")
            };
            assert_eq!(right.token.as_deref(), Some("flash"), "{kind:?}");
            assert!(right.masked.is_some(), "{kind:?}");
            assert!(!right.flash && !right.lengths, "there is none on the CPU");
        }
    }

    #[test]
    fn a_soft_cap_is_no_fused_calls() {
        let kernels = kernels("gemma-2-2b", PLACE);
        let names = kernels.names(false);
        assert!(names.values().all(|name| name.starts_with("plain")));
        assert_eq!(names["attention of a token"], "plain");
    }

    #[test]
    fn the_names_say_what_a_token_reads_by() {
        let names = |on_device| kernels("gemma-3-270m", PLACE).names(on_device);
        assert_eq!(names(false)["attention of a token"], "flash");
        let bucketed = "plain + mask, lengths in buckets";
        assert_eq!(names(true)["attention of a token"], bucketed);
    }
}
