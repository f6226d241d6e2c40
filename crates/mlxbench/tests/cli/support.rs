//! A user's folder: a tiny model, a config, and the programs of this build.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A Gemma 3 of some thousand parameters: a windowed and a global layer.
pub(crate) const TINY: &str = r#"{"model_type": "gemma3_text", "vocab_size": 64, "hidden_size": 16,
    "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
    "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4, "sliding_window_pattern": 2,
    "max_position_embeddings": 256, "query_pre_attn_scalar": 10}"#;

/// The part of a config that says what to measure, without targets.
pub(crate) const TEST: &str = "[[test]]\nprompt_tokens = 8\ngenerate_tokens = 5\n";

pub(crate) struct Scene {
    folder: TempDir,
}

impl Scene {
    /// A folder with the tiny model in `model/`.
    pub(crate) fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(scene.path("tiny.json"), TINY).unwrap();
        let made = scene.mlxbench(&[
            "model",
            "synth",
            "tiny.json",
            "-o",
            "model",
            "--dtype",
            "f32",
        ]);
        assert!(made.status.success(), "{}", stderr(&made));
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `config.toml`: the tiny model, no check of equivalence, no probes, `rest`.
    pub(crate) fn config(&self, rest: &str) {
        self.checked_config(&format!("[equivalence]\nreference = \"none\"\n{rest}"));
    }

    /// Writes `config.toml`: the tiny model, no probes, `rest`.
    pub(crate) fn checked_config(&self, rest: &str) {
        self.whole_config(&format!("{rest}\n[roofline]\nprobe = false\n"));
    }

    /// Writes `config.toml`: the tiny model, `rest`.
    pub(crate) fn whole_config(&self, rest: &str) {
        let text = format!("name = \"scene\"\n[model]\nsource = \"model\"\n{rest}");
        std::fs::write(self.path("config.toml"), text).unwrap();
    }

    /// The command, to be run in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_mlxbench")), arguments)
    }

    /// [`Self::command`], of another build.
    pub(crate) fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path());
        command.env("MLXBENCH_CACHE", self.path("cache"));
        // The lock of the machine lies there: tests run beside one another.
        command.env("TMPDIR", self.folder.path());
        command
    }

    pub(crate) fn mlxbench(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a run and waits until a line of its progress ends so: its worker should hang there.
    pub(crate) fn run_until(&self, ending: &str) -> Child {
        self.wait_for(ending, self.command(&["run", "config.toml"]))
    }

    /// [`Self::run_until`], with a command of the caller's.
    pub(crate) fn wait_for(&self, ending: &str, mut run: Command) -> Child {
        let mut run = run
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap().ends_with(ending)),
            "no line of progress ends with {ending:?}"
        );
        std::thread::spawn(move || lines.for_each(drop));
        run
    }

    /// The only file below `results/scene` that ends in `ending`.
    pub(crate) fn written(&self, ending: &str) -> PathBuf {
        let files = std::fs::read_dir(self.path("results/scene")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        files
            .find(|path| path.to_string_lossy().ends_with(ending))
            .unwrap()
    }

    /// The only result in a folder.
    pub(crate) fn only(&self, folder: &str) -> Value {
        let files = std::fs::read_dir(self.path(folder)).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let results: Vec<PathBuf> = files
            .filter(|path| path.to_string_lossy().ends_with("Z.json"))
            .collect();
        assert_eq!(results.len(), 1, "{results:?}");
        serde_json::from_slice(&std::fs::read(&results[0]).unwrap()).unwrap()
    }

    /// The result file.
    pub(crate) fn result(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.written("Z.json")).unwrap()).unwrap()
    }
}

/// Logits that transformers computes in float32 differ from those in float64 by 5e-6; candle's reach some
/// units of the sixth decimal.
const TOLERANCE: f64 = 1e-4;

/// Generates from the prompt of `golden.json` in `folder` with the candle worker on `model`, in f32 on the CPU:
/// the golden's tokens and, near enough, its logits, of an independent forward pass in float64.
pub(crate) fn assert_golden(scene: &Scene, model: &str, folder: &Path) -> Output {
    worker("mlxbench-worker-candle");
    let name = folder.display();
    let golden = std::fs::read(folder.join("golden.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let list = |key: &str| golden[key].as_array().unwrap();
    let ids: Vec<String> = list("prompt").iter().map(Value::to_string).collect();
    let (ids, count) = (ids.join(","), list("tokens").len().to_string());
    let placed = ["--backend", "candle", "--device", "cpu", "--dtype", "f32"];
    let asked = ["--tokens", &ids, "--max-tokens", &count, "--ignore-eos"];
    let answered = ["--logits", "l.safetensors", "--json"];
    let of_model = ["generate", "--model", model];
    let output = scene.mlxbench(&[&of_model[..], &placed, &asked, &answered].concat());
    assert!(output.status.success(), "{name}: {}", stderr(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["tokens"], golden["tokens"], "{name}");
    let bytes = std::fs::read(scene.path("l.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let found = file.tensor("logits").unwrap();
    let found = found.data().as_chunks().0.iter();
    let found: Vec<f64> = found
        .map(|bytes| f32::from_le_bytes(*bytes).into())
        .collect();
    let expected = list("logits")
        .iter()
        .flat_map(|row| row.as_array().unwrap());
    let expected: Vec<f64> = expected.map(|logit| logit.as_f64().unwrap()).collect();
    assert_eq!(found.len(), expected.len(), "{name}");
    let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, f64::max);
    assert!(largest < TOLERANCE, "{name}: logits differ by {largest}");
    output
}

/// A worker of this build, which must have been built with the workspace.
pub(crate) fn worker(name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_BIN_EXE_mlxbench")).with_file_name(name);
    assert!(
        file.is_file(),
        "{name} is missing: run `cargo build --workspace --bins` first, with --release where this was"
    );
    file
}

/// The TOML of a target with the mock worker, called `name`, with these arguments.
pub(crate) fn mock(name: &str, arguments: &[&str]) -> String {
    let program = worker("mlxbench-worker-mock");
    let words: Vec<String> = [program.to_str().unwrap()]
        .iter()
        .chain(arguments)
        .map(|w| format!("{w:?}"))
        .collect();
    let command = words.join(", ");
    format!(
        "[[target]]\nbackend = \"{name}\"\ndtypes = [\"f32\"]\n\
         [backend.{name}]\ncommand = [{command}]\n"
    )
}

/// A shell script as the worker `mock`; `WORKER` stands for the mock's program.
pub(crate) fn scripted(script: &str) -> String {
    let program = worker("mlxbench-worker-mock");
    let script = script.replace("WORKER", program.to_str().unwrap());
    let command = json!(["sh", "-c", script]);
    format!(
        "[[target]]\nbackend = \"mock\"\ndtypes = [\"f32\"]\n[backend.mock]\ncommand = {command}\n"
    )
}

/// Whether process `pid` still runs; one that is dead and not yet buried doesn't.
pub(crate) fn runs(pid: &str) -> bool {
    let ps = Command::new("ps")
        .args(["-o", "stat=", "-p", pid])
        .output()
        .unwrap();
    let state = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
