// Recording and replay of CUDA graphs. Each function returns 0, or -1 where libtorch throws.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "guarded.h"

namespace {

struct Recording {
  c10::DeviceIndex device;
  at::cuda::CUDAGraph graph;
  // While it is there, work goes to a stream of its own: the default one can't be recorded.
  std::optional<c10::cuda::CUDAStreamGuard> aside;
  bool records = false;
};

// Streams have workspaces that they keep: all recordings of a device share one. One worker thread records,
// so nothing guards the map.
c10::cuda::CUDAStream stream_aside(c10::DeviceIndex device) {
  static std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
  const auto known = streams.find(device);
  if (known != streams.end()) {
    return known->second;
  }
  return streams.emplace(device, c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device)).first->second;
}

void wait(c10::DeviceIndex device) {
  const c10::cuda::CUDAGuard on(device);
  c10::cuda::device_synchronize();
}

void finish(Recording& recording) {
  recording.records = false;
  recording.graph.capture_end();
}

} // namespace

extern "C" {

// Work goes to a stream of its own from now on, behind all that was queued before.
int mlxbench_torch_graph_aside(int64_t index, void** graph) {
  return guarded([&] {
    const auto device = static_cast<c10::DeviceIndex>(index);
    auto recording = std::make_unique<Recording>();
    recording->device = device;
    wait(device);
    recording->aside.emplace(stream_aside(device));
    *graph = recording.release();
  });
}

// Waits for the work so far and records from now on.
int mlxbench_torch_graph_begin(void* graph) {
  return guarded([&] {
    auto& recording = *static_cast<Recording*>(graph);
    wait(recording.device);
    recording.graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    recording.records = true;
  });
}

// The recording is complete, and work goes where it went before.
int mlxbench_torch_graph_end(void* graph) {
  return guarded([&] {
    auto& recording = *static_cast<Recording*>(graph);
    finish(recording);
    recording.aside.reset();
  });
}

int mlxbench_torch_graph_replay(void* graph) {
  return guarded([&] { static_cast<Recording*>(graph)->graph.replay(); });
}

// Waits for its work, which needs its memory.
void mlxbench_torch_graph_drop(void* graph) {
  const std::unique_ptr<Recording> recording(static_cast<Recording*>(graph));
  if (recording->records) {
    guarded([&] { finish(*recording); });
  }
  recording->aside.reset();
  guarded([&] { wait(recording->device); });
}
}
