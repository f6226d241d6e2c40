//! The probes before a run: how fast memory is without a framework, and how fast each target's
//! framework multiplies by matrices of the model's shapes, in a process of its own without a model.

use std::collections::BTreeSet;
use std::time::Duration;

use mlxbench_core::probe::{ProductShape, WORKING_SET_BYTES};
use mlxbench_core::protocol::Probe;
use mlxbench_core::results::{FailureKind, ProductProbe, Record};
use mlxbench_core::{GemmaConfig, Placement};

use crate::event::Event;
use crate::process::WorkerError;
use crate::rounds::{Runner, Stop};
use crate::stream;

/// The most matrices that take turns: only those of toy models are small enough to stay in a cache
/// all the same.
const MOST_COPIES: u64 = 4096;

/// The part whose product with a single position ends a pass: no product of prefill's.
const OUTPUT: &str = "lm_head";

impl Runner<'_> {
    /// Probes the devices of `targets`, but for what a resumed run knows.
    pub(crate) fn probe(&mut self, targets: &BTreeSet<usize>) -> Result<(), Stop> {
        let Some(least) = self.plan.probe else {
            return Ok(());
        };
        if self.result.streams.is_empty() {
            (self.observe)(Event::Probing("memory"));
            let threads = self.plan.settings.threads;
            let probes = stream::measure(threads, least, self.interrupt);
            let probes = probes.ok_or(Stop::Interrupted)?.into();
            self.record(Record::Streams { probes })?;
        }
        for &target in targets {
            let id = &self.plan.targets[target].id;
            let known = self.result.products.iter().any(|probe| probe.target == *id);
            if known || self.plan.targets[target].worker.is_err() {
                continue;
            }
            (self.observe)(Event::Probing(&id.to_string()));
            match self.probe_target(target, least) {
                Ok(probes) => self.record(Record::Products { probes })?,
                Err(WorkerError { kind: None, .. }) => return Err(Stop::Interrupted),
                // A worker may lack probes: its rates are shown beside the limits of others.
                Err(WorkerError {
                    kind: Some(FailureKind::Failed | FailureKind::Unsupported),
                    ..
                }) => {}
                Err(WorkerError {
                    kind: Some(kind),
                    message,
                    ..
                }) => self.fail(target, None, kind, format!("in a probe: {message}"), true)?,
            }
        }
        Ok(())
    }

    fn probe_target(
        &mut self,
        target: usize,
        least: Duration,
    ) -> Result<Vec<ProductProbe>, WorkerError> {
        let (Some(gemma), Ok(introduced)) =
            (&self.plan.model.config, &self.plan.targets[target].worker)
        else {
            return Ok(Vec::new());
        };
        let id = &self.plan.targets[target].id;
        // The limits of a device are those of plain products, whatever weights are kept in.
        let compute = id.placement.precision.compute();
        let placement = Placement {
            device: id.placement.device.hardware(),
            precision: compute.into(),
        };
        let mut worker = self.start_empty(introduced)?;
        let probe = |(part, shape): (&str, ProductShape)| {
            let bytes = shape.weight_bytes(compute);
            let copies = match shape.rows {
                1 => WORKING_SET_BYTES.div_ceil(bytes.max(1)).min(MOST_COPIES),
                _ => 1,
            };
            let time_ns = worker.probe(Probe {
                placement: placement.clone(),
                threads: Some(self.plan.threads(id)),
                shape,
                copies: copies as usize,
                least_ns: least.into(),
            })?;
            Ok(ProductProbe {
                target: id.clone(),
                part: part.into(),
                shape,
                time_ns,
            })
        };
        let products = probed(gemma, self.plan.probe_rows).into_iter();
        products.map(probe).collect()
    }
}

/// The products that each target is timed with: those of a decode step, and those of `rows` prompt tokens at once but
/// for the output projection.
pub(crate) fn probed(gemma: &GemmaConfig, rows: usize) -> Vec<(&'static str, ProductShape)> {
    let prefill = gemma.products(rows).into_iter();
    let prefill = prefill.filter(|(part, _)| *part != OUTPUT);
    gemma.products(1).into_iter().chain(prefill).collect()
}
