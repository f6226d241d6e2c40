//! Goldens: tiny Gemmas whose logits Hugging Face transformers computed, and the comparison that
//! every adapter's tests run against them.
//!
//! `scripts/goldens/make.py` writes the files. Weights aren't kept: the script and `weight` make
//! the same ones from the tensors' names, large enough for every norm, soft-cap, window and RoPE
//! base to tell in the logits.

use std::path::{Path, PathBuf};

use safetensors::tensor::{SafeTensors, TensorView};

use mlxbench_core::backend::{Backend, Model};
use mlxbench_core::clock::MonotonicClock;
use mlxbench_core::gemma::TensorSpec;
use mlxbench_core::generate::{Job, Mode, generate};
use mlxbench_core::score::{Forced, score};
use mlxbench_core::{
    Checkpoint, Error, GemmaConfig, Placement, Result, Scheme, TokenBatch, TokenId, numbers,
};

/// The reference's answer for one tiny model.
#[derive(Debug)]
pub struct Golden {
    /// The case's name.
    pub name: String,
    pub(crate) folder: PathBuf,
    pub(crate) config: GemmaConfig,
    /// A prompt and its greedy continuation.
    pub(crate) tokens: Vec<TokenId>,
    /// Tokens of the prompt.
    prompt: usize,
    /// Logits of the last positions, teacher-forced, one vector a position.
    logits: Vec<Vec<f32>>,
}

/// How far a backend is from a golden.
#[derive(Debug)]
pub struct Comparison {
    /// Largest |logit difference| over all prompt lengths, chunk sizes, batches and positions;
    /// infinite when a logit is not a number.
    pub largest_difference: f32,
    /// Where it was seen.
    pub place: String,
    /// The greedy continuation of the prompt, synchronous and pipelined.
    pub greedy: [Vec<TokenId>; 2],
    /// The reference's greedy continuation.
    pub expected_greedy: Vec<TokenId>,
}

impl Comparison {
    /// Fails the test that runs it when a logit differs by more than `tolerance` or a greedy token
    /// differs at all.
    ///
    /// # Panics
    /// In these two cases, saying where.
    pub fn assert_within(&self, tolerance: f32) {
        let Self {
            largest_difference,
            place,
            greedy,
            expected_greedy,
        } = self;
        assert!(
            *largest_difference <= tolerance,
            "{place}: differs by {largest_difference}"
        );
        for greedy in greedy {
            assert_eq!(greedy, expected_greedy, "{place}: greedy tokens differ");
        }
    }

    /// Fails the test that runs it when a logit differs by more than `tolerance`, whatever tokens follow: where
    /// activations are rounded to 16 or 8 bits.
    ///
    /// # Panics
    /// In this case, saying where.
    pub fn assert_logits_within(&self, tolerance: f32) {
        let (place, difference) = (&self.place, self.largest_difference);
        assert!(difference <= tolerance, "{place}: differs by {difference}");
    }
}

impl Golden {
    /// All goldens of this repository.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn all() -> Result<Vec<Self>> {
        let folders = folders("goldens")?;
        let open = |folder: &PathBuf| Self::open(folder, "golden.safetensors");
        folders.iter().map(open).collect()
    }

    /// The one called `name` of [`Golden::all`].
    ///
    /// # Errors
    /// When there is none, or a file can't be read.
    pub fn named(name: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
        Self::open(&folder.join(name), "golden.safetensors")
    }

    /// The goldens of models whose weights `scheme` quantised: their logits are those of the weights that the
    /// codes stand for. Widths are multiples of 64.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn quantised(scheme: Scheme) -> Result<Vec<Self>> {
        let folders = folders("goldens-quantised")?;
        let name = format!("{}.safetensors", scheme.name());
        let open = |folder: &PathBuf| Self::open(folder, &name);
        folders.iter().map(open).collect()
    }

    /// The goldens of models that mlx-lm wrote and, but for one, packed, with its own logits. Their weights are kept.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn by_mlx_lm() -> Result<Vec<Self>> {
        let folders = folders("goldens-mlx")?;
        let open = |folder: &PathBuf| Self::open(folder, "golden.safetensors");
        folders.iter().map(open).collect()
    }

    /// Whether mlx-lm packed its matrices.
    ///
    /// # Errors
    /// When its weights can't be read.
    pub fn is_packed(&self) -> Result<bool> {
        Ok(Checkpoint::open(&self.folder)?.is_packed())
    }

    /// The golden of `folder`: `config.json` and the file called `name`.
    ///
    /// # Errors
    /// When a file is missing or isn't what `scripts/goldens/make.py` writes.
    pub fn open(folder: &Path, name: &str) -> Result<Self> {
        let config = mlxbench_core::checkpoint::read_config(folder)?;
        let path = folder.join(name);
        let bytes = std::fs::read(&path).map_err(|error| Error::io(&path, error))?;
        let malformed = |error| Error::model(&path, format!("not a golden: {error}"));
        let file = SafeTensors::deserialize(&bytes).map_err(malformed)?;
        let words = |name| {
            let words = file
                .tensor(name)
                .map_err(malformed)?
                .data()
                .as_chunks()
                .0
                .to_vec();
            Ok::<Vec<[u8; 4]>, Error>(words)
        };
        let tokens: Vec<u32> = words("tokens")?
            .into_iter()
            .map(u32::from_le_bytes)
            .collect();
        let logits: Vec<f32> = words("logits")?
            .into_iter()
            .map(f32::from_le_bytes)
            .collect();
        Ok(Self {
            name: folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            folder: folder.to_owned(),
            tokens,
            prompt: words("prompt")?
                .first()
                .map_or(0, |&word| u32::from_le_bytes(word) as usize),
            logits: logits
                .chunks(config.vocab_size)
                .map(<[f32]>::to_vec)
                .collect(),
            config,
        })
    }

    /// Compares `backend` at `placement`: prompts one shorter than the window, as long, one
    /// longer, twice as long, and the whole; in one piece and in chunks; alone and as a row of a
    /// batch of three; each followed by the rest of the text, token by token.
    ///
    /// # Errors
    /// When the backend fails, or the temporary model folder can't be written.
    pub fn compare<B: Backend>(
        &self,
        backend: &mut B,
        placement: &Placement,
    ) -> Result<Comparison> {
        let mut model = self.load(backend, placement)?;
        let window = self.window();
        let mut worst = (0.0, self.name.clone());
        let lengths = [window - 1, window, window + 1, 2 * window, self.prompt];
        // A long golden keeps the logits of its end only.
        let first = self.tokens.len() - self.logits.len();
        let there = first + 1..=self.prompt;
        for length in lengths.into_iter().filter(|length| there.contains(length)) {
            let others = [rotated(&self.tokens, 5), rotated(&self.tokens, 11)];
            let alone = others
                .clone()
                .map(|row| teacher_force(&mut model, &TokenBatch::row(row), length, length));
            let [first, second] = alone;
            let expected = [self.logits.clone(), first?, second?];
            let rows = [
                vec![self.tokens.clone()],
                [vec![self.tokens.clone()], others.into()].concat(),
            ];
            for (rows, chunk) in rows
                .iter()
                .flat_map(|rows| [1, 3, window, length].map(|c| (rows, c)))
            {
                let batch = TokenBatch::new(rows)?;
                let logits = teacher_force(&mut model, &batch, length, chunk)?;
                let place = format!(
                    "{}, prompt of {length} in chunks of {chunk}, {} rows",
                    self.name,
                    batch.batch()
                );
                for (row, expected) in expected.iter().take(batch.batch()).enumerate() {
                    let difference = self.difference(&logits, row, expected);
                    if difference > worst.0 {
                        worst = (difference, format!("{place}, row {row}"));
                    }
                }
            }
        }
        Ok(Comparison {
            largest_difference: worst.0,
            place: worst.1,
            greedy: [
                self.greedy(&mut model, Mode::Synchronous)?,
                self.greedy(&mut model, Mode::Pipelined)?,
            ],
            expected_greedy: self.tokens[self.prompt..].to_vec(),
        })
    }

    /// The logits of `model` over its text, two rows in chunks and then token by token.
    ///
    /// # Errors
    /// When the model fails.
    pub(crate) fn teacher_forced(&self, model: &mut impl Model) -> Result<Vec<Vec<f32>>> {
        let rows = TokenBatch::new(&[self.tokens.clone(), rotated(&self.tokens, 5)])?;
        teacher_force(model, &rows, self.prompt, self.window())
    }

    /// The window of its local layers; some number where it has none.
    pub(crate) fn window(&self) -> usize {
        let layers = self.config.layers.iter();
        let windows = layers.filter_map(|layer| layer.attention.window);
        windows.max().unwrap_or(4)
    }

    /// Writes the model to `folder`, which must exist: `config.json` and weights in f32.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.write_altered(folder, |_, element| element)
    }

    /// [`Golden::write`], with each element of each tensor passed through `alter` with the tensor's
    /// name: models that are wrong on purpose.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn write_altered(&self, folder: &Path, alter: impl Fn(&str, f32) -> f32) -> Result<()> {
        let config = folder.join("config.json");
        std::fs::copy(self.folder.join("config.json"), &config)
            .map_err(|error| Error::io(&config, error))?;
        let specs = self.config.tensors();
        let bytes = |spec: &TensorSpec| -> Vec<u8> {
            let elements = weight(spec, &self.config).into_iter();
            let altered = elements.map(|element| alter(&spec.name, element));
            altered.flat_map(f32::to_le_bytes).collect()
        };
        let weights: Vec<Vec<u8>> = specs.iter().map(bytes).collect();
        let prefix = self.prefix()?;
        let views = specs.iter().zip(&weights).map(|(spec, bytes)| {
            let view = TensorView::new(safetensors::Dtype::F32, spec.shape.clone(), bytes);
            (
                spec.name.replacen("model.", prefix, 1),
                view.expect("the bytes were made from the shape"),
            )
        });
        let path = folder.join(mlxbench_core::checkpoint::SINGLE_FILE);
        safetensors::serialize_to_file(views, None, &path)
            .map_err(|error| Error::model(&path, error.to_string()))
    }

    /// What the names of tensors begin with: in multimodal files the text model is a part of the model.
    fn prefix(&self) -> Result<&'static str> {
        let path = self.folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, error))?;
        Ok(match text.contains("\"text_config\"") {
            true => "model.language_model.",
            false => "model.",
        })
    }

    /// Loads the golden's weights: those that are kept, or else made and written to a folder for this purpose.
    ///
    /// # Errors
    /// When the backend fails, or the temporary model folder can't be written.
    pub fn load<B: Backend>(&self, backend: &mut B, placement: &Placement) -> Result<B::Model> {
        if self
            .folder
            .join(mlxbench_core::checkpoint::SINGLE_FILE)
            .is_file()
        {
            return backend.load(&Checkpoint::open(&self.folder)?, placement);
        }
        let folder = tempfile::tempdir().map_err(|error| Error::io("a temporary folder", error))?;
        self.write(folder.path())?;
        backend.load(&Checkpoint::open(folder.path())?, placement)
    }

    /// Largest |difference| of a row of `logits`, which end with the last position, to `expected`,
    /// which do too.
    fn difference(&self, logits: &[Vec<f32>], row: usize, expected: &[Vec<f32>]) -> f32 {
        let columns = row * self.config.vocab_size..(row + 1) * self.config.vocab_size;
        let positions = logits.iter().rev().zip(expected.iter().rev());
        let differences = positions.flat_map(|(logits, expected)| {
            let pairs = logits[columns.clone()].iter().zip(expected);
            pairs.map(|(a, b)| apart(*a, *b))
        });
        differences.fold(0.0, f32::max)
    }

    fn greedy(&self, model: &mut impl Model, mode: Mode) -> Result<Vec<TokenId>> {
        let prompt = TokenBatch::row(self.tokens[..self.prompt].to_vec());
        let new_tokens = self.tokens.len() - self.prompt;
        let job = Job {
            context: None,
            prompt: &prompt,
            new_tokens,
            chunk: 5,
            mode,
            stop: &[],
        };
        let generation = generate(model, &MonotonicClock::default(), &job, |_, _| Ok(()))?;
        Ok(generation.tokens.concat())
    }
}

/// The folders of this crate's folder `name`.
fn folders(name: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let entries = std::fs::read_dir(&folder).map_err(|error| Error::io(&folder, error))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    Ok(folders)
}

/// Logits of every position from the last of the first `length` tokens on.
fn teacher_force(
    model: &mut impl Model,
    tokens: &TokenBatch,
    length: usize,
    chunk: usize,
) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::new();
    let text = Forced {
        context: None,
        tokens,
        prompt: length,
        chunk,
        mode: Mode::Pipelined,
    };
    score(model, &text, |logits| {
        all.push(logits);
        Ok(())
    })?;
    Ok(all)
}

pub(crate) fn rotated(tokens: &[TokenId], by: usize) -> Vec<TokenId> {
    let mut tokens = tokens.to_vec();
    tokens.rotate_left(by);
    tokens
}

/// The elements of a golden's tensor: SplitMix64 seeded by the FNV-1a hash of its name, as f32 in
/// [-1, 1), times a scale, and 1 for what multiplies without an offset. The same to the bit as `weight` of
/// `scripts/goldens/make.py`.
fn weight(spec: &TensorSpec, config: &GemmaConfig) -> Vec<f32> {
    let seed = spec
        .name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    let (scale, offset) = match spec.columns() {
        _ if spec.name == "model.embed_tokens.weight" => (0.25, 0.0),
        Some(columns) => ((6.0 / columns as f32).sqrt(), 0.0),
        None => (0.5, 1.0 - config.norm_offset as f32),
    };
    let elements = numbers(seed).take(spec.elements() as usize);
    elements.map(|element| element * scale + offset).collect()
}

/// |a - b|, infinite where either isn't a number: what compares as neither more nor less would pass.
pub(crate) fn apart(a: f32, b: f32) -> f32 {
    match (a - b).abs() {
        difference if difference.is_nan() => f32::INFINITY,
        difference => difference,
    }
}
