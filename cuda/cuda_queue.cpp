#include "cuda/cuda_queue.h"

#include "cuda/check.h"

namespace seer::cuda {

CudaEvent::CudaEvent() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync),
        "cudaEventCreateWithFlags");
}

CudaEvent::~CudaEvent() {
  cudaEventDestroy(event_);
}

CudaQueue::CudaQueue() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  check(cudaHostAlloc(reinterpret_cast<void**>(&fault_), sizeof(DeviceFault), cudaHostAllocMapped),
        "cudaHostAlloc");
  *fault_ = {};
  check(cudaHostGetDevicePointer(reinterpret_cast<void**>(&device_fault_), fault_, 0),
        "cudaHostGetDevicePointer");
}

CudaQueue::~CudaQueue() {
  cudaStreamSynchronize(stream_);  // what it still runs may use memory that is freed next
  cudaStreamDestroy(stream_);
  cudaFreeHost(fault_);
}

void CudaQueue::synchronize() {
  check(cudaStreamSynchronize(stream_), "an operation on the GPU failed");
  if (fault_->raised == 0) return;
  const DeviceFault fault = *fault_;
  *fault_ = {};
  fail("token id {} at row {} with an embedding of {} rows", fault.token, fault.row, fault.vocabulary);
}

}  // namespace seer::cuda
