// Queues and events of the CUDA backend: a stream each, with a word for what an operation finds wrong.
#pragma once

#include <cstdint>
#include <memory>

#include <cuda_runtime.h>

#include "src/ops/backend.h"

namespace seer::cuda {

/// What a kernel reports to the host: a token id outside the vocabulary. Lies in mapped host memory.
struct DeviceFault {
  enum Raised : int32_t { kNone, kByEmbedding, kByTarget };

  Raised raised;
  int32_t token;
  int64_t row;
  int64_t vocabulary;
};

class CudaEvent final : public Event {
 public:
  CudaEvent();
  ~CudaEvent() override;
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaQueue final : public Queue {
 public:
  /// The device runs the kernels of an urgent queue first where several wait for room.
  explicit CudaQueue(bool urgent = false);
  ~CudaQueue() override;
  CudaQueue(const CudaQueue&) = delete;
  CudaQueue& operator=(const CudaQueue&) = delete;

  cudaStream_t stream() const { return stream_.get(); }
  /// Device address of the fault word.
  DeviceFault* fault() const { return device_fault_; }

  /// Waits for the stream; throws what the driver or an operation reported, once.
  void synchronize();

 private:
  struct DestroyStream {
    using pointer = cudaStream_t;
    void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
  };
  struct FreeHost {
    void operator()(void* memory) const { cudaFreeHost(memory); }
  };

  std::unique_ptr<DeviceFault, FreeHost> fault_;
  std::unique_ptr<cudaStream_t, DestroyStream> stream_;
  DeviceFault* device_fault_ = nullptr;
};

}  // namespace seer::cuda
