//! The terms of the page: a hover where they stand, a line in the glossary.

use maud::{Markup, html};

/// A term: its id, its name, what it means.
struct Term(&'static str, &'static str, &'static str);

const TERMS: [Term; 21] = [
    Term(
        "generate",
        "generate, decode t/s",
        "Tokens generated per second after the first: (n - 1) / (time of the last - time of the first). Higher is better.",
    ),
    Term(
        "prompt",
        "prompt, prefill t/s",
        "Prompt tokens read per second: tokens of the prompt / TTFT. Higher is better.",
    ),
    Term(
        "ttft",
        "TTFT",
        "Time to first token: from submitting the prompt to the first token. In a conversation: of the first turn; of a warm turn, which finds the history in the KV cache; of the last prompt in an empty cache. Lower is better.",
    ),
    Term(
        "overall",
        "overall t/s",
        "What each turn of a conversation adds to the prompt, and what it generates, per second of all turns. Higher is better.",
    ),
    Term(
        "training",
        "trained t/s, a step",
        "Tokens per second of all training steps but the first; the time of a step: forward, loss, backward and update.",
    ),
    Term(
        "goodput",
        "output, goodput",
        "Of a server: tokens of all answers per second; tokens per second that one request sees; requests per second that met the goal.",
    ),
    Term(
        "memory",
        "memory",
        "The most that the worker process held, by the operating system's account, or its framework on the device where that is more. Lower is better.",
    ),
    Term(
        "floor",
        "memory floor",
        "Weights, keys and values in this precision, and of a training 16 bytes a trained number: what any implementation needs.",
    ),
    Term(
        "work",
        "same work",
        "Whether a target's logits are those of the reference over the same text: identical (within f32 rounding), equivalent (within what its precision's rounding explains) or different.",
    ),
    Term(
        "fidelity",
        "fidelity",
        "How near quantised weights are to full precision, both computed by the reference: mean KL and the share of positions with the same top token. Apart from same work, which compares a target with its own dequantised weights.",
    ),
    Term(
        "kl",
        "KL",
        "Kullback-Leibler divergence of the next token's probabilities, in nats; 0 is the same distribution.",
    ),
    Term(
        "ci",
        "95 % CI, ±",
        "The interval in which the median lies with 95 % confidence; ± is its longer half. Over processes where there are several, else over the repetitions of one, whose luck isn't in it.",
    ),
    Term(
        "precision",
        "precision",
        "What weights are kept in and what is computed in: q4-bf16 is 4-bit weights computed in bf16. Only targets of one precision do the same arithmetic.",
    ),
    Term(
        "mbu",
        "MBU",
        "Memory bandwidth utilisation: bytes that decode has to read, per second, as a share of the bandwidth measured on the device in the same run.",
    ),
    Term(
        "mfu",
        "MFU",
        "Model FLOPs utilisation: the operations of prefill per second as a share of the matrix-product rate measured on the device in the same run.",
    ),
    Term(
        "itl",
        "ITL p50, p99",
        "Inter-token latency: the time from one token to the next; half and 99 % of them are at most so long.",
    ),
    Term(
        "spread",
        "between processes",
        "Standard deviation of end-to-end times between a target's processes, less what repetitions explain.",
    ),
    Term(
        "steady",
        "not steady",
        "The times still changed when warm-up ended. Such a target isn't ranked.",
    ),
    Term(
        "graphs",
        "graphs",
        "Steps recorded once as CUDA graphs and replayed.",
    ),
    Term(
        "test",
        "pp64+tg32",
        "A test: 64 prompt tokens, 32 generated. \" @ d4096\" has 4096 tokens in the context before, \" b8\" has 8 rows, \" sync\" reads each token before the next step.",
    ),
    Term(
        "energy",
        "energy",
        "What the meter counted beyond the machine's idle power, per token.",
    ),
];

/// What the term of `id` means; nothing for what isn't one.
pub(super) fn meaning(id: &str) -> &'static str {
    let term = TERMS.iter().find(|term| term.0 == id);
    term.map_or("", |term| term.2)
}

/// `words` as a link to the glossary that says on hover what the term of `id` means.
pub(super) fn term(id: &str, words: &str) -> Markup {
    html! { a.term href=(format!("#term-{id}")) title=(meaning(id)) { (words) } }
}

/// The term that a column of a table is about.
pub(super) fn of_column(column: &str) -> &'static str {
    match column {
        "generate t/s" | "decode t/s" => "generate",
        "prompt t/s" | "prefill t/s" => "prompt",
        "TTFT" | "first TTFT" | "warm TTFT" | "cold TTFT" => "ttft",
        "overall t/s" => "overall",
        "trained t/s" | "a step" => "training",
        "output t/s" | "t/s per request" | "goodput req/s" => "goodput",
        "memory" | "peak memory" => "memory",
        "memory floor" => "floor",
        "same work" | "work" => "work",
        "fidelity" => "fidelity",
        "mean KL" | "largest KL" | "KL p99" => "kl",
        "dtype" | "precision" => "precision",
        "MBU" => "mbu",
        "MFU" => "mfu",
        "latency p50" | "latency p99" => "itl",
        "between processes" => "spread",
        "energy/token" => "energy",
        "test" => "test",
        _ => "",
    }
}

/// All of them.
pub(super) fn glossary() -> Markup {
    html! {
        dl.glossary {
            @for Term(id, name, meaning) in &TERMS {
                div id=(format!("term-{id}")) { dt { (name) } dd { (meaning) } }
            }
        }
    }
}
