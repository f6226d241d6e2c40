//! What a forward pass must read and multiply at least, counted from the configuration: the
//! numerators of MBU and MFU. Activations, norms' and soft-caps' arithmetic, and whatever an
//! implementation does beyond the least are not counted.

use crate::probe::ProductShape;
use crate::{Dtype, GemmaConfig};

impl GemmaConfig {
    /// The model's products with weight matrices, `rows` tokens at once, by part: `qkv`, `o`,
    /// `gate_up` and `down` of a layer, as adapters stack them, and `lm_head`.
    pub fn products(&self, rows: usize) -> [(&'static str, ProductShape); 5] {
        let q = self.num_attention_heads * self.head_dim;
        let kv = self.num_key_value_heads * self.head_dim;
        let shape = |out_features, in_features| ProductShape {
            rows,
            in_features,
            out_features,
        };
        let (hidden, mlp) = (self.hidden_size, self.intermediate_size);
        [
            ("qkv", shape(q + 2 * kv, hidden)),
            ("o", shape(hidden, q)),
            ("gate_up", shape(2 * mlp, hidden)),
            ("down", shape(hidden, mlp)),
            ("lm_head", shape(self.vocab_size, hidden)),
        ]
    }

    /// Bytes that one decode step reads and writes at least, in `dtype`, with `context` tokens in
    /// the cache of each of `batch` rows: every weight once, whatever the rows; of an embedding
    /// table that isn't the output projection, a line a row; keys and values that the new token
    /// sees, itself included; its own, written.
    pub fn decode_step_bytes(&self, dtype: Dtype, batch: usize, context: usize) -> u64 {
        self.decode_bytes(dtype, batch, context, 1)
    }

    /// The same of `steps` steps, the first of them with `context` tokens in the cache.
    pub fn decode_bytes(&self, dtype: Dtype, batch: usize, context: usize, steps: usize) -> u64 {
        let table = self.vocab_size as u64 * self.hidden_size as u64;
        let looked_up = (batch * self.hidden_size) as u64;
        let unread = if self.tie_word_embeddings { 0 } else { table };
        let weights = self.parameters() - unread + looked_up;
        let row = (batch * 2 * self.num_key_value_heads * self.head_dim) as u64;
        let written = self.num_layers() as u64 * row;
        let read = row * self.seen(context, steps);
        (steps as u64 * (weights + written) + read) * dtype.size_bytes()
    }

    /// Multiplications and additions of matrix products in the prefill of `prompt` tokens a row
    /// after `depth` tokens, over `batch` rows: 2 a weight and token, the output projection on the
    /// last position only, and attention's two products over the positions that each token sees.
    pub fn prefill_operations(&self, batch: usize, depth: usize, prompt: usize) -> u64 {
        self.operations(batch, depth, prompt, 1)
    }

    /// The same of `steps` decode steps after `context` tokens: each is a prefill of one token.
    pub fn decode_operations(&self, batch: usize, context: usize, steps: usize) -> u64 {
        self.operations(batch, context, steps, steps)
    }

    /// Of `tokens` a row after `depth`, the output projection on `projected` of them.
    fn operations(&self, batch: usize, depth: usize, tokens: usize, projected: usize) -> u64 {
        let [layer @ .., (_, lm_head)] = self.products(tokens);
        let of_layer: u64 = layer.iter().map(|(_, shape)| shape.operations()).sum();
        let width = 2 * 2 * (self.num_attention_heads * self.head_dim) as u64;
        let attention = width * self.seen(depth, tokens);
        let layers = self.num_layers() as u64 * of_layer + attention;
        batch as u64 * (layers + 2 * projected as u64 * lm_head.elements())
    }

    /// Positions that `tokens` after the first `depth` see in attention, themselves included, over
    /// all layers. By the sum of a series: a result may name any number of tokens.
    fn seen(&self, depth: usize, tokens: usize) -> u64 {
        let (depth, tokens) = (depth as u64, tokens as u64);
        let of_layer = |kind| {
            let window = self.window(kind).map(|window| window as u64);
            // As many see one more than the one before, the others see a whole window.
            let rising = window.map_or(tokens, |window| window.saturating_sub(depth).min(tokens));
            let of_rising = rising * (2 * depth + rising + 1) / 2;
            of_rising + (tokens - rising) * window.unwrap_or_default()
        };
        self.layers.iter().map(|&kind| of_layer(kind)).sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::gemma::preset;
    use crate::{Dtype, GemmaConfig};

    fn gemma_3_270m() -> GemmaConfig {
        preset("gemma-3-270m").unwrap().config()
    }

    #[test]
    fn the_products_hold_all_weights_but_the_norms() {
        let config = gemma_3_270m();
        let [layer @ .., (_, lm_head)] = config.products(1);
        let layer: u64 = layer.iter().map(|(_, shape)| shape.elements()).sum();
        let norms: u64 = config
            .tensors()
            .iter()
            .filter(|t| t.is_norm())
            .map(|t| t.elements())
            .sum();
        assert_eq!(18 * layer + lm_head.elements() + norms, config.parameters());
    }

    #[test]
    fn a_decode_step_reads_weights_and_the_cache_that_it_sees() {
        let config = gemma_3_270m();
        // 268,098,176 weights, a looked-up line of 640, 18 layers of 2 x 256 written.
        let fixed = 268_098_176 + 640 + 18 * 512;
        let at = |context| config.decode_step_bytes(Dtype::F32, 1, context);
        assert_eq!(at(99), 4 * (fixed + 18 * 100 * 512));
        // 15 local layers see no more than their window of 512, 3 global ones see all.
        assert_eq!(at(999), 4 * (fixed + (15 * 512 + 3 * 1000) * 512));
        let two_rows = config.decode_step_bytes(Dtype::Bf16, 2, 99);
        assert_eq!(two_rows, 2 * (fixed + 640 + 18 * 512 + 2 * 18 * 100 * 512));
    }

    #[test]
    fn a_table_that_is_only_looked_up_is_not_read() {
        let tied = gemma_3_270m();
        let untied = GemmaConfig {
            tie_word_embeddings: false,
            ..tied.clone()
        };
        let step = |config: &GemmaConfig| config.decode_step_bytes(Dtype::F32, 1, 0);
        assert_eq!(step(&untied), step(&tied));
    }

    #[test]
    fn prefill_counts_two_operations_a_weight_and_what_attention_sees() {
        let config = gemma_3_270m();
        let layer_weights = 1536 * 640 + 640 * 1024 + 4096 * 640 + 640 * 2048;
        let one = 18 * 2 * layer_weights + 2 * 262_144 * 640;
        // Four heads of 256: 2 x 2 x 1024 operations a position seen.
        assert_eq!(config.prefill_operations(1, 0, 1), one + 18 * 4096);
        let three = 18 * 3 * 2 * layer_weights + 2 * 262_144 * 640;
        let deep = 4096 * (18 - 3) * 3 * 512 + 4096 * 3 * (1001 + 1002 + 1003);
        assert_eq!(config.prefill_operations(2, 1000, 3), 2 * (three + deep));
    }

    #[test]
    fn many_steps_are_the_sum_of_each() {
        let config = gemma_3_270m();
        for (batch, context, steps) in [(1, 0, 3), (2, 500, 30), (3, 511, 2), (1, 4096, 5)] {
            let contexts = || context..context + steps;
            let bytes = contexts().map(|at| config.decode_step_bytes(Dtype::Bf16, batch, at));
            let operations = contexts().map(|at| config.prefill_operations(batch, at, 1));
            let all = config.decode_bytes(Dtype::Bf16, batch, context, steps);
            assert_eq!(all, bytes.sum::<u64>());
            let all = config.decode_operations(batch, context, steps);
            assert_eq!(all, operations.sum::<u64>());
        }
        // The last token alone is projected: so much less than steps.
        let (prompt, steps) = (
            config.prefill_operations(1, 7, 600),
            config.decode_operations(1, 7, 600),
        );
        assert_eq!(steps - prompt, 599 * 2 * 262_144 * 640);
    }
}
