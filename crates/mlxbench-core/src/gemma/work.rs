//! What a forward pass must read and multiply at least, counted from the configuration: the
//! numerators of MBU and MFU. Activations, norms' and soft-caps' arithmetic, and whatever an
//! implementation does beyond the least are not counted.

use crate::gemma::{AttentionSpec, ExpertsSpec, GemmaConfig, LayerSpec, Storage};
use crate::product::ProductShape;

impl LayerSpec {
    /// Its products with weight matrices, `rows` tokens at once, beside a residual stream of width
    /// `hidden`, by part: `qkv`, `o`, `gate_up` and `down`, as adapters stack them, and what it has
    /// of `ple_gate`, `ple_projection` and `router`. Those of experts are the elements of experts.
    pub fn products(&self, hidden: usize, rows: usize) -> Vec<(&'static str, ProductShape)> {
        let attention = &self.attention;
        let shape = |out_features, in_features| ProductShape {
            rows,
            in_features,
            out_features,
        };
        let mut products = vec![
            ("qkv", shape(attention.projected_width(), hidden)),
            ("o", shape(hidden, attention.query_width())),
            ("gate_up", shape(2 * self.mlp_width, hidden)),
            ("down", shape(hidden, self.mlp_width)),
        ];
        if let Some(width) = self.per_layer_input {
            products.push(("ple_gate", shape(width, hidden)));
            products.push(("ple_projection", shape(hidden, width)));
        }
        if let Some(experts) = self.experts {
            products.push(("router", shape(experts.count, hidden)));
        }
        products
    }

    /// The one of them that a layer needs whose output nobody does: to keys and values of its own.
    pub fn key_value_product(&self, hidden: usize, rows: usize) -> ProductShape {
        let attention = &self.attention;
        ProductShape {
            rows,
            in_features: hidden,
            out_features: attention.projected_width() - attention.query_width(),
        }
    }

    /// Elements of so many of its experts.
    fn experts_elements(&self, hidden: usize, count: impl Fn(&ExpertsSpec) -> usize) -> u64 {
        let elements = |experts: &ExpertsSpec| 3 * count(experts) * experts.width * hidden;
        self.experts.as_ref().map_or(0, elements) as u64
    }

    /// Elements of its weight matrices.
    fn matrix_elements(&self, hidden: usize) -> u64 {
        self.elements(hidden, |experts| experts.count)
    }

    /// Elements of the weight matrices that a token is multiplied by.
    fn active_elements(&self, hidden: usize) -> u64 {
        self.elements(hidden, |experts| experts.top_k)
    }

    fn elements(&self, hidden: usize, experts: impl Fn(&ExpertsSpec) -> usize) -> u64 {
        let products = self.products(hidden, 1);
        let dense: u64 = products.iter().map(|(_, shape)| shape.elements()).sum();
        dense + self.experts_elements(hidden, experts)
    }
}

impl AttentionSpec {
    /// Elements of keys and values of one position, which a token reads.
    pub fn position_elements(&self) -> u64 {
        2 * self.kv_width() as u64
    }

    /// Elements of keys and values that a token writes.
    pub fn written_elements(&self) -> u64 {
        match self.keys_values.are_own() {
            true => self.position_elements(),
            false => 0,
        }
    }

    /// Multiplications and additions of its two products, for `tokens` tokens after `depth`.
    fn operations(&self, depth: usize, tokens: usize) -> u128 {
        let width = 2 * 2 * self.query_width() as u128;
        width * positions_seen(depth, tokens, self.window)
    }
}

impl GemmaConfig {
    /// The output projection, over `rows` positions.
    pub fn lm_head(&self, rows: usize) -> ProductShape {
        ProductShape {
            rows,
            in_features: self.hidden_size,
            out_features: self.vocab_size,
        }
    }

    /// The projection to what all layers add to their own embeddings, over `rows` tokens.
    pub fn per_layer_projection(&self, rows: usize) -> Option<ProductShape> {
        self.per_layer.map(|per_layer| ProductShape {
            rows,
            in_features: self.hidden_size,
            out_features: self.layers.len() * per_layer.width,
        })
    }

    /// The model's products with weight matrices, `rows` tokens at once, by part: those of layers, each
    /// shape once, and `lm_head`. Those of experts, which go by token, aren't among them.
    pub fn products(&self, rows: usize) -> Vec<(&'static str, ProductShape)> {
        let mut all = Vec::new();
        for layer in &self.layers {
            for product in layer.products(self.hidden_size, rows) {
                if !all.contains(&product) {
                    all.push(product);
                }
            }
        }
        let ple_model = self.per_layer_projection(rows);
        all.extend(ple_model.map(|shape| ("ple_model", shape)));
        all.push(("lm_head", self.lm_head(rows)));
        all
    }

    /// Bytes of weights that a decoded token is multiplied by: all but experts that it doesn't go through, and
    /// embedding tables that aren't the output projection.
    pub fn weights_read_bytes(&self, storage: &Storage) -> u64 {
        self.weights_read_by(storage, 1)
    }

    /// [`Self::weights_read_bytes`] of a step of so many rows: each weight once, whatever the rows, but for experts
    /// that none of their tokens goes through.
    fn weights_read_by(&self, storage: &Storage, rows: usize) -> u64 {
        let [table, _] = self.table_bytes(storage, 1);
        let layers = storage
            .layers_bytes
            .saturating_sub(self.unused_experts_bytes(storage, rows));
        layers
            .saturating_add(storage.others_bytes)
            .saturating_add(table)
    }

    /// Bytes that one decode step reads and writes at least, with numbers kept as `storage` says and `context`
    /// tokens in the cache of each of `batch` rows: every weight once, whatever the rows, but for experts
    /// that none of their tokens goes through (as if each picked by lot); of embedding tables that aren't the output projection, a line a row;
    /// keys and values that the new token sees, itself included; its own, written.
    pub fn decode_step_bytes(&self, storage: &Storage, batch: usize, context: usize) -> u64 {
        let [_, looked_up] = self.table_bytes(storage, batch);
        let weights = self.weights_read_by(storage, batch) + looked_up;
        let layers = self.layers.iter();
        let written: u64 = layers.map(|layer| layer.attention.written_elements()).sum();
        let dtype = storage.kv_cache;
        let cache = self.kv_read_bytes(dtype, batch, context + 1);
        weights + written * batch as u64 * dtype.size_bytes() + cache
    }

    /// Bytes that so many decode steps read and write at least, [`Self::decode_step_bytes`] each, the first
    /// of them with `context` tokens in the cache. An approximation above 2^53.
    pub fn decode_bytes(
        &self,
        storage: &Storage,
        batch: usize,
        context: usize,
        steps: usize,
    ) -> f64 {
        let dtype = storage.kv_cache;
        let without_cache = self.decode_step_bytes(storage, batch, 0) as f64
            - self.kv_read_bytes(dtype, batch, 1) as f64;
        let layers = self.layers.iter();
        let seen: u128 = layers
            .map(|LayerSpec { attention, .. }| {
                let positions = positions_seen(context, steps, attention.window);
                positions * u128::from(attention.position_elements())
            })
            .sum();
        steps as f64 * without_cache + seen as f64 * (batch as u64 * dtype.size_bytes()) as f64
    }

    /// Multiplications and additions of so many decode steps, as [`Self::prefill_operations`] counts those
    /// of one token, the first of them after `context` tokens.
    pub fn decode_operations(&self, batch: usize, context: usize, steps: usize) -> f64 {
        let of_output = self.lm_head(batch).operations() as f64;
        // A prefill of as many tokens, which has the output projection once.
        let all = self.prefill_operations(batch, context, steps, steps) as f64;
        all + of_output * (steps as f64 - 1.0)
    }

    /// Multiplications and additions of matrix products in the prefill of `prompt` tokens a row
    /// after `depth` tokens, over `batch` rows, at most `chunk` at once: 2 a weight and token, the
    /// output projection on the last position only, and attention's two products over the positions
    /// that each token sees. In chunks but the last, the last layer makes keys and values only.
    pub fn prefill_operations(
        &self,
        batch: usize,
        depth: usize,
        prompt: usize,
        chunk: usize,
    ) -> u64 {
        let hidden = self.hidden_size;
        let whole = |layer: &LayerSpec, depth: usize, tokens: usize| {
            let products = 2 * tokens as u128 * u128::from(layer.active_elements(hidden));
            products + layer.attention.operations(depth, tokens)
        };
        let before = tokens_before_last_chunk(prompt, chunk);
        let layers = match self.layers.split_last() {
            Some((last, others)) => {
                let others: u128 = others.iter().map(|layer| whole(layer, depth, prompt)).sum();
                let stored = u128::from(last.key_value_product(hidden, before).operations());
                others + stored + whole(last, depth + before, prompt - before)
            }
            None => 0,
        };
        let per_layer = self.per_layer_projection(prompt);
        let others = self.lm_head(1).operations() + per_layer.map_or(0, |shape| shape.operations());
        let operations = batch as u128 * (layers + u128::from(others));
        u64::try_from(operations).unwrap_or(u64::MAX)
    }

    /// Bytes of weights that a chunk of a prompt which isn't the last doesn't read: the output projection,
    /// and the last layer's behind keys and values of its own, by their share of the layers' weights.
    pub fn unread_by_chunks(&self, storage: &Storage) -> u64 {
        let hidden = self.hidden_size;
        let elements = |layer: &LayerSpec| layer.matrix_elements(hidden);
        let of_model = self.per_layer_projection(1);
        let of_model = of_model.map_or(0, |shape| shape.elements());
        let all: u64 = of_model + self.layers.iter().map(elements).sum::<u64>();
        let unread = self.layers.last().map_or(0, |last| {
            elements(last) - last.key_value_product(hidden, 1).elements()
        });
        let bytes = u128::from(storage.layers_bytes) * u128::from(unread) / u128::from(all.max(1));
        bytes as u64 + self.table_bytes(storage, 1)[0]
    }
}

/// Tokens of a prompt in its chunks but the last.
fn tokens_before_last_chunk(prompt: usize, chunk: usize) -> usize {
    let chunk = chunk.max(1);
    prompt.saturating_sub(1) / chunk * chunk
}

/// Positions that the tokens `depth + 1..=depth + prompt` see, themselves included, over all of them,
/// where each sees no more than `window`.
fn positions_seen(depth: usize, prompt: usize, window: Option<usize>) -> u128 {
    let (first, last) = (depth as u128, depth as u128 + prompt as u128);
    // 1 + 2 + ... + n.
    let up_to = |n: u128| n * (n + 1) / 2;
    let bend = window.map_or(last, |window| (window as u128).clamp(first, last));
    let window = window.map_or(0, |window| window as u128);
    up_to(bend) - up_to(first) + (last - bend) * window
}

#[cfg(test)]
mod tests {
    use crate::gemma::preset;
    use crate::{Dtype, GemmaConfig, Precision};

    const F32: Precision = Precision::plain(Dtype::F32);
    const BF16: Precision = Precision::plain(Dtype::Bf16);

    fn gemma_3_270m() -> GemmaConfig {
        preset("gemma-3-270m").unwrap().config()
    }

    #[test]
    fn the_products_hold_all_weights_but_the_norms() {
        let config = gemma_3_270m();
        let layer = config.layers[0].matrix_elements(config.hidden_size);
        let norms: u64 = config
            .tensors()
            .iter()
            .filter(|t| t.is_norm())
            .map(|t| t.elements())
            .sum();
        assert_eq!(
            18 * layer + config.lm_head(1).elements() + norms,
            config.parameters()
        );
    }

    #[test]
    fn so_they_do_where_layers_differ_share_and_have_experts() {
        for name in ["gemma-4-e2b", "gemma-4-12b", "gemma-4-26b-a4b"] {
            let config = preset(name).unwrap().config();
            let hidden = config.hidden_size;
            let layers = config.layers.iter();
            let layers: u64 = layers.map(|layer| layer.matrix_elements(hidden)).sum();
            let per_layer = config.per_layer_projection(1);
            let looked_up = config.per_layer.map_or(0, |table| {
                (table.vocab_size * table.width * config.num_layers()) as u64
            });
            let tensors = config.tensors();
            let vectors = tensors.iter().filter(|tensor| tensor.columns().is_none());
            let vectors: u64 = vectors.map(|tensor| tensor.elements()).sum();
            let products =
                per_layer.map_or(0, |shape| shape.elements()) + config.lm_head(1).elements();
            let all = layers + products + looked_up + vectors;
            assert_eq!(all, config.parameters(), "{name}");
        }
    }

    #[test]
    fn caches_are_written_once_and_read_by_all_that_share_them() {
        let config = preset("gemma-4-e2b").unwrap().config();
        // 15 layers have caches, 3 of them global; of the other 20 are 4 global.
        let (local, global) = (2 * 256, 2 * 512);
        let kept = config.kv_cache_bytes(Dtype::Bf16, 1, 100);
        assert_eq!(kept, 2 * 100 * (12 * local + 3 * global));
        let read = config.kv_read_bytes(Dtype::Bf16, 1, 100);
        assert_eq!(read, 2 * 100 * (28 * local + 7 * global));
        let storage = config.storage(BF16);
        let step = |context| config.decode_step_bytes(&storage, 1, context);
        assert_eq!(step(99) - step(98), 2 * (28 * local + 7 * global));
        let steps = (500..530).map(step).sum::<u64>() as f64;
        assert_eq!(config.decode_bytes(&storage, 1, 500, 30), steps);
    }

    #[test]
    fn a_decode_step_reads_weights_and_the_cache_that_it_sees() {
        let config = gemma_3_270m();
        // 268,098,176 weights, a looked-up line of 640, 18 layers of 2 x 256 written.
        let fixed = 268_098_176 + 640 + 18 * 512;
        let at = |context| config.decode_step_bytes(&config.storage(F32), 1, context);
        assert_eq!(at(99), 4 * (fixed + 18 * 100 * 512));
        // 15 local layers see no more than their window of 512, 3 global ones see all.
        assert_eq!(at(999), 4 * (fixed + (15 * 512 + 3 * 1000) * 512));
        let two_rows = config.decode_step_bytes(&config.storage(BF16), 2, 99);
        assert_eq!(two_rows, 2 * (fixed + 640 + 18 * 512 + 2 * 18 * 100 * 512));
    }

    #[test]
    fn a_decode_step_reads_quantised_weights_as_they_are_kept() {
        let config = gemma_3_270m();
        // The table, a line of it, what is written and seen of the cache in bf16.
        let table = 262_144 * (640 + 2) + (640 + 2);
        let cache = 2 * (18 * 512 + 18 * 100 * 512);
        let norms = 2 * (18 * (4 * 640 + 2 * 256) + 640);
        let layers = |of_row: fn(u64) -> u64| {
            18 * ((1536 + 4096) * of_row(640) + 640 * of_row(1024) + 640 * of_row(2048))
        };
        let step =
            |name: &str| config.decode_step_bytes(&config.storage(name.parse().unwrap()), 1, 99);
        let q8 = layers(|columns| columns + 2);
        assert_eq!(step("q8-bf16"), q8 + table + norms + cache);
        let q4 = layers(|columns| columns / 2 + 2 * columns / 64);
        assert_eq!(step("q4-bf16"), q4 + table + norms + cache);
        let of_f32 = 2 * (norms + cache);
        assert_eq!(step("q4-f32"), q4 + table + of_f32);
    }

    #[test]
    fn steps_add_up() {
        let config = gemma_3_270m();
        // The window of 512 is passed in between.
        let contexts = 500..530;
        let bytes = contexts.clone();
        let bytes =
            bytes.map(|context| config.decode_step_bytes(&config.storage(BF16), 3, context));
        let bytes: u64 = bytes.sum();
        assert_eq!(
            config.decode_bytes(&config.storage(BF16), 3, 500, 30),
            bytes as f64
        );
        let operations = contexts.map(|context| config.prefill_operations(3, context, 1, 1));
        let operations: u64 = operations.sum();
        assert_eq!(config.decode_operations(3, 500, 30), operations as f64);
    }

    #[test]
    fn positions_seen_are_those_counted_one_by_one() {
        for (depth, prompt, window) in [
            (0, 0, None),
            (0, 7, None),
            (5, 7, Some(3)),
            (0, 7, Some(3)),
            (2, 7, Some(6)),
            (2, 3, Some(100)),
            (9, 1, Some(10)),
        ] {
            let seen = (depth + 1..=depth + prompt).map(|n| window.map_or(n, |w| n.min(w)));
            let seen: usize = seen.sum();
            let (counted, case) = (seen as u128, (depth, prompt, window));
            assert_eq!(
                super::positions_seen(depth, prompt, window),
                counted,
                "{case:?}"
            );
        }
    }

    #[test]
    fn a_table_that_is_only_looked_up_is_not_read() {
        let tied = gemma_3_270m();
        let untied = GemmaConfig {
            tie_word_embeddings: false,
            ..tied.clone()
        };
        let step = |config: &GemmaConfig| config.decode_step_bytes(&config.storage(F32), 1, 0);
        assert_eq!(step(&untied), step(&tied));
    }

    #[test]
    fn prefill_counts_two_operations_a_weight_and_what_attention_sees() {
        let config = gemma_3_270m();
        let layer_weights = 1536 * 640 + 640 * 1024 + 4096 * 640 + 640 * 2048;
        let one = 18 * 2 * layer_weights + 2 * 262_144 * 640;
        // Four heads of 256: 2 x 2 x 1024 operations a position seen.
        assert_eq!(config.prefill_operations(1, 0, 1, 512), one + 18 * 4096);
        let three = 18 * 3 * 2 * layer_weights + 2 * 262_144 * 640;
        let deep = 4096 * (18 - 3) * 3 * 512 + 4096 * 3 * (1001 + 1002 + 1003);
        assert_eq!(config.prefill_operations(2, 1000, 3, 3), 2 * (three + deep));
    }

    #[test]
    fn a_chunk_that_is_not_the_last_needs_keys_and_values_of_the_last_layer_only() {
        let config = gemma_3_270m();
        let layer = 1536 * 640 + 640 * 1024 + 4096 * 640 + 640 * 2048;
        let keys_values = 512 * 640;
        let (whole, chunked) = (
            config.prefill_operations(1, 0, 7, 7),
            config.prefill_operations(1, 0, 7, 3),
        );
        // Six tokens are in chunks of three, one in the last; the last layer is global.
        let attention = 4096 * (1 + 2 + 3 + 4 + 5 + 6);
        assert_eq!(whole - chunked, 2 * 6 * (layer - keys_values) + attention);
        assert_eq!(
            config.unread_by_chunks(&config.storage(BF16)),
            2 * (layer - keys_values + 262_144 * 640)
        );
        // A prompt that fills its chunks has a last one all the same.
        assert!(config.prefill_operations(1, 0, 6, 3) > config.prefill_operations(1, 0, 6, 2));
    }

    #[test]
    fn the_last_chunk_is_never_empty() {
        let before = |prompt, chunk| super::tokens_before_last_chunk(prompt, chunk);
        assert_eq!(
            [before(7, 3), before(6, 3), before(3, 3), before(0, 3)],
            [6, 3, 0, 0]
        );
        assert_eq!([before(5, 1), before(5, 0)], [4, 4]);
    }
}
