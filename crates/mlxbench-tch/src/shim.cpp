// What libtorch can tell and tch doesn't ask. Each function returns 0, or -1 where libtorch throws.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Version.h>
#include <c10/core/InferenceMode.h>

#include "guarded.h"

extern "C" {

// Writes the libraries and flags that libtorch was built with to `text`, cut to `size` bytes with
// the closing nul.
int mlxbench_torch_config(char* text, size_t size) {
  return guarded([&] {
    const std::string config = at::show_config();
    const size_t length = std::min(config.size(), size - 1);
    std::memcpy(text, config.data(), length);
    text[length] = '\0';
  });
}

// Enters inference mode on this thread, until the guard ends.
int mlxbench_torch_inference_begin(void** guard) {
  return guarded([&] { *guard = new c10::InferenceMode(true); });
}

void mlxbench_torch_inference_end(void* guard) {
  delete static_cast<c10::InferenceMode*>(guard);
}

// Copies `source` to `target`, both `at::Tensor`, on the stream of the work, and waits for nothing: a few
// bytes of the host's are taken before this returns.
int mlxbench_torch_copy(const void* target, const void* source) {
  return guarded([&] {
    static_cast<const at::Tensor*>(target)->copy_(
        *static_cast<const at::Tensor*>(source), /*non_blocking=*/true);
  });
}

// Waits for all work on the accelerator with this index.
int mlxbench_torch_synchronize(int64_t index) {
  return guarded([&] { at::accelerator::synchronizeDevice(static_cast<c10::DeviceIndex>(index)); });
}

// Forgets the peak of the accelerator's memory.
int mlxbench_torch_reset_peak(int64_t index) {
  return guarded([&] { at::accelerator::resetPeakStats(static_cast<c10::DeviceIndex>(index)); });
}

// The peak of the bytes that tensors held on the accelerator, since it was forgotten.
int mlxbench_torch_peak(int64_t index, uint64_t* bytes) {
  return guarded([&] {
    const auto stats = at::accelerator::getDeviceStats(static_cast<c10::DeviceIndex>(index));
    const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *bytes = static_cast<uint64_t>(stats.allocated_bytes[all].peak);
  });
}
}
