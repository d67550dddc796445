#include "cuda/cuda_backend.h"

#include <algorithm>

#include <cuda_runtime.h>

#include "cuda/attention/dispatch.h"
#include "cuda/check.h"
#include "cuda/cuda_queue.h"
#include "cuda/kernels.h"
#include "cuda/linear.h"
#include "src/ops/check_args.h"

namespace seer {
namespace {

using cuda::CudaEvent;
using cuda::CudaQueue;

/// Throws what keeps device `ordinal` from being used; else its properties.
cudaDeviceProp open_device(int ordinal) {
  int driver = 0;
  int runtime = 0;
  cuda::check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    fail("device \"cuda\": no NVIDIA driver is installed here: install one");
  }
  const auto version = [](int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); };
  if (driver / 1000 < runtime / 1000) {
    fail("device \"cuda\": the NVIDIA driver supports CUDA {}, this build needs {}: update the driver",
         version(driver), version(runtime));
  }
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    fail("device \"cuda\": no usable GPU ({})",
         status == cudaSuccess ? "none is visible" : cudaGetErrorString(status));
  }
  if (ordinal < 0 || ordinal >= count) {
    fail("device \"cuda:{}\": the visible GPUs are cuda:0 to cuda:{}", ordinal, count - 1);
  }
  cudaDeviceProp properties{};
  cuda::check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  if (properties.major < 8) {
    fail("device \"cuda:{}\": {} has compute capability {}.{}: 8.0 or later is needed", ordinal,
         properties.name, properties.major, properties.minor);
  }
  return properties;
}

/// Checks arguments at the call, launches on the queue's stream.
class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const CudaOptions& options)
      : options_(options), properties_(open_device(options.device)) {
    cuda::check(cudaSetDevice(options.device), "cudaSetDevice");
    // Threads that wait for the GPU leave their core to the tokenizer and the readers.
    cuda::check(cudaSetDeviceFlags(cudaDeviceScheduleBlockingSync), "cudaSetDeviceFlags");
    linear_ = std::make_unique<cuda::Linear>();
    attention_ = {.precision = activation_dtype(),
                  .hopper = properties_.major == 9 && properties_.minor == 0 && !options.portable_attention,
                  .sm_count = std::max(1, properties_.multiProcessorCount - options.reserved_sms)};
  }

  std::string name() const override {
    return fmt::format("cuda:{} ({}, {})", options_.device, properties_.name,
                       options_.precision == CudaPrecision::kFp32 ? "fp32" : "bf16");
  }
  DType activation_dtype() const override {
    return options_.precision == CudaPrecision::kFp32 ? DType::kF32 : DType::kBF16;
  }
  DType weight_dtype(DType) const override { return activation_dtype(); }
  size_t memory_bytes() const override { return properties_.totalGlobalMem; }
  size_t available_bytes() const override {
    size_t free = 0;
    size_t total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return free;
  }
  int64_t full_speed_rows() const override { return 16384; }
  bool reads_host_memory() const override { return false; }

  Buffer allocate(size_t bytes, Memory memory) override {
    const size_t size = std::max<size_t>(bytes, 1);
    void* data = nullptr;
    if (memory == Memory::kHostPinned) {
      if (cudaHostAlloc(&data, size, cudaHostAllocPortable) != cudaSuccess) {
        cudaGetLastError();  // handled here
        fail("cannot allocate {} bytes of pinned host memory", bytes);
      }
      std::fill_n(static_cast<char*>(data), size, '\0');
      return {data, size, [](void* pinned, size_t) { cudaFreeHost(pinned); }};
    }
    if (cudaMalloc(&data, size) != cudaSuccess) {
      cudaGetLastError();
      size_t free = 0;
      size_t total = 0;
      cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
      fail("{} has no room for {:.2f} GB: {:.2f} of {:.2f} GB are free", name(),
           static_cast<double>(bytes) / 1e9, static_cast<double>(free) / 1e9,
           static_cast<double>(total) / 1e9);
    }
    Buffer buffer(data, size, [](void* device, size_t) { cudaFree(device); });
    cuda::check(cudaMemset(data, 0, size), "cudaMemset");
    // Streams of queues do not wait for the one that cudaMemset runs on.
    cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    return buffer;
  }

  /// What other ranks wait for goes first.
  std::unique_ptr<Queue> make_queue(const std::string& name) override {
    return std::make_unique<CudaQueue>(/*urgent=*/name == "exchange");
  }
  std::unique_ptr<Event> make_event() override { return std::make_unique<CudaEvent>(); }

  void record(Queue& queue, Event& event) override {
    cuda::check(cudaEventRecord(handle(event), stream(queue)), "cudaEventRecord");
  }
  void wait(Queue& queue, Event& event) override {
    cuda::check(cudaStreamWaitEvent(stream(queue), handle(event), 0), "cudaStreamWaitEvent");
  }
  void synchronize(Queue& queue) override { static_cast<CudaQueue&>(queue).synchronize(); }
  void synchronize(Event& event) override {
    cuda::check(cudaEventSynchronize(handle(event)), "an operation on the GPU failed");
  }

  void copy(Queue& queue, ConstTensor from, Tensor to) override {
    SEER_CHECK(from.dtype() == to.dtype() && from.shape() == to.shape(), "{} {} to {} {}",
               name_of(from.dtype()), to_string(from.shape()), name_of(to.dtype()), to_string(to.shape()));
    cuda::copy(stream(queue), from, to);
  }
  void fill_zero(Queue& queue, Tensor x) override { cuda::fill_zero(stream(queue), x); }

  void embed(Queue& queue, ConstTensor ids, ConstTensor table, Tensor out) override {
    check::embed(ids, table, out);
    cuda::embed(stream(queue), ids, table, out, static_cast<CudaQueue&>(queue).fault());
  }
  void rms_norm(Queue& queue, ConstTensor x, ConstTensor weight, double eps, Tensor out) override {
    check::rms_norm(x, weight, out);
    cuda::rms_norm(stream(queue), x, weight, eps, out);
  }
  void linear(Queue& queue, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out,
              Tensor workspace) override {
    check::linear(x, w, out);
    check::workspace(workspace, linear_workspace(w));
    linear_->run(stream(queue), x, w, mode, out, workspace);
  }
  size_t linear_workspace(const StackedLinear&) const override { return cuda::Linear::workspace_bytes(); }
  void swiglu(Queue& queue, ConstTensor gate_up, Tensor out) override {
    check::swiglu(gate_up, out);
    cuda::swiglu(stream(queue), gate_up, out);
  }
  void rope(Queue& queue, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
            RopeDirection direction, Tensor out) override {
    check::rope(x, table, rows, out);
    cuda::rope(stream(queue), x, table, rows, direction, out);
  }
  void attention(Queue& queue, const AttentionArgs& args) override {
    check::attention(args);
    check::workspace(args.workspace, attention_workspace(args));
    cuda::attention(stream(queue), attention_, args);
  }
  size_t attention_workspace(const AttentionArgs& args) const override {
    return cuda::attention_workspace(attention_, args);
  }

  void normalise_target(Queue& queue, ConstTensor block_log_max, const ScoreLayout& fine,
                        const ScoreLayout& coarse, int64_t heads, Tensor target) override {
    check::normalise_target(block_log_max, fine, coarse, heads, target);
    cuda::normalise_target(stream(queue), block_log_max, fine, coarse, heads, target);
  }

  void pool_blocks(Queue& queue, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size,
                   int64_t pieces, PoolSet pools, Tensor out) override {
    check::pool_blocks(x, rows, block_size, pieces, pools, out);
    cuda::pool_blocks(stream(queue), x, rows, block_size, pieces, pools, out);
  }
  void group_mean(Queue& queue, ConstTensor x, Tensor out) override {
    check::group_mean(x, out);
    cuda::group_mean(stream(queue), x, out);
  }
  void head_linear(Queue& queue, ConstTensor x, ConstTensor w, Tensor out) override {
    check::head_linear(x, w, out);
    cuda::head_linear(stream(queue), x, w, out);
  }
  void head_linear_backward(Queue& queue, ConstTensor x, ConstTensor out_gradient,
                            Tensor w_gradient) override {
    check::head_linear(x, w_gradient, out_gradient);
    cuda::head_linear_backward(stream(queue), x, out_gradient, w_gradient);
  }
  void rms_norm_backward(Queue& queue, ConstTensor x, ConstTensor weight, double eps,
                         ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient) override {
    check::rms_norm(x, weight, x_gradient);
    SEER_CHECK(out_gradient.shape() == x.shape() && w_gradient.numel() == weight.numel(), "gradients {} {}",
               to_string(out_gradient.shape()), to_string(w_gradient.shape()));
    cuda::rms_norm_backward(stream(queue), x, weight, eps, out_gradient, x_gradient, w_gradient);
  }
  void gate_scores(Queue& queue, const ScoreArgs& args, Tensor scores) override {
    check::gate_scores(args, scores);
    cuda::gate_scores(stream(queue), args, scores);
  }
  void gate_scores_backward(Queue& queue, const ScoreArgs& args, ConstTensor score_gradient,
                            const ScoreGradients& gradients) override {
    check::gate_scores_backward(args, score_gradient, gradients);
    cuda::gate_scores_backward(stream(queue), args, score_gradient, gradients);
  }
  void kl_loss(Queue& queue, const KlArgs& args) override {
    check::kl_loss(args);
    check::workspace(args.workspace, kl_workspace(args));
    cuda::kl_loss(stream(queue), args);
  }
  size_t kl_workspace(const KlArgs& args) const override { return cuda::kl_workspace(args); }

  void split_signs(Queue& queue, ConstTensor x, Tensor out) override {
    check::split_signs(x, out);
    cuda::split_signs(stream(queue), x, out);
  }
  void position_scores(Queue& queue, PositionScores kind, uint64_t seed, const ScoreLayout& layout,
                       int64_t head_begin, int64_t head_count, Tensor scores) override {
    check::position_scores(layout, head_begin, head_count, scores);
    cuda::position_scores(stream(queue), kind, seed, layout, head_begin, head_count, scores);
  }
  void antidiagonal_scores(Queue& queue, const AntidiagonalArgs& args) override {
    check::antidiagonal_scores(args);
    check::workspace(args.workspace, antidiagonal_workspace(args));
    cuda::antidiagonal_scores(stream(queue), args);
  }
  size_t antidiagonal_workspace(const AntidiagonalArgs& args) const override {
    return cuda::antidiagonal_workspace(args);
  }
  void select_blocks(Queue& queue, const SelectArgs& args) override {
    check::select_blocks(args);
    cuda::select_blocks(stream(queue), args);
  }
  size_t select_workspace(const SelectArgs&) const override { return 0; }
  void kept_recall(Queue& queue, const KeptRecallArgs& args) override {
    check::kept_recall(args);
    check::workspace(args.workspace, kept_recall_workspace(args));
    cuda::kept_recall(stream(queue), args);
  }
  size_t kept_recall_workspace(const KeptRecallArgs& args) const override {
    return cuda::kept_recall_workspace(args);
  }
  void sparse_attention(Queue& queue, const SparseAttentionArgs& args) override {
    check::sparse_attention(args);
    check::workspace(args.workspace, sparse_attention_workspace(args));
    cuda::sparse_attention(stream(queue), attention_, args);
  }
  size_t sparse_attention_workspace(const SparseAttentionArgs& args) const override {
    return cuda::sparse_attention_workspace(attention_, args);
  }
  void token_nll(Queue& queue, ConstTensor logits, ConstTensor targets, Tensor nll) override {
    check::token_nll(logits, targets, nll);
    cuda::token_nll(stream(queue), logits, targets, nll, static_cast<CudaQueue&>(queue).fault());
  }

  void add_squared_norm(Queue& queue, ConstTensor x, Tensor slot, Tensor workspace) override {
    check::workspace(workspace, norm_workspace(x.numel()));
    cuda::add_squared_norm(stream(queue), x, slot, workspace);
  }
  size_t norm_workspace(int64_t elements) const override { return cuda::norm_workspace(elements); }
  void adamw(Queue& queue, const AdamWArgs& args) override {
    check::adamw(args);
    cuda::adamw(stream(queue), args);
  }
  void sum_parts(Queue& queue, ConstTensor parts, Tensor out) override {
    check::sum_parts(parts, out);
    cuda::sum_parts(stream(queue), parts, out);
  }
  void flag_not_finite(Queue& queue, ConstTensor x, Tensor slot) override {
    cuda::flag_not_finite(stream(queue), x, slot);
  }

 private:
  static cudaStream_t stream(Queue& queue) { return static_cast<CudaQueue&>(queue).stream(); }
  static cudaEvent_t handle(Event& event) { return static_cast<CudaEvent&>(event).get(); }

  CudaOptions options_;
  cudaDeviceProp properties_;
  std::unique_ptr<cuda::Linear> linear_;
  cuda::AttentionChoice attention_;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

int cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::string cuda_device_id() {
  int device = 0;
  cuda::check(cudaGetDevice(&device), "cudaGetDevice");
  cudaDeviceProp properties{};
  cuda::check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  std::string id;
  for (const char byte : properties.uuid.bytes) id += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return id;
}

bool cuda_available(std::string* why) {
  try {
    open_device(0);
    return true;
  } catch (const Error& error) {
    if (why != nullptr) *why = error.what();
    return false;
  }
}

}  // namespace seer
