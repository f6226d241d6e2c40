// The gradient of a product with weights that are kept as codes: they are dequantised anew for it. Returns 0, or -1
// where libtorch throws.

#include <memory>
#include <utility>

#include <torch/csrc/autograd/custom_function.h>

#include "guarded.h"

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Weights that Rust owns, for as long as a graph needs them.
struct Frozen : torch::CustomClassHolder {
  using Dequantise = at::Tensor* (*)(const void* weights);
  using Drop = void (*)(void* weights);

  Frozen(void* weights, Dequantise dequantise, Drop drop) : weights(weights), dequantise(dequantise), drop(drop) {}
  ~Frozen() override { drop(weights); }

  // Shape `[out_features, in_features]`, in the dtype of activations.
  at::Tensor dequantised() const {
    const std::unique_ptr<at::Tensor> made(dequantise(weights));
    TORCH_CHECK(made, "weights can't be dequantised for the backward pass");
    return *made;
  }

  void* weights;
  Dequantise dequantise;
  Drop drop;
  // The product, until the graph has it.
  at::Tensor product;
};

struct Product : torch::autograd::Function<Product> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor&, const c10::intrusive_ptr<Frozen>& frozen) {
    context->saved_data["frozen"] = c10::IValue::make_capsule(frozen);
    return std::exchange(frozen->product, at::Tensor());
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto kept = context->saved_data["frozen"].toCapsule();
    const auto& frozen = static_cast<const Frozen&>(*kept);
    return {gradients[0].matmul(frozen.dequantised()), at::Tensor()};
  }
};

} // namespace

extern "C" {

// Says that `product`, computed apart from any graph, is `x` times what `dequantise` makes of `weights`. It gives a
// new `at::Tensor`, or null where it can't, on any thread. `drop` gets the weights when they aren't needed any more,
// whatever this returns. Writes an `at::Tensor` to `linked`: the product in the graph of `x`.
int mlxbench_torch_frozen(
    const void* x, const void* product, void* weights, Frozen::Dequantise dequantise, Frozen::Drop drop,
    void** linked) {
  return guarded([&] {
    const auto frozen = c10::make_intrusive<Frozen>(weights, dequantise, drop);
    frozen->product = *static_cast<const at::Tensor*>(product);
    *linked = new at::Tensor(Product::apply(*static_cast<const at::Tensor*>(x), frozen));
  });
}
}
