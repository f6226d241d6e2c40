// Operators that PyTorch removed in 2.14 and that the binding (torch-sys 0.26, made for 2.13) still names, so that
// its compiling fails. No model calls them.
#pragma once
#include <torch/torch.h>
#include <torch/version.h>

#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 14
namespace torch {
[[noreturn]] inline void removed(const char* name) {
  TORCH_CHECK(false, name, " was removed from PyTorch in 2.14");
}
inline Tensor cholesky(const Tensor&, bool) { removed("cholesky"); }
inline Tensor& cholesky_out(Tensor&, const Tensor&, bool) { removed("cholesky"); }
inline std::tuple<Tensor, Tensor> qr(const Tensor&, bool) { removed("qr"); }
inline std::tuple<Tensor&, Tensor&> qr_out(Tensor&, Tensor&, const Tensor&, bool) { removed("qr"); }
}  // namespace torch
#endif
