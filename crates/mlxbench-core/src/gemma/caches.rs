//! The KV caches of a model: one for each layer with keys and values of its own, which others may read.

use std::ops::{Index, IndexMut};

use crate::gemma::LayerSpec;
use crate::gemma::parts::Framework;
use crate::gemma::spec::KeysValues;

/// KV caches by layer: those that share one have the same.
pub struct LayerCaches<F: Framework> {
    all: Vec<F::Cache>,
    /// The layer that writes each.
    owners: Vec<usize>,
    /// Which of them a layer reads.
    of_layers: Vec<usize>,
}

impl<F: Framework> LayerCaches<F> {
    /// None.
    pub(crate) fn none() -> Self {
        Self {
            all: Vec::new(),
            owners: Vec::new(),
            of_layers: Vec::new(),
        }
    }

    /// What `make` has for each layer with keys and values of its own, by index.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn new(
        layers: &[LayerSpec],
        make: impl Fn(usize) -> Result<F::Cache, F::Error>,
    ) -> Result<Self, F::Error> {
        let mut caches = Self::none();
        for (layer, spec) in layers.iter().enumerate() {
            caches.of_layers.push(match spec.attention.keys_values {
                KeysValues::Of(owner) => caches.of_layers[owner],
                KeysValues::Own | KeysValues::OneProjection => {
                    caches.all.push(make(layer)?);
                    caches.owners.push(layer);
                    caches.all.len() - 1
                }
            });
        }
        Ok(caches)
    }

    /// Each cache once.
    pub fn iter(&self) -> impl Iterator<Item = &F::Cache> {
        self.all.iter()
    }

    /// Each cache once, with the layer that writes it.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut F::Cache)> {
        self.owners.iter().copied().zip(&mut self.all)
    }
}

/// The cache that a layer reads.
impl<F: Framework> Index<usize> for LayerCaches<F> {
    type Output = F::Cache;

    fn index(&self, layer: usize) -> &F::Cache {
        &self.all[self.of_layers[layer]]
    }
}

impl<F: Framework> IndexMut<usize> for LayerCaches<F> {
    fn index_mut(&mut self, layer: usize) -> &mut F::Cache {
        &mut self.all[self.of_layers[layer]]
    }
}
