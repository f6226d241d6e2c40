//! The meters and sensors of a run's devices: what they draw when idle, and what each repetition spent
//! under which conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mlxbench_core::results::{DeviceConditions, EnergyUnavailable, PowerMeter};
use mlxbench_core::{Device, Nanos};

use crate::plan::Plan;
use crate::system::gauge::{Gauge, gauge};
use crate::system::{DeviceSampler, EnergyMeter, Idle, Measure, idle};

/// How long idle power is measured, before any worker has a model.
const IDLE: Duration = Duration::from_secs(2);

/// Periods of a meter that a repetition with energy has at least: the counter is behind by up to one at
/// either end.
const PERIODS: u32 = 5;

/// What no loaded device draws as little as, in watts: such a meter reads nothing.
const NOTHING: f64 = 0.01;

/// The instruments of each device.
pub(crate) struct Meters(BTreeMap<Device, Instruments>);

struct Instruments {
    meter: Option<EnergyMeter>,
    /// Lent to a sampler while a repetition runs.
    gauge: Option<Box<dyn Gauge>>,
    facts: PowerMeter,
}

/// A device while a repetition runs on it.
pub(crate) struct Watching {
    sampler: Option<DeviceSampler>,
    before: Option<Measure>,
}

/// What instruments told of a repetition.
#[derive(Debug, Default)]
pub(crate) struct Metered {
    pub(crate) energy_joules: Option<f64>,
    pub(crate) energy_unavailable: Option<EnergyUnavailable>,
    pub(crate) conditions: Option<DeviceConditions>,
    /// What the meter is, where it turned out to read nothing under load.
    pub(crate) broken: Option<PowerMeter>,
}

impl Meters {
    /// Opens what there is for the devices of the plan's targets.
    pub(crate) fn open(plan: &Plan) -> Self {
        let devices = plan.targets.iter();
        let devices = devices.map(|target| target.id.placement.device.hardware());
        let devices: BTreeSet<Device> = devices.collect();
        Self(
            devices
                .into_iter()
                .map(|device| (device.clone(), Instruments::open(device)))
                .collect(),
        )
    }

    /// What the meters are, with the power that they show while nothing runs: this waits for it.
    pub(crate) fn facts(&mut self) -> Vec<PowerMeter> {
        let readable = |instruments: &&mut Instruments| instruments.meter.is_some();
        let mut readable: Vec<&mut Instruments> = self.0.values_mut().filter(readable).collect();
        let meters = readable.iter_mut().filter_map(|known| known.meter.as_mut());
        let seen = idle(meters, IDLE);
        for (instruments, Idle { watts, period }) in readable.into_iter().zip(seen) {
            instruments.facts.idle_watts = watts;
            instruments.facts.period_ns = period.map(Nanos::from);
        }
        self.0.values().map(|known| known.facts.clone()).collect()
    }

    /// Takes the meters for what a run that is gone on with knows of them.
    pub(crate) fn adopt(&mut self, known: &[PowerMeter]) {
        for facts in known {
            if let Some(instruments) = self.0.get_mut(&facts.device) {
                instruments.facts = facts.clone();
            }
        }
    }

    /// Begins to watch a device that will be given work.
    pub(crate) fn watch(&mut self, device: &Device) -> Watching {
        let instruments = self.0.get_mut(device);
        let (meter, gauge) = match instruments {
            Some(known) => (known.meter.as_mut(), known.gauge.take()),
            None => (None, None),
        };
        let sampler = gauge.map(DeviceSampler::start);
        // Last, as near to the work as can be.
        let before = meter.and_then(EnergyMeter::read);
        Watching { sampler, before }
    }

    /// What was seen of a repetition that took `wall`. A meter is judged only where the device was `loaded`.
    pub(crate) fn metered(
        &mut self,
        device: &Device,
        Watching { sampler, before }: Watching,
        wall: Duration,
        loaded: bool,
    ) -> Metered {
        let Some(instruments) = self.0.get_mut(device) else {
            return Metered::default();
        };
        let after = instruments.meter.as_mut().and_then(EnergyMeter::read);
        let mut metered = Metered::default();
        if let Some((gauge, conditions)) = sampler.and_then(DeviceSampler::stop) {
            instruments.gauge = Some(gauge);
            metered.conditions = Some(conditions);
        }
        let facts = &mut instruments.facts;
        if instruments.meter.is_none() || facts.unavailable.is_some() {
            return metered;
        }
        let own_watts = metered.conditions.as_ref().and_then(|told| told.mean_watts);
        let spent = spent(before, after, own_watts, wall);
        let period = facts.period_ns.map(|period| Duration::from_nanos(period.0));
        let period = period.unwrap_or(IDLE);
        match energy(spent, wall, period) {
            Err(reason) => metered.energy_unavailable = Some(reason),
            Ok(joules) => match reads_nothing(joules, wall, own_watts).filter(|_| loaded) {
                None => metered.energy_joules = Some(joules),
                Some(reason) => {
                    facts.unavailable = Some(reason);
                    metered.broken = Some(facts.clone());
                }
            },
        }
        metered
    }
}

impl Instruments {
    fn open(device: Device) -> Self {
        let (meter, unavailable) = match EnergyMeter::for_device(&device) {
            Ok(meter) => (Some(meter), None),
            Err(reason) => (None, Some(reason)),
        };
        Self {
            gauge: gauge(&device).ok(),
            facts: PowerMeter {
                device,
                source: meter.as_ref().map(|meter| meter.source().to_owned()),
                idle_watts: None,
                period_ns: None,
                unavailable,
            },
            meter,
        }
    }
}

/// Joules between two looks at a meter; where it counts nothing, the device's own mean power over `wall`.
fn spent(
    before: Option<Measure>,
    after: Option<Measure>,
    own_watts: Option<f64>,
    wall: Duration,
) -> Option<f64> {
    match (before?, after?) {
        (Measure::Joules(before), Measure::Joules(after)) => Some(after - before),
        _ => Some(own_watts? * wall.as_secs_f64()),
    }
}

/// The energy of a repetition that took `wall`, or why it can't be told.
fn energy(spent: Option<f64>, wall: Duration, period: Duration) -> Result<f64, EnergyUnavailable> {
    match spent {
        None => Err(EnergyUnavailable::Unreadable),
        Some(_) if wall < PERIODS * period => Err(EnergyUnavailable::ShortRepetition),
        Some(joules) => Ok(joules),
    }
}

/// Why a meter is broken that counted `joules` in a load of `wall`, long enough to have energy; `None` for one
/// that works. `own_watts` is the mean power that the device itself told, where it tells one.
fn reads_nothing(joules: f64, wall: Duration, own_watts: Option<f64>) -> Option<String> {
    let seconds = wall.as_secs_f64();
    let watts = joules / seconds;
    let least = own_watts.map_or(watts, |own| own.min(watts));
    (least < NOTHING).then(|| format!("it read {least:.1} W over {seconds:.1} s of load"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_repetition_of_five_periods_has_energy() {
        let told = |wall| energy(Some(7.0), wall * MS, 100 * MS);
        assert_eq!(told(500), Ok(7.0));
        assert_eq!(told(499), Err(EnergyUnavailable::ShortRepetition));
        let unreadable = energy(None, 1000 * MS, MS);
        assert_eq!(unreadable, Err(EnergyUnavailable::Unreadable));
    }

    #[test]
    fn power_over_time_stands_for_a_counter() {
        let wall = 2000 * MS;
        let joules = |joules| Some(Measure::Joules(joules));
        let watts = Some(Measure::Watts(9.0));
        assert_eq!(
            spent(joules(10.0), joules(25.0), Some(50.0), wall),
            Some(15.0)
        );
        assert_eq!(spent(watts, watts, Some(50.0), wall), Some(100.0));
        assert_eq!(spent(watts, watts, None, wall), None);
        assert_eq!(spent(joules(10.0), None, Some(50.0), wall), None);
    }

    #[test]
    fn a_meter_that_reads_nothing_under_load_is_broken() {
        let why = reads_nothing(0.0, 800 * MS, None);
        assert_eq!(why.as_deref(), Some("it read 0.0 W over 0.8 s of load"));
        assert_eq!(reads_nothing(30.0, 1000 * MS, None), None);
    }

    #[test]
    fn a_gpu_that_reads_nothing_isnt_saved_by_the_rest_of_the_chip() {
        // All of the chip 3 W, the GPU none.
        assert!(reads_nothing(3.0, 1000 * MS, Some(0.0)).is_some());
        assert_eq!(reads_nothing(30.0, 1000 * MS, Some(20.0)), None);
    }
}
