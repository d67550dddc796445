#include "cuda/cuda_queue.h"

#include <new>

#include "cuda/check.h"

namespace seer::cuda {

CudaEvent::CudaEvent() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync),
        "cudaEventCreateWithFlags");
}

CudaEvent::~CudaEvent() {
  cudaEventDestroy(event_);
}

CudaQueue::CudaQueue(bool urgent) {
  int least = 0;
  int greatest = 0;
  check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "cudaDeviceGetStreamPriorityRange");
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, urgent ? greatest : least),
        "cudaStreamCreateWithPriority");
  stream_.reset(stream);
  void* fault = nullptr;
  check(cudaHostAlloc(&fault, sizeof(DeviceFault), cudaHostAllocMapped), "cudaHostAlloc");
  fault_.reset(new (fault) DeviceFault{});
  check(cudaHostGetDevicePointer(reinterpret_cast<void**>(&device_fault_), fault, 0),
        "cudaHostGetDevicePointer");
}

CudaQueue::~CudaQueue() {
  cudaStreamSynchronize(stream());  // what it still runs may use memory that is freed next
}

void CudaQueue::synchronize() {
  check(cudaStreamSynchronize(stream()), "an operation on the GPU failed");
  if (fault_->raised == DeviceFault::kNone) return;
  const DeviceFault fault = *fault_;
  *fault_ = {};
  if (fault.raised == DeviceFault::kByTarget) {
    fail("target {} at row {} with {} logits", fault.token, fault.row, fault.vocabulary);
  }
  fail("token id {} at row {} with an embedding of {} rows", fault.token, fault.row, fault.vocabulary);
}

}  // namespace seer::cuda
