//! What an adapter implements: [`Backend`] says what a framework can do here and loads models,
//! [`Model`] does the work, [`Product`] a part of it. None has a clock: timing is
//! [`crate::generate`]'s and [`crate::probe`]'s.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gemma::Storage;
use crate::lora::{Lora, Trainer};
use crate::product::ProductShape;
use crate::trial::{ElementType, Program, Tensor};
use crate::{Checkpoint, Device, GemmaConfig, Placement, Precision, Result, TokenBatch, TokenId};

/// A framework.
pub trait Backend {
    /// Its loaded model.
    type Model: Model;
    /// Its product with a weight matrix.
    type Product: Product;

    /// What this is: names and versions, as the running library states them.
    ///
    /// # Errors
    /// When the framework can't tell its version: such a backend isn't timed.
    fn identity(&self) -> Result<Identity>;

    /// The devices of this machine, best first, and what each can do.
    fn devices(&self) -> Vec<DeviceSupport>;

    /// Sets the framework's own number of CPU threads, before anything is loaded, and returns the
    /// number in effect. `None` leaves the framework's default.
    ///
    /// # Errors
    /// When the framework refuses.
    fn set_threads(&mut self, threads: Option<usize>) -> Result<usize>;

    /// Loads `checkpoint` to a device in a precision, tensor by tensor.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] when the framework can't use this device or precision here,
    /// in its own words; never a silent fallback, which would mislabel the row.
    fn load(&mut self, checkpoint: &Checkpoint, placement: &Placement) -> Result<Self::Model>;

    /// Makes `copies` weight matrices of random numbers and an input of `shape`, for the probes of
    /// [`crate::probe`]. The precision is a plain one.
    ///
    /// # Errors
    /// As for [`Backend::load`].
    fn product(
        &mut self,
        shape: ProductShape,
        copies: usize,
        placement: &Placement,
    ) -> Result<Self::Product>;

    /// The operations that [`Backend::attempt`] knows, of [`Program::OPS`].
    fn tries(&self) -> &'static [&'static str] {
        &[]
    }

    /// Runs `program` on `device` in `element` by the framework's own operation, and brings what comes out to the
    /// host. Its inputs fit one another ([`Program::check`]).
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] or [`crate::Error::Framework`] when the framework can't, in its own words;
    /// never what another device or dtype gives.
    fn attempt(
        &mut self,
        program: &Program,
        element: ElementType,
        device: &Device,
    ) -> Result<Tensor> {
        let op = program.op();
        Err(crate::Error::Unsupported(format!(
            "this worker doesn't try {op} ({element}, {device})"
        )))
    }
}

/// `x W^T`, done as the adapter's models do it.
///
/// Work may be asynchronous: only [`Product::synchronize`] has to wait for it.
pub trait Product {
    /// Multiplies the input by copy `copy` of the weights.
    ///
    /// # Errors
    /// When the framework fails.
    fn multiply(&mut self, copy: usize) -> Result<()>;

    /// Waits for all products.
    ///
    /// # Errors
    /// When the framework fails.
    fn synchronize(&mut self) -> Result<()>;
}

/// A loaded model with its KV cache.
///
/// Work may be asynchronous: only [`Model::read`], [`Model::logits`] and [`Model::synchronize`]
/// have to wait for it.
pub trait Model {
    /// What a forward pass leaves on the device: the last position's logits and their argmax, of
    /// shape `[batch]`. Cheap to keep.
    type Output;

    /// The model's configuration.
    fn config(&self) -> &GemmaConfig;

    /// What a read of a token waits for on this model's device.
    fn reads(&self) -> Reads;

    /// Which of several ways of doing a part of the work was chosen when the model was loaded, by what
    /// was seen to be right and available: the part's name to the way's, such as `attention` to `flash`. A
    /// way that isn't the framework's begins with [`OWN_KERNEL`].
    fn kernels(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// How its numbers are kept. `None` where they are kept as the precision says, without padding; a model
    /// with quantised weights says how.
    fn storage(&self) -> Option<Storage> {
        None
    }

    /// Empties the KV cache and makes room for `context`.
    ///
    /// # Errors
    /// When the framework can't allocate it.
    fn reset(&mut self, context: ContextShape) -> Result<()>;

    /// Appends `tokens` to the cache without computing logits: all chunks of a long prompt but
    /// the last.
    ///
    /// # Errors
    /// When the framework fails.
    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()>;

    /// Appends `tokens` and computes the last position's logits and their argmax, the greedy next
    /// token. The output projection runs on that position only.
    ///
    /// # Errors
    /// When the framework fails.
    fn forward(&mut self, tokens: &TokenBatch) -> Result<Self::Output>;

    /// Advances one greedy step from the token that is already on the device.
    ///
    /// # Errors
    /// When the framework fails.
    fn step(&mut self, previous: &Self::Output) -> Result<Self::Output>;

    /// `output` with `ids`, one a row, in place of the tokens that it chose: they are put on the
    /// device, and the next [`Model::step`] goes on from them. Its logits stay.
    ///
    /// # Errors
    /// When the framework fails.
    fn force(&mut self, output: Self::Output, ids: &[TokenId]) -> Result<Self::Output>;

    /// Forgets all tokens from `position` of the text on, so that the next one that is appended has this
    /// position: for another continuation of the same beginning. What was read of them stays read.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`], and nothing changes, when `position` lies ahead, or when a layer with a
    /// window has dropped what the token there sees
    /// ([`CacheCursor::rewind`](crate::gemma::cache::CacheCursor::rewind) says when): then only
    /// [`Model::reset`] and another prefill lead there. Before [`Model::reset`], and where a model knows
    /// no such thing.
    fn rewind(&mut self, position: usize) -> Result<()> {
        Err(crate::Error::Unsupported(format!(
            "this model can't be rewound to position {position}"
        )))
    }

    /// Waits for the token of each row, as [`Model::reads`] says, and brings it to the host.
    ///
    /// # Errors
    /// When the framework fails.
    fn read(&mut self, output: &Self::Output) -> Result<Vec<TokenId>>;

    /// Brings the logits to the host as f32 of shape `[batch, vocab_size]`, row after row.
    ///
    /// # Errors
    /// When the framework fails.
    fn logits(&mut self, output: &Self::Output) -> Result<Vec<f32>>;

    /// Waits for all work.
    ///
    /// # Errors
    /// When the framework fails.
    fn synchronize(&mut self) -> Result<()>;

    /// Fresh low-rank adapters beside the weights that are loaded, which stay as they are, and what trains them. It
    /// takes the place of a KV cache: [`Model::reset`] comes first again before anything else is asked of the model.
    ///
    /// # Errors
    /// Where `lora` doesn't fit the model ([`Lora::check`]); [`crate::Error::Unsupported`] where the adapter doesn't
    /// train, or not on this device, in this precision or for this model, with the reason; the framework's own.
    fn trainer(&mut self, lora: &Lora) -> Result<Box<dyn Trainer + '_>> {
        Err(crate::Error::Unsupported(format!(
            "this worker doesn't train: {lora} needs one that does"
        )))
    }

    /// Peak of the device memory that the framework has held since [`Model::reset`], in bytes,
    /// where it keeps count.
    fn device_peak_bytes(&self) -> Option<u64> {
        None
    }
}

/// What the name of a kernel begins with that is the adapter's own work around its framework: tables say so
/// beside the figures.
pub const OWN_KERNEL: &str = "the adapter's own: ";

/// The kernel of experts where the host waits for what the router says and multiplies by one expert after another.
pub const EXPERTS_BY_HOST: &str = "picked by the host, one after another";

/// The part of a model of which [`Model::kernels`] says where its table is, where that isn't the device, and how it
/// is looked up then.
pub const PER_LAYER_BY_HOST: (&str, &str) = (
    "per-layer embeddings",
    "table in the host's memory, rows gathered by the CPU",
);

/// What a read of a token waits for. It decides whether a step can be handed over ahead of a read:
/// see [`crate::generate::Mode::form`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// For nothing: the framework works while it is called, as most do on the CPU. A step handed
    /// over ahead would do the next token's work in this token's time.
    Immediate,
    /// For the step that made the token, and for nothing that was queued behind it.
    Own,
    /// For all that is queued, as a copy on the stream of the steps does. With a step queued ahead,
    /// each token would count as read when the next one is done.
    InOrder,
}

/// What a KV cache is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextShape {
    /// Rows.
    pub batch: usize,
    /// Tokens a row, prompt and generation together.
    pub capacity: usize,
    /// The most tokens a row that are appended at once.
    pub chunk: usize,
}

/// A backend's names and versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// The backend's name in configs and tables: `candle`.
    pub backend: String,
    /// The framework: `PyTorch`.
    pub framework: String,
    /// The framework's version, as the loaded library states it.
    pub version: String,
    /// Other libraries that decide its speed (bindings, BLAS, GPU), name to version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub libraries: BTreeMap<String, String>,
}

/// A device and what the backend can do on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSupport {
    /// The name that configs use.
    pub device: Device,
    /// What the device is, where the framework says: `NVIDIA H100 80GB HBM3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The precisions.
    pub precisions: Vec<PrecisionSupport>,
}

/// A precision on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrecisionSupport {
    /// The precision.
    pub precision: Precision,
    /// Why the backend can't use it here, in the framework's own words; absent when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
}
