// libtorch's flash attention, which lies below `scaled_dot_product_attention`: it has windows, aligns the
// causal flag with the last key, and takes lengths that are on the device. Each function returns 0, or -1
// where libtorch throws.

#include <cstdint>
#include <optional>

#include <ATen/ATen.h>

#include "guarded.h"

namespace {

const at::Tensor& tensor(const void* pointer) { return *static_cast<const at::Tensor*>(pointer); }

} // namespace

extern "C" {

// Attention of `queries`, `[batch, tokens, heads, head_dim]`, to `keys` and `values`, `[batch, entries,
// kv_heads, head_dim]`, with the last query beside the last key: each sees the keys before it, `window` of
// them with its own where that isn't 0. Writes an `at::Tensor` of the queries' shape to `mixed`.
int mlxbench_torch_flash(
    const void* queries, const void* keys, const void* values, double scale, int64_t window, void** mixed) {
  return guarded([&] {
    const at::Tensor &q = tensor(queries), &k = tensor(keys), &v = tensor(values);
    const auto left = window == 0 ? std::nullopt : std::optional<int64_t>(window - 1);
    const auto right = window == 0 ? std::nullopt : std::optional<int64_t>(0);
    auto results = at::_flash_attention_forward(
        q, k, v, std::nullopt, std::nullopt, q.size(1), k.size(1), /*dropout_p=*/0.0, /*is_causal=*/true,
        /*return_debug_mask=*/false, scale, left, right);
    *mixed = new at::Tensor(std::get<0>(results));
  });
}

// Attention of one query for each of many sequences, `[sequences, heads, head_dim]`, to `keys` and `values`,
// `[entries, kv_heads, head_dim]`: sequence i reads `counts[i]` entries from `starts[i]` on. `starts` and
// `query_starts` have one more number than there are sequences; all three are i32 and on the device.
// `most` is the largest count that there may ever be. Writes an `at::Tensor` of the queries' shape to
// `mixed`.
int mlxbench_torch_flash_lengths(
    const void* queries, const void* keys, const void* values, const void* query_starts, const void* starts,
    const void* counts, int64_t most, double scale, void** mixed) {
  return guarded([&] {
    auto results = at::_flash_attention_forward(
        tensor(queries), tensor(keys), tensor(values), tensor(query_starts), tensor(starts), /*max_q=*/1, most,
        /*dropout_p=*/0.0, /*is_causal=*/false, /*return_debug_mask=*/false, scale, std::nullopt, std::nullopt,
        tensor(counts));
    *mixed = new at::Tensor(std::get<0>(results));
  });
}
}
