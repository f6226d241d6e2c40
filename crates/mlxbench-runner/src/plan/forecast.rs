//! What a run would be: its cases, about how long it would take, and what memory and disk it would need. Nothing is
//! fetched, made or loaded for it; workers are asked what they can do here.

use std::path::{Path, PathBuf};

use mlxbench_core::checkpoint::read_config;
use mlxbench_core::gemma::PRESETS;
use mlxbench_core::limits::REPETITIONS;
use mlxbench_core::results::{LoraTest, Residency, TargetId, Test};
use mlxbench_core::{Dtype, GemmaConfig, Placement};
use mlxbench_models::source::Source;
use serde::Serialize;

use super::rates::{Known, Rates};
use super::{
    Answers, Target, check, chunk, fit, listed, needed_bytes, refuse_model, residency, settle,
    targets,
};
use crate::checks::STEPS;
use crate::config::{Config, MeasureConfig, SERVER};
use crate::execute::{lets_through, no_case};
use crate::roofline::probed;
use crate::{Error, Result, system};

/// Bytes of weights that a worker reads and converts a second, at least, where files are cached.
const LOADED_PER_SECOND: f64 = 1e9;

/// A run that wasn't started.
#[derive(Debug, Serialize)]
pub struct Forecast {
    /// The config's name.
    pub name: String,
    /// The model, as the config names it.
    pub source: String,
    /// Where its files come from.
    pub origin: Origin,
    /// The weights that servers are compared with, as the config names them, and where these come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<(String, Origin)>,
    /// The tests that would be run.
    pub tests: Vec<Test>,
    /// The targets.
    pub targets: Vec<Outlook>,
    /// What all workers that hold their models at the same time need at least; `None` where the shapes of the model
    /// aren't known yet.
    pub memory_bytes: Option<u64>,
    /// What every target is compared with first, and what its worker needs at least, where it can run here.
    pub reference: Option<(TargetId, u64)>,
    /// What the machine has.
    pub machine_memory_bytes: u64,
    /// Which workers are loaded at the same time.
    pub residency: Option<Residency>,
    /// Seconds from the first worker's start to the result: least and most that are likely.
    pub seconds: Option<[f64; 2]>,
}

/// Where a model's files come from.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Origin {
    /// They are on this machine.
    Here {
        /// Their folder.
        folder: PathBuf,
    },
    /// They are fetched from the hub.
    Fetched {
        /// How much that is about, where the model is one of the presets.
        bytes: Option<u64>,
    },
    /// They are made.
    Made {
        /// How large they are.
        bytes: u64,
    },
    /// They are imported from a GGUF file.
    Imported {
        /// How large that is.
        file_bytes: u64,
    },
    /// A script brings them.
    Script,
    /// A server has them.
    Server,
}

/// A target's part of a run.
#[derive(Debug, Serialize)]
pub struct Outlook {
    /// Which.
    pub target: TargetId,
    /// Why it can't run here.
    pub unusable: Option<String>,
    /// Whether the run is fine without it.
    pub optional: bool,
    /// Weights and the largest KV cache on the device.
    pub memory_bytes: Option<u64>,
    /// What a GPU's target keeps in the host's memory beside them: the table of per-layer embeddings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_bytes: Option<u64>,
    /// Seconds: least and most that are likely.
    pub seconds: Option<[f64; 2]>,
    /// The earlier result that the seconds come from; `None` where they are a guess.
    pub by: Option<PathBuf>,
}

/// What a run of `config`, read from `config_path`, would be for its first model. Earlier results in `out` tell how
/// fast targets are here.
///
/// # Errors
/// When a test or target is listed twice, or a test doesn't fit the model.
pub fn forecast(
    config: &Config,
    config_path: &Path,
    out: &Path,
    filter: Option<&str>,
) -> Result<Forecast> {
    let base = config_path.parent().unwrap_or(Path::new(""));
    let source = &config.models.first().source;
    let (own, gemma) = origin(source, base)?;
    let (weights, of_weights) = match &config.models.first().weights {
        Some(weights) => {
            let (origin, gemma) = origin(weights, base)?;
            (Some((weights.clone(), origin)), gemma)
        }
        None => (None, None),
    };
    let tests = listed(config)?;
    if let Some(gemma) = &gemma {
        fit(&tests, gemma)?;
    }
    let mut answers = Answers::new(config, config_path);
    let mut targets = targets(config, config_path, &mut answers)?;
    if let Some(gemma) = &gemma {
        refuse_model(&mut targets, gemma);
    }
    let lets = |target: &Target, test: &Test| {
        filter.is_none_or(|filter| lets_through(filter, &target.id, test))
    };
    let (targets, others): (Vec<Target>, Vec<Target>) = targets
        .into_iter()
        .partition(|target| tests.iter().any(|test| lets(target, test)));
    if let (true, Some(filter), [other, ..], [test, ..]) = (
        targets.is_empty(),
        filter,
        others.as_slice(),
        tests.as_slice(),
    ) {
        return Err(no_case(filter, &other.id, test));
    }
    let machine = system::machine();
    let known = Known::read(out, &machine);
    let reference = config.equivalence.reference()?.map(|id| Target {
        worker: settle(&id, answers.of(&id.backend)),
        id,
        optional: true,
    });

    let outlook = |target: &Target| {
        let usable = gemma.as_ref().filter(|_| target.worker.is_ok());
        let rates = known.rates(&target.id, &machine);
        let own: Vec<Test> = tests
            .iter()
            .copied()
            .filter(|test| lets(target, test))
            .collect();
        let work = |gemma| Work {
            config,
            gemma,
            chunk: chunk::chunk(&config.measure, &tests, gemma, machine.memory_bytes),
            target: &target.id,
            beside: targets.len(),
            rates: &rates,
        };
        let host_bytes = usable.and_then(|gemma| on_host(&target.id, gemma));
        let on_device =
            |gemma| needed_bytes(target, &tests, gemma) - host_bytes.unwrap_or_default();
        Outlook {
            target: target.id.clone(),
            unusable: target.worker.as_ref().err().map(|(_, why)| why.clone()),
            optional: target.optional,
            memory_bytes: usable.map(on_device),
            host_bytes,
            seconds: usable.map(|gemma| work(gemma).seconds(&own, &tests)),
            by: rates.by.clone(),
        }
    };
    let outlooks: Vec<Outlook> = targets.iter().map(outlook).collect();
    let reference = reference.filter(|reference| reference.worker.is_ok());
    let compared = reference
        .as_ref()
        .zip(gemma.as_ref().or(of_weights.as_ref()));
    let needs = compared
        .map(|(reference, gemma)| (reference.id.clone(), needed_bytes(reference, &tests, gemma)));
    let of_reference = reference.map(|reference| {
        let rates = known.rates(&reference.id, &machine);
        let gemma = gemma.as_ref()?;
        let work = Work {
            config,
            gemma,
            chunk: chunk::chunk(&config.measure, &tests, gemma, machine.memory_bytes),
            target: &reference.id,
            beside: targets.len(),
            rates: &rates,
        };
        Some(work.check(&tests) + work.load())
    });
    let checked = of_reference.flatten().unwrap_or(0.0);
    let residency = gemma.as_ref().map(|gemma| {
        let of_config = config.measure.residency;
        of_config.unwrap_or_else(|| residency(&targets, &tests, gemma))
    });
    let of_outlook = |outlook: &Outlook| {
        let on_host = outlook.host_bytes.unwrap_or_default();
        outlook.memory_bytes.map(|bytes| bytes + on_host)
    };
    let needed = outlooks.iter().filter_map(of_outlook);
    let memory_bytes = residency.map(|residency| match residency {
        Residency::Together => needed.sum(),
        Residency::OneAtATime => needed.max().unwrap_or(0),
    });
    let seconds = gemma.as_ref().map(|_| {
        let parts = outlooks.iter().filter_map(|outlook| outlook.seconds);
        parts.fold([checked, checked], |[least, most], [a, b]| {
            [least + a, most + b]
        })
    });
    Ok(Forecast {
        name: config.name.clone(),
        source: source.clone(),
        origin: own,
        weights,
        tests,
        targets: outlooks,
        memory_bytes,
        reference: needs,
        machine_memory_bytes: machine.memory_bytes,
        residency,
        seconds,
    })
}

/// Bytes that a GPU's target keeps in the host's memory.
fn on_host(target: &TargetId, gemma: &GemmaConfig) -> Option<u64> {
    let Placement { device, precision } = &target.placement;
    let apart = device.keeps_per_layer_on_cpu() && device.kind() != "cpu";
    apart.then(|| gemma.storage(*precision).per_layer_bytes)
}

/// Where the files of a source come from, and the model's shapes where they are known already.
fn origin(source: &str, base: &Path) -> Result<(Origin, Option<GemmaConfig>)> {
    if source.starts_with(SERVER) {
        return Ok((Origin::Server, None));
    }
    if source.starts_with("script:") {
        return Ok((Origin::Script, None));
    }
    let source = super::source(source, base)?;
    if let Ok(folder) = source.local() {
        let gemma = read_config(&folder)?;
        return Ok((Origin::Here { folder }, Some(gemma)));
    }
    let bf16 = |gemma: &GemmaConfig| gemma.weights_bytes(Dtype::Bf16.into());
    Ok(match &source {
        Source::Folder(folder) => {
            // It says what is wrong with it.
            read_config(folder)?;
            (
                Origin::Here {
                    folder: folder.clone(),
                },
                None,
            )
        }
        Source::Gguf(file) => {
            let meta = file.metadata().map_err(|error| Error::io(file, error))?;
            let file_bytes = meta.len();
            (Origin::Imported { file_bytes }, None)
        }
        Source::Synthetic { preset, .. } => {
            let gemma = preset.config();
            (
                Origin::Made {
                    bytes: bf16(&gemma),
                },
                Some(gemma),
            )
        }
        Source::Hub { repo, .. } => {
            let preset = PRESETS.iter().find(|preset| preset.hub == *repo);
            let gemma = preset.map(|preset| preset.config());
            (
                Origin::Fetched {
                    bytes: gemma.as_ref().map(bf16),
                },
                gemma,
            )
        }
    })
}

/// What a target has to do.
struct Work<'a> {
    config: &'a Config,
    gemma: &'a GemmaConfig,
    chunk: usize,
    target: &'a TargetId,
    /// Targets that share a test's time.
    beside: usize,
    rates: &'a Rates,
}

impl Work<'_> {
    /// Seconds of all that a target does for `own` of the run's tests: least and most that are likely.
    fn seconds(&self, own: &[Test], tests: &[Test]) -> [f64; 2] {
        let MeasureConfig {
            repetitions,
            processes,
            max_repetitions,
            interval_percent,
            max_seconds,
            warmup,
            delay_seconds,
            ..
        } = &self.config.measure;
        let max_warmup = self.config.measure.most_warmup();
        let processes = processes.get().min(repetitions.get());
        let probe = &self.config.roofline;
        let probed = if probe.probe {
            probed(self.gemma, self.chunk).len() as f64 * probe.seconds
        } else {
            0.0
        };
        let checked = match self.config.equivalence.reference() {
            Ok(Some(_)) => self.check(tests) + self.load(),
            _ => 0.0,
        };
        let before = self.load() * processes as f64 + probed + checked;
        let [faster, slower] = self.rates.spread();
        let most = match (interval_percent, max_repetitions) {
            (None, _) => repetitions.get(),
            (Some(_), None) => REPETITIONS,
            (Some(_), Some(most)) => most.get(),
        };
        let allowed = max_seconds.map(|seconds| seconds / self.beside.max(1) as f64);
        let measured = |test: &Test| {
            let once = self.repetition(test);
            let of = |repetitions: usize, warmups: usize, factor: f64| {
                let one = once * factor + delay_seconds;
                let counted = repetitions as f64 * one;
                // The last one may begin just before the time is over.
                let counted = allowed.map_or(counted, |allowed| counted.min(allowed + one));
                counted + (processes * warmups) as f64 * once * factor
            };
            [
                of(repetitions.get(), *warmup, faster),
                of(most, max_warmup, slower),
            ]
        };
        own.iter().map(measured).fold(
            [before * faster, before * slower],
            |[least, most], [a, b]| [least + a, most + b],
        )
    }

    /// Seconds of one repetition, the filling of the cache before it included.
    fn repetition(&self, test: &Test) -> f64 {
        let prefill = |depth: usize, tokens: usize| self.prefill(test.rows(), depth, tokens);
        let storage = self.gemma.storage(self.target.placement.precision);
        let decoded = self
            .gemma
            .decode_bytes(&storage, test.rows(), test.context(), test.steps());
        if let Some(chat) = test.as_chat() {
            // All turns read the last prompt once, and it is read once more for comparison.
            let read = 2.0 * prefill(0, test.prompt_tokens().max(1));
            return read + chat.turns as f64 * decoded / self.rates.bytes_per_second;
        }
        if let Some(training) = test.as_lora() {
            return self.steps(training, training.steps);
        }
        let filled = if test.depth() > 0 {
            prefill(0, test.depth())
        } else {
            0.0
        };
        filled
            + prefill(test.depth(), test.prompt_tokens().max(1))
            + decoded / self.rates.bytes_per_second
    }

    /// Seconds of so many steps of a training. A backward pass counts as a forward one, since frozen weights have no
    /// gradient, and gradient checkpointing as one more of the layers; the output projection runs on all tokens.
    fn steps(&self, training: &LoraTest, count: usize) -> f64 {
        let head = 2 * training.batch * training.tokens * self.gemma.hidden_size;
        let head = (head * self.gemma.vocab_size) as f64 / self.rates.operations_per_second;
        let passes = match training.gradient_checkpointing {
            true => 3.0,
            false => 2.0,
        };
        let layers = self.prefill(training.batch, 0, training.tokens);
        count as f64 * (passes * layers + 2.0 * head)
    }

    /// Seconds of a prefill: its products, and weights read once a chunk.
    fn prefill(&self, rows: usize, depth: usize, tokens: usize) -> f64 {
        let operations = self
            .gemma
            .prefill_operations(rows, depth, tokens, self.chunk);
        let weights = self.gemma.weights_bytes(self.target.placement.precision);
        let read = (tokens.div_ceil(self.chunk) as u64 * weights) as f64;
        operations as f64 / self.rates.operations_per_second + read / self.rates.bytes_per_second
    }

    /// Seconds of the check before the run, what quantised weights cost included.
    fn check(&self, tests: &[Test]) -> f64 {
        let (depth, prompt) = check::lengths(self.config, self.chunk, tests, self.gemma);
        let positions = self
            .config
            .equivalence
            .positions
            .get()
            .div_ceil(check::ROWS);
        let storage = self.gemma.storage(self.target.placement.precision);
        let steps = self
            .gemma
            .decode_bytes(&storage, check::ROWS, depth + prompt, positions);
        let quantised = self.target.placement.precision.scheme().is_some();
        let passages = match quantised && self.config.models.first().has_text() {
            true => self.prefill(1, 0, 2 * self.config.quantisation.positions),
            false => 0.0,
        };
        let trainings = tests.iter().filter_map(Test::as_lora);
        let trainings: f64 = trainings.map(|test| self.steps(test, STEPS)).sum();
        let conversations = tests.iter().filter(|test| test.as_chat().is_some());
        let conversations: f64 = conversations.map(|test| self.repetition(test)).sum();
        self.prefill(check::ROWS, 0, depth + prompt)
            + steps / self.rates.bytes_per_second
            + passages
            + trainings
            + conversations
    }

    /// Seconds until a worker holds the model.
    fn load(&self) -> f64 {
        self.gemma.weights_bytes(self.target.placement.precision) as f64 / LOADED_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_on_the_cpu_is_no_need_of_a_gpu() {
        let gemma = mlxbench_core::gemma::preset("gemma-4-e2b")
            .unwrap()
            .config();
        let on_host = |target: &str| on_host(&target.parse().unwrap(), &gemma);
        let elements = 262_144 * 35 * 256;
        assert_eq!(on_host("tch/cuda+ple-cpu/bf16"), Some(2 * elements));
        // A byte a code, two bytes a row.
        assert_eq!(
            on_host("mlx/gpu+ple-cpu/q4-bf16"),
            Some(elements + 2 * 262_144)
        );
        for whole in [
            "tch/cuda/bf16",
            "tch/cuda+graph/bf16",
            "tch/cpu+ple-cpu/bf16",
        ] {
            assert_eq!(on_host(whole), None, "{whole}");
        }
    }
}
