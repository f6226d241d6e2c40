//! Whether a result's numbers can be believed. A file may say anything; see [`crate::limits`].

use std::ops::RangeInclusive;

use super::{
    ClockRange, DeviceConditions, ModelFacts, RunResult, Sample, ServedRequest, Settings, Timeline,
    Turns,
};
use crate::gemma::LayerSpec;
use crate::limits::{
    BYTES, CELSIUS, JOULES, LAYERS, MEGAHERTZ, POSITIONS, REPETITIONS, THREADS, TIME, TOKENS,
    VOCABULARY, WIDTH, at_most, seconds,
};
use crate::probe::ProductShape;
use crate::{GemmaConfig, Nanos};

impl RunResult {
    /// Refuses a result with a number that can't be.
    ///
    /// # Errors
    /// Which number of what it is.
    pub fn check(&self) -> Result<(), String> {
        let run = &self.run;
        settings(&run.settings)?;
        model(&run.model)?;
        if let Some(sequence) = run.sides.as_ref().and_then(|sides| sides.sequence.as_ref()) {
            seconds("max_seconds of the sides", sequence.max_seconds)?;
        }
        bytes("memory_bytes of the machine", run.machine.memory_bytes)?;
        // A row of tables is a target's test.
        let rows = run.targets.len().saturating_mul(run.tests.len());
        at_most(
            "the number of targets times that of tests",
            rows,
            REPETITIONS,
        )?;
        let named = run.tests.iter().chain(self.samples.iter().map(|s| &s.test));
        let named = named.chain(self.warmups.iter().map(|warmup| &warmup.test));
        let named = named.chain(self.stopped.iter().map(|stopped| &stopped.test));
        let named = named.chain(self.partings.iter().map(|parting| &parting.test));
        let named = named.chain(self.checks.iter().map(|check| &check.test));
        for tested in named.chain(self.failures.iter().filter_map(|f| f.test.as_ref())) {
            tested.check()?;
        }
        for meter in &run.power {
            energy("idle_watts", meter.idle_watts)?;
            times("period_ns of a meter", meter.period_ns.as_slice())?;
        }
        for target in &self.targets {
            at_most("threads of a target", target.threads, THREADS)?;
            times("load_ns", &target.load_ns)?;
            if let Some(storage) = &target.storage {
                bytes("layers_bytes", storage.layers_bytes)?;
                bytes("tables_bytes", storage.tables_bytes)?;
                bytes("others_bytes", storage.others_bytes)?;
                bytes("experts_bytes", storage.experts_bytes)?;
                bytes("per_layer_bytes", storage.per_layer_bytes)?;
            }
        }
        for warmup in &self.warmups {
            times("end_to_end_ns", &warmup.end_to_end_ns)?;
        }
        for stopped in &self.stopped {
            at_most("repetitions of a test", stopped.repetitions, REPETITIONS)?;
        }
        for probe in &self.streams {
            at_most("threads of a stream", probe.threads, THREADS)?;
            bytes("moved_bytes", probe.moved_bytes)?;
            times("time_ns of a stream", &[probe.time_ns])?;
        }
        for probe in &self.products {
            shape(&probe.shape)?;
            times("time_ns of a product", &[probe.time_ns])?;
        }
        let of_checks = self.checks.iter().filter_map(|c| c.fidelity.as_ref());
        let of_targets = self.equivalences.iter().filter_map(|e| e.fidelity.as_ref());
        for known in of_targets.chain(of_checks) {
            at_most("positions", known.positions, POSITIONS)?;
            at_most(
                "agreeing_positions",
                known.agreeing_positions,
                known.positions,
            )?;
        }
        for cost in self
            .quantisation_costs
            .iter()
            .filter_map(|cost| cost.figures.as_ref())
        {
            at_most("positions", cost.positions, POSITIONS)?;
            at_most(
                "same_top_positions",
                cost.same_top_positions,
                cost.positions,
            )?;
        }
        self.samples.iter().try_for_each(sample)
    }
}

fn settings(settings: &Settings) -> Result<(), String> {
    at_most("repetitions", settings.repetitions, REPETITIONS)?;
    at_most("processes", settings.processes.unwrap_or(0), REPETITIONS)?;
    at_most(
        "max_repetitions",
        settings.max_repetitions.unwrap_or(0),
        REPETITIONS,
    )?;
    at_most("warmup", settings.warmup, REPETITIONS)?;
    at_most("max_warmup", settings.max_warmup, REPETITIONS)?;
    at_most("chunk", settings.chunk, TOKENS)?;
    at_most("threads", settings.threads, THREADS)?;
    at_most("compared_positions", settings.compared_positions, POSITIONS)?;
    seconds("delay_seconds", settings.delay_seconds)?;
    at_most("throttle_retries", settings.throttle_retries, REPETITIONS)?;
    seconds("throttle_pause_seconds", settings.throttle_pause_seconds)?;
    seconds("max_seconds", settings.max_seconds.unwrap_or(0.0)).map(drop)
}

fn model(facts: &ModelFacts) -> Result<(), String> {
    bytes("parameters of the model", facts.parameters)?;
    bytes("stored_bytes of the model", facts.stored_bytes)?;
    facts.config.as_ref().map_or(Ok(()), shapes)
}

/// The shapes from which bytes and operations are counted.
fn shapes(config: &GemmaConfig) -> Result<(), String> {
    at_most("vocab_size", config.vocab_size, VOCABULARY)?;
    at_most("hidden_size", config.hidden_size, WIDTH)?;
    at_most("the number of layers", config.layers.len(), LAYERS)?;
    if config.layers.is_empty() {
        return Err("the model has no layers".into());
    }
    if let Some(per_layer) = config.per_layer {
        at_most(
            "vocab_size_per_layer_input",
            per_layer.vocab_size,
            VOCABULARY,
        )?;
        at_most("hidden_size_per_layer_input", per_layer.width, WIDTH)?;
    }
    for LayerSpec {
        attention,
        mlp_width,
        experts,
        ..
    } in &config.layers
    {
        if let Some(experts) = experts {
            let elements = experts.count.saturating_mul(experts.width);
            let elements = elements.saturating_mul(config.hidden_size);
            let what = "num_experts x moe_intermediate_size x hidden_size";
            at_most(what, elements, WIDTH * WIDTH)?;
            at_most("top_k_experts", experts.top_k, experts.count)?;
        }
        let of_heads = |heads: usize| heads.saturating_mul(attention.head_dim);
        at_most("intermediate_size", *mlp_width, WIDTH)?;
        at_most(
            "num_attention_heads x head_dim",
            of_heads(attention.heads),
            WIDTH,
        )?;
        at_most(
            "num_key_value_heads x head_dim",
            of_heads(attention.kv_heads),
            WIDTH,
        )?;
        if attention.kv_heads == 0 {
            return Err("num_key_value_heads is 0".into());
        }
    }
    Ok(())
}

/// Refuses the shape of a product that no model has.
pub(crate) fn shape(shape: &ProductShape) -> Result<(), String> {
    at_most("rows of a product", shape.rows, TOKENS)?;
    at_most("in_features of a product", shape.in_features, VOCABULARY)?;
    at_most("out_features of a product", shape.out_features, VOCABULARY)
}

fn sample(sample: &Sample) -> Result<(), String> {
    at_most("repetition", sample.repetition, REPETITIONS)?;
    at_most("attempt", sample.attempt, REPETITIONS)?;
    at_most("process", sample.process.unwrap_or(0), REPETITIONS)?;
    times("wall_ns", sample.wall_ns.as_slice())?;
    times("token_ns", &sample.token_ns)?;
    for request in &sample.requests {
        served(request)?;
    }
    sample.turns.as_ref().map_or(Ok(()), turns)?;
    bytes("peak_memory_bytes", sample.peak_memory_bytes.unwrap_or(0))?;
    bytes("device_peak_bytes", sample.device_peak_bytes.unwrap_or(0))?;
    energy("energy_joules", sample.energy_joules)?;
    sample.conditions.as_ref().map_or(Ok(()), conditions)?;
    sample.timeline.as_ref().map_or(Ok(()), timeline)
}

/// Refuses a request to a server with times or counts that can't be.
///
/// # Errors
/// Which one.
pub fn served(request: &ServedRequest) -> Result<(), String> {
    times("start_ns", &[request.start_ns, request.end_ns])?;
    times("first_byte_ns", request.first_byte_ns.as_slice())?;
    times("chunk_ns", &request.chunk_ns)?;
    times("finish_ns", request.finish_ns.as_slice())?;
    if !request.chunk_ns.is_sorted() || request.end_ns < request.start_ns {
        return Err("times of a request to a server run backwards".into());
    }
    for (name, count) in [
        ("prompt_tokens of a request", request.prompt_tokens),
        ("completion_tokens of a request", request.completion_tokens),
        ("cached_tokens of a request", request.cached_tokens),
    ] {
        let count = count.map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX));
        at_most(name, count, TOKENS)?;
    }
    Ok(())
}

fn turns(turns: &Turns) -> Result<(), String> {
    times("cold_ttft_ns", &[turns.cold_ttft_ns])?;
    for turn in &turns.turns {
        times("token_ns of a turn", &turn.token_ns)?;
        at_most("prompt_tokens of a turn", turn.prompt_tokens, TOKENS)?;
        at_most("new_tokens of a turn", turn.new_tokens, TOKENS)?;
        at_most("read_tokens of a turn", turn.read_tokens, TOKENS)?;
        bytes(
            "device_peak_bytes of a turn",
            turn.device_peak_bytes.unwrap_or(0),
        )?;
    }
    Ok(())
}

fn conditions(conditions: &DeviceConditions) -> Result<(), String> {
    times("every_ns of conditions", &[conditions.every_ns])?;
    energy("mean_watts", conditions.mean_watts)?;
    let clocks = [conditions.clock_mhz, conditions.memory_clock_mhz];
    for ClockRange { min, median, max } in clocks.into_iter().flatten() {
        at_most(
            "a clock's MHz",
            min.max(median).max(max) as usize,
            MEGAHERTZ,
        )?;
    }
    let shares = conditions.throttle_reasons.values().copied();
    for share in shares.chain(conditions.throttled_share) {
        within("a share of throttled readings", share, 0.0..=1.0)?;
    }
    match conditions.max_temperature_celsius {
        Some(celsius) => within("max_temperature_celsius", celsius, CELSIUS),
        None => Ok(()),
    }
}

fn within(what: &str, value: f64, range: RangeInclusive<f64>) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(format!("{what} is {value}")),
    }
}

fn timeline(timeline: &Timeline) -> Result<(), String> {
    let held = timeline.memory_bytes.iter();
    times("every_ns", &[timeline.every_ns])?;
    bytes("memory_bytes", held.copied().max().unwrap_or(0))
}

/// Refuses energy and power beyond [`JOULES`]. A meter that is read too soon may run backwards.
fn energy(what: &str, energy: Option<f64>) -> Result<(), String> {
    match energy {
        Some(energy) if !(-JOULES..=JOULES).contains(&energy) => Err(format!("{what} is {energy}")),
        _ => Ok(()),
    }
}

/// Refuses times beyond [`TIME`].
fn times(what: &str, times: &[Nanos]) -> Result<(), String> {
    let most = Nanos::from(TIME);
    match times.iter().find(|&&time| time > most) {
        Some(Nanos(ns)) => Err(format!(
            "{what} has {ns} ns: the most that makes sense is {}",
            most.0
        )),
        None => Ok(()),
    }
}

/// Refuses amounts of memory beyond [`BYTES`].
fn bytes(what: &str, bytes: u64) -> Result<(), String> {
    match bytes <= BYTES {
        true => Ok(()),
        false => Err(format!(
            "{what} is {bytes}: the most that makes sense is {BYTES}"
        )),
    }
}
