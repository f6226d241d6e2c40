//! The meters of energy for the devices of a run, and what the machine draws when idle.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use mlxbench_core::Device;
use mlxbench_core::results::PowerMeter;

use crate::plan::Plan;
use crate::system::EnergyMeter;

/// How long idle power is measured, before any worker has a model.
const IDLE: Duration = Duration::from_secs(2);

/// One meter, or the reason for none, a device.
pub(crate) struct Meters(BTreeMap<Device, Result<EnergyMeter, String>>);

impl Meters {
    /// Opens what there is for the devices of the plan's targets.
    pub(crate) fn open(plan: &Plan) -> Self {
        let devices = plan
            .targets
            .iter()
            .map(|target| target.id.placement.device.hardware());
        let devices: BTreeSet<Device> = devices.collect();
        let meters = devices.into_iter().map(|device| {
            let meter = EnergyMeter::for_device(&device);
            (device, meter)
        });
        Self(meters.collect())
    }

    /// What the meters are, with the power that they show while nothing runs: this waits for it.
    pub(crate) fn facts(&mut self) -> Vec<PowerMeter> {
        let read = |meters: &mut Self| -> Vec<Option<f64>> {
            let meters = meters.0.values_mut();
            meters.map(|meter| meter.as_mut().ok()?.joules()).collect()
        };
        let (start, before) = (Instant::now(), read(self));
        if before.iter().any(Option::is_some) {
            thread::sleep(IDLE);
        }
        let after = read(self);
        let seconds = start.elapsed().as_secs_f64();
        let idle = before.into_iter().zip(after);
        let idle = idle.map(|(before, after)| Some((after? - before?) / seconds));
        let facts = self.0.iter().zip(idle);
        let facts = facts.map(|((device, meter), idle_watts)| PowerMeter {
            device: device.clone(),
            source: meter.as_ref().ok().map(|meter| meter.source().to_owned()),
            idle_watts,
            unavailable: meter.as_ref().err().cloned(),
        });
        facts.collect()
    }

    /// Energy that the device's meter has counted so far, in joules.
    pub(crate) fn joules(&mut self, device: &Device) -> Option<f64> {
        self.0.get_mut(&device.hardware())?.as_mut().ok()?.joules()
    }
}
