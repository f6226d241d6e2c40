//! What can be measured: the names of the figures. How each is computed from a repetition's raw times is
//! `mlxbench-analysis`' subject.

/// A figure that is compared and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Tokens of the prompt a second, up to the first generated token.
    Prefill,
    /// Tokens generated a second after the first.
    Decode,
    /// Time to first token.
    Ttft,
    /// Time to first token of a turn whose history is in the cache: the median over a conversation's turns from the
    /// second on.
    WarmTtft,
    /// Time to first token of a conversation's last prompt, read into an empty cache.
    ColdTtft,
    /// Tokens a second over a whole conversation: what each turn adds to the prompt, and what is generated.
    Overall,
    /// Time per output token.
    Tpot,
    /// Latencies between tokens.
    InterToken,
    /// From the handing over of the prompt to the last token.
    EndToEnd,
    /// From the request to load the model to all weights on the device.
    Load,
    /// Peak memory of the worker process, by the operating system's account: in the repetition, or
    /// from the start of the process where the system can't forget a peak ([`PeakSince`]).
    ///
    /// [`PeakSince`]: super::PeakSince
    PeakMemory,
    /// Peak of the framework's own device memory in the repetition.
    DevicePeak,
    /// Mean power.
    Power,
    /// Tokens that a server generated a second, over all its clients.
    Throughput,
    /// Requests that a server answered a second within the stated time to first token and time per output token.
    Goodput,
    /// Trained tokens/s, after the first step.
    Training,
    /// Time of a training step, after the first.
    TrainingStep,
    /// Energy a token, beyond what the machine draws when idle.
    EnergyPerToken,
}
