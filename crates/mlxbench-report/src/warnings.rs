//! What a reader must know before believing a run's figures.

use mlxbench_analysis::stats::FEWEST_FOR_INTERVAL;
use mlxbench_core::results::{PowerSource, RunResult, TargetFacts};

/// One sentence a warning; none for a run as it should be.
pub(crate) fn warnings(result: &RunResult) -> Vec<String> {
    let run = &result.run;
    let debug = (run.mlxbench.profile == "debug")
        .then(|| "built without optimisation: figures mean little".to_owned());
    let fallback = run.model.fallback_reason.as_ref().map(|reason| {
        let model = &run.model.source;
        format!("the config's fallback model {model} was taken: {reason}")
    });
    let unfinished = result.finished.is_none().then(|| {
        "the run was cut short: `mlxbench run CONFIG --resume` goes on from here".to_owned()
    });
    let conditions = &run.conditions;
    let battery = (conditions.power_source == Some(PowerSource::Battery))
        .then(|| "measured on battery, where a machine may be slower".to_owned());
    let saving = (conditions.low_power_mode == Some(true))
        .then(|| "measured in low-power mode, in which the machine is slower".to_owned());
    let pressure = conditions.thermal_pressure.as_deref();
    let hot = pressure.filter(|&pressure| pressure != "nominal");
    let hot = hot.map(|hot| format!("the machine was hot when the run started: pressure {hot}"));
    let repetitions = run.settings.repetitions;
    let few = (repetitions < FEWEST_FOR_INTERVAL).then(|| {
        format!("no interval (±): it takes {FEWEST_FOR_INTERVAL} repetitions, the config says {repetitions}")
    });
    let asked = run.settings.threads;
    let on_cpu = |facts: &&TargetFacts| facts.id.placement.device.kind() == "cpu";
    let uneven = result.targets.iter().filter(on_cpu);
    let uneven = uneven.filter(|facts| facts.threads != asked).map(|facts| {
        let (id, threads) = (&facts.id, facts.threads);
        format!(
            "{id} uses {threads} of the {asked} CPU threads asked for: its libraries can't be told"
        )
    });
    let general = [debug, fallback, unfinished, battery, saving, hot, few]
        .into_iter()
        .flatten();
    general.chain(uneven).collect()
}
