//! Decode by replay of CUDA graphs: a step of one token a row is handed over as a whole.

use std::collections::BTreeMap;

use mlxbench_core::backend::ContextShape;
use mlxbench_core::{Error, Result};
use tch::{TchError, Tensor};

use crate::backend::framework;
use crate::graph::Graph;
use crate::network::{Ending, Network};
use crate::step::DeviceStep;

/// The recorded steps of a context.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    /// By the length that they read. They go before what they read and write.
    graphs: BTreeMap<i64, (Graph, Ending)>,
    step: Option<DeviceStep>,
}

impl Replays {
    /// Drops all recordings, before the caches that they write.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Records all steps of the context that the network was just reset to, with so many rows: none is left
    /// to record while tokens are timed.
    pub(crate) fn record(&mut self, network: &mut Network, batch: usize) -> Result<()> {
        let step = DeviceStep::new(network, batch).map_err(framework)?;
        for length in step.lengths() {
            let device = network.place.device;
            let graph = Graph::record(device, || step.run(network, length))?;
            self.graphs.insert(length, graph);
        }
        self.step = Some(step);
        Ok(())
    }

    /// Makes what was recorded fit for a new context of `shape`. False where it was for another, or is none.
    pub(crate) fn renew(
        &self,
        network: &mut Network,
        shape: ContextShape,
    ) -> std::result::Result<bool, TchError> {
        let Some(step) = &self.step else {
            return Ok(false);
        };
        let renewed = network.decoder.restart(shape);
        if renewed && step.reads_beyond() {
            // What a mask hides must be finite.
            let (_, caches) = network.decoder.parts();
            caches.iter_mut().try_for_each(|(_, cache)| cache.clear())?;
        }
        Ok(renewed)
    }

    /// Appends `previous`, of shape `[batch]`.
    pub(crate) fn step(&self, network: &mut Network, previous: &Tensor) -> Result<Ending> {
        let missing = || Error::Invalid("no steps are recorded: reset the model first".into());
        let step = self.step.as_ref().ok_or_else(missing)?;
        let length = step.prepare(network, previous)?;
        let (graph, ending) = &self.graphs[&length];
        graph.replay()?;
        // The next replay writes to the same memory.
        let copied = |x: &Tensor| x.f_detach_copy().map_err(framework);
        Ok(Ending {
            tokens: copied(&ending.tokens)?,
            logits: copied(&ending.logits)?,
        })
    }
}
