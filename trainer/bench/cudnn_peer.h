// cuDNN's dense attention as a peer of the benches, where this process finds it.
#pragma once

#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "cuda/bench/cudnn_attention.h"
#include "cuda/cuda_queue.h"
#include "src/ops/backend.h"

namespace seer {

/// cuDNN as this process found it, or why it cannot be measured.
struct CudnnPeer {
  std::unique_ptr<cuda::CudnnAttention> cudnn;
  std::string missing;

  CudnnPeer() {
    try {
      cudnn = std::make_unique<cuda::CudnnAttention>();
    } catch (const Error& error) {
      missing = error.what();
    }
  }

  /// For a report: which one, or why none.
  nlohmann::ordered_json describe() const {
    if (cudnn == nullptr) return {{"missing", missing}};
    return {{"version", cudnn->version()}, {"library", cudnn->library_path()}};
  }
};

/// cuDNN's attention on one problem's tensors, with an output of its own. Of one query row it is the last token's.
class CudnnContender {
 public:
  CudnnContender(cuda::CudnnAttention& cudnn, Backend& backend, Queue& queue, const AttentionArgs& args)
      : cudnn_(cudnn), stream_(static_cast<cuda::CudaQueue&>(queue).stream()) {
    output_buffer_ = backend.allocate(args.q.numel() * size_of(args.q.dtype()), Memory::kDevice);
    output_ = output_buffer_.tensor(args.q.dtype(), args.q.shape());
    const size_t bytes = cudnn.plan({.tokens = args.k.rows(),
                                     .last_token = args.q.rows() == 1,
                                     .num_heads = args.q.dim(1),
                                     .num_kv_heads = args.k.dim(1),
                                     .head_dim = args.q.dim(2),
                                     .scale = args.scale,
                                     .q_stride = args.q.row_stride(),
                                     .k_stride = args.k.row_stride(),
                                     .v_stride = args.v.row_stride()});
    scratch_bytes_ = bytes;
    scratch_ = backend.allocate(bytes, Memory::kDevice);
    tensors_.o = static_cast<__nv_bfloat16*>(output_.raw());
    take(args);
    run();  // what cuDNN cannot run it refuses here, before anything is timed
    backend.synchronize(queue);
  }

  /// Other q, k and v of the same shapes and strides.
  void take(const AttentionArgs& args) {
    tensors_.q = static_cast<const __nv_bfloat16*>(args.q.raw());
    tensors_.k = static_cast<const __nv_bfloat16*>(args.k.raw());
    tensors_.v = static_cast<const __nv_bfloat16*>(args.v.raw());
  }
  void run() { cudnn_.run(tensors_, scratch_.data(), stream_); }
  size_t scratch_bytes() const { return scratch_bytes_; }
  Tensor output() const { return output_; }

 private:
  cuda::CudnnAttention& cudnn_;
  cudaStream_t stream_;
  Buffer output_buffer_;
  Tensor output_;
  size_t scratch_bytes_ = 0;
  Buffer scratch_;
  cuda::CudnnAttentionTensors tensors_;
};

}  // namespace seer
