//! Which projections have an adapter, in one order for everybody, and its initial values.

use std::fmt;

use super::{Lora, LoraModules};
use crate::gemma::{GemmaConfig, KeysValues, LayerSpec};
use crate::{numbers, seed_of};

/// A projection of a layer that can have an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Module {
    /// To queries.
    Query,
    /// To keys, and to values too where both come from one projection.
    Key,
    /// To values.
    Value,
    /// From what attention mixes.
    Output,
    /// To the gate of the MLP.
    Gate,
    /// To what it gates.
    Up,
    /// From the gated.
    Down,
}

/// An adapter on a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adapter {
    /// The layer's index.
    pub layer: usize,
    /// The projection.
    pub module: Module,
    /// Columns of `A`.
    pub in_features: usize,
    /// Rows of `B`.
    pub out_features: usize,
}

impl Module {
    /// All, in the order of [`adapters`].
    pub const ALL: [Self; 7] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// Whether `modules` names it.
    fn is_of(self, modules: LoraModules) -> bool {
        match modules {
            LoraModules::QueryValue => matches!(self, Self::Query | Self::Value),
            LoraModules::All => true,
        }
    }

    /// Its columns and rows in a layer beside a residual stream of width `hidden`; `None` where the layer has no such
    /// projection.
    fn features(self, layer: &LayerSpec, hidden: usize) -> Option<(usize, usize)> {
        let (attention, mlp) = (&layer.attention, layer.mlp_width);
        let own = attention.keys_values;
        Some(match self {
            Self::Query => (hidden, attention.query_width()),
            Self::Key if own.are_own() => (hidden, attention.kv_width()),
            Self::Value if own == KeysValues::Own => (hidden, attention.kv_width()),
            Self::Key | Self::Value => return None,
            Self::Output => (attention.query_width(), hidden),
            Self::Gate | Self::Up => (hidden, mlp),
            Self::Down => (mlp, hidden),
        })
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Query => "q_proj",
            Self::Key => "k_proj",
            Self::Value => "v_proj",
            Self::Output => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        })
    }
}

impl Adapter {
    /// Such as `layers.17.q_proj`.
    pub fn name(&self) -> String {
        format!("layers.{}.{}", self.layer, self.module)
    }

    /// The largest rank of a matrix of the projection's shape.
    pub fn full_rank(&self) -> usize {
        self.in_features.min(self.out_features)
    }

    /// The initial `A`, of shape `[rank, in_features]`, row after row: [`numbers`] from [`seed_of`] `layers.N.MODULE`,
    /// which are uniform from -1 to 1, times `1 / sqrt(in_features)`, as mlx-lm draws them and, but for the generator,
    /// peft. The initial `B` is 0.
    pub fn initial_a(&self, lora: &Lora) -> Vec<f32> {
        let bound = (self.in_features as f64).powf(-0.5) as f32;
        let uniform = numbers(seed_of(lora.seed, &self.name()));
        let count = lora.rank * self.in_features;
        uniform.take(count).map(|number| number * bound).collect()
    }
}

/// The adapters of a model of `config`: layer by layer, each in the order of [`Module::ALL`]. Layers that share
/// another's keys and values have none for them, and those with one projection for both have none for values.
pub fn adapters(lora: &Lora, config: &GemmaConfig) -> Vec<Adapter> {
    let first = config.num_layers().saturating_sub(lora.layers);
    let layers = config.layers.iter().enumerate().skip(first);
    let of_layer = |(index, layer)| {
        let modules = Module::ALL.into_iter();
        let modules = modules.filter(|module| module.is_of(lora.modules));
        modules.filter_map(move |module: Module| {
            let (in_features, out_features) = module.features(layer, config.hidden_size)?;
            Some(Adapter {
                layer: index,
                module,
                in_features,
                out_features,
            })
        })
    };
    layers.flat_map(of_layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemma::preset;

    fn names(lora: &Lora, model: &str) -> Vec<String> {
        let config = preset(model).unwrap().config();
        adapters(lora, &config).iter().map(Adapter::name).collect()
    }

    #[test]
    fn the_last_layers_have_adapters_in_the_order_of_a_pass() {
        let lora = Lora {
            layers: 2,
            ..Lora::default()
        };
        assert_eq!(
            names(&lora, "gemma-3-270m"),
            [
                "layers.16.q_proj",
                "layers.16.v_proj",
                "layers.17.q_proj",
                "layers.17.v_proj"
            ]
        );
        let all = Lora {
            modules: LoraModules::All,
            layers: 1,
            ..lora
        };
        assert_eq!(
            names(&all, "gemma-3-270m"),
            Module::ALL.map(|module| format!("layers.17.{module}"))
        );
    }

    #[test]
    fn a_layer_has_no_adapter_on_a_projection_that_it_has_not() {
        let lora = Lora {
            layers: 1,
            modules: LoraModules::All,
            ..Lora::default()
        };
        let shared = names(&lora, "gemma-4-e2b");
        assert!(
            !shared
                .iter()
                .any(|name| name.contains("k_proj") || name.contains("v_proj"))
        );
        let one_projection = names(&lora, "gemma-4-31b");
        assert!(one_projection.iter().any(|name| name.contains("k_proj")));
        assert!(!one_projection.iter().any(|name| name.contains("v_proj")));
    }

    #[test]
    fn initial_values_fill_their_range_and_differ_between_adapters_and_seeds() {
        let lora = Lora::default();
        let config = preset("gemma-3-270m").unwrap().config();
        let [first, second, ..] = adapters(&lora, &config)[..] else {
            panic!("there are more")
        };
        let a = first.initial_a(&lora);
        assert_eq!(a.len(), 8 * 640);
        let bound = 640_f32.powf(-0.5);
        let largest = a.iter().fold(0_f32, |largest, x| largest.max(x.abs()));
        assert!(largest <= bound && largest > 0.99 * bound, "{largest}");
        assert_ne!(a, second.initial_a(&lora));
        assert_ne!(a, first.initial_a(&Lora { seed: 1, ..lora }));
    }
}
