// Token ids on their way to the host, by device-generic means: an event behind the step that makes
// them, and a copy on another stream that waits for that event alone. Each function returns 0, or -1
// where libtorch throws.

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "guarded.h"

namespace {

struct Readback {
  // Held until the copy is done, so that nothing else is written to its memory before.
  at::Tensor tokens;
  at::Tensor host;
  c10::Event done;
};

// The stream on which ids leave a device. One worker thread reads, so nothing guards the map.
c10::Stream way_out(const c10::impl::VirtualGuardImpl& guard, c10::Device device) {
  static std::map<c10::DeviceIndex, c10::Stream> streams;
  const auto known = streams.find(device.index());
  if (known != streams.end()) {
    return known->second;
  }
  return streams.emplace(device.index(), guard.getStreamFromGlobalPool(device, true)).first->second;
}

void start(Readback& readback) {
  const c10::Device device = readback.tokens.device();
  if (device.is_cpu()) {
    // It works while it is called, and knows no events.
    readback.host = readback.tokens.clone();
    return;
  }
  const c10::impl::VirtualGuardImpl guard(device.type());
  const c10::Stream out = way_out(guard, device);
  c10::Event made(device.type());
  made.record(guard.getStream(device));
  made.block(out);
  readback.host = at::empty(readback.tokens.sizes(), at::TensorOptions(at::kLong).pinned_memory(true));
  const c10::StreamGuard on_its_way(out);
  readback.host.copy_(readback.tokens, /*non_blocking=*/true);
  readback.done.record(out);
}

} // namespace

extern "C" {

// Starts to copy `tokens`, an `at::Tensor` of one dimension and type i64.
int mlxbench_torch_readback_start(const void* tokens, void** readback) {
  return guarded([&] {
    const auto& source = *static_cast<const at::Tensor*>(tokens);
    TORCH_CHECK(source.dim() == 1 && source.scalar_type() == at::kLong, "not a row of ids");
    auto started = std::make_unique<Readback>(Readback{source, {}, c10::Event(source.device().type())});
    start(*started);
    *readback = started.release();
  });
}

// Waits for the copy, and writes its `count` ids to `ids`.
int mlxbench_torch_readback_wait(const void* readback, int64_t* ids, size_t count) {
  return guarded([&] {
    const auto& copy = *static_cast<const Readback*>(readback);
    copy.done.synchronize();
    TORCH_CHECK(static_cast<size_t>(copy.host.numel()) == count, "another number of ids");
    std::copy_n(copy.host.const_data_ptr<int64_t>(), count, ids);
  });
}

// Waits for the copy, whose memory is free after that.
void mlxbench_torch_readback_end(void* readback) {
  const std::unique_ptr<Readback> copy(static_cast<Readback*>(readback));
  guarded([&] { copy->done.synchronize(); });
}
}
