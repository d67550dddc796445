// cuDNN's attention through cudnn-frontend; compiled where the build found its headers.
#include "cuda/bench/cudnn_attention.h"

#include <exception>
#include <unordered_map>
#include <utility>
#include <vector>

// The frontend is to call cuDNN through cudnn_dlhandle, and to leave out plans as JSON: a third of its compile time.
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

#include "cuda/bench/cudnn_library.h"
#include "cuda/check.h"
#include "src/core/error.h"

// Declared by the frontend, for us to define.
void* cudnn_frontend::cudnn_dlhandle = nullptr;

namespace seer::cuda {
namespace {

namespace fe = cudnn_frontend;

/// Names of the graph's tensors.
enum TensorId : int64_t { kQ = 1, kK, kV, kO, kLogsumexp };

/// cuDNN sees [batch, heads, tokens, head_dim] through strides; the batch is one sequence.
std::vector<int64_t> rows_of_heads(int64_t row_stride, int64_t heads, int64_t tokens, int64_t head_dim) {
  const int64_t stride = row_stride != 0 ? row_stride : heads * head_dim;
  return {tokens * stride, head_dim, stride, 1};
}

/// Capability of the current device as the frontend counts it. It would ask the CUDA runtime, which it opens as a shared
/// library; this program may hold the static one.
int current_sm_version() {
  int device = 0;
  int major = 0;
  int minor = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "cudaDeviceGetAttribute");
  return 10 * major + minor;
}

std::unique_ptr<fe::graph::Graph> describe(const CudnnAttentionShape& shape) {
  auto graph = std::make_unique<fe::graph::Graph>();
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT)
      .set_sm_version(current_sm_version());

  const int64_t queries = shape.last_token ? 1 : shape.tokens;
  const auto input = [&](const char* name, TensorId id, int64_t row_stride, int64_t heads, int64_t tokens) {
    return graph->tensor(fe::graph::Tensor_attributes()
                             .set_name(name)
                             .set_uid(id)
                             .set_dim({1, heads, tokens, shape.head_dim})
                             .set_stride(rows_of_heads(row_stride, heads, tokens, shape.head_dim)));
  };
  const auto q = input("q", kQ, shape.q_stride, shape.num_heads, queries);
  const auto k = input("k", kK, shape.k_stride, shape.num_kv_heads, shape.tokens);
  const auto v = input("v", kV, shape.v_stride, shape.num_kv_heads, shape.tokens);

  auto attention = fe::graph::SDPA_attributes()
                       .set_name("attention")
                       .set_attn_scale(shape.scale)
                       .set_generate_stats(shape.logsumexp);
  // Causal: the band of keys ends at the diagonal that starts in the top left corner. The last token sees them all.
  if (!shape.last_token) {
    attention.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT).set_diagonal_band_right_bound(0);
  }
  const auto [o, logsumexp] = graph->sdpa(q, k, v, attention);
  o->set_output(true)
      .set_uid(kO)
      .set_dim({1, shape.num_heads, queries, shape.head_dim})
      .set_stride(rows_of_heads(shape.o_stride, shape.num_heads, queries, shape.head_dim));
  if (shape.logsumexp) {
    logsumexp->set_output(true)
        .set_uid(kLogsumexp)
        .set_data_type(fe::DataType_t::FLOAT)
        .set_dim({1, shape.num_heads, queries, 1})
        .set_stride({shape.num_heads * queries, queries, 1, 1});
  }
  return graph;
}

}  // namespace

struct CudnnAttention::Impl {
  const CudnnLibrary& library;
  cudnnHandle_t handle = nullptr;
  std::unique_ptr<fe::graph::Graph> graph;  ///< With its plan; destroyed before the handle
  std::unordered_map<int64_t, void*> pointers;
  bool logsumexp = false;

  explicit Impl(const std::string& path) : library(load_cudnn(path)) {
    fe::cudnn_dlhandle = library.handle;
    check_call(fe::detail::create_handle(&handle), "cudnnCreate");
  }
  ~Impl() {
    graph.reset();
    fe::detail::destroy_handle(handle);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void check_call(cudnnStatus_t status, const char* call) const {
    if (status != CUDNN_STATUS_SUCCESS) {
      fail("cuDNN {} ({}): {}: {}", cudnn_version_text(library.version), library.path, call,
           fe::detail::get_error_string(status));
    }
  }
  void check_step(fe::error_t result, const char* step) const {
    if (result.is_bad()) {
      fail("cuDNN {} refuses the attention graph ({}): {}", cudnn_version_text(library.version), step,
           result.get_message());
    }
  }
};

CudnnAttention::CudnnAttention(const std::string& library_path)
    : impl_(std::make_unique<Impl>(library_path)) {}

CudnnAttention::~CudnnAttention() = default;

size_t CudnnAttention::plan(const CudnnAttentionShape& shape) {
  int64_t workspace = 0;
  try {
    auto graph = describe(shape);
    impl_->check_step(graph->validate(), "validate");
    impl_->check_step(graph->build_operation_graph(impl_->handle), "build_operation_graph");
    impl_->check_step(graph->create_execution_plans({fe::HeurMode_t::A}), "create_execution_plans");
    impl_->check_step(graph->check_support(), "check_support");
    impl_->check_step(graph->build_plans(), "build_plans");
    impl_->check_step(graph->get_workspace_size(workspace), "get_workspace_size");
    impl_->graph = std::move(graph);
    impl_->logsumexp = shape.logsumexp;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& missing) {  // a function that this cuDNN does not have
    fail("cuDNN {} cannot plan attention: {}", version(), missing.what());
  }
  return static_cast<size_t>(workspace);
}

void CudnnAttention::run(const CudnnAttentionTensors& tensors, void* workspace, cudaStream_t stream) {
  SEER_CHECK(impl_->graph != nullptr, "run() before plan()");
  auto& pointers = impl_->pointers;
  pointers[kQ] = const_cast<__nv_bfloat16*>(tensors.q);
  pointers[kK] = const_cast<__nv_bfloat16*>(tensors.k);
  pointers[kV] = const_cast<__nv_bfloat16*>(tensors.v);
  pointers[kO] = tensors.o;
  pointers.erase(kLogsumexp);
  if (impl_->logsumexp) pointers[kLogsumexp] = tensors.logsumexp;
  impl_->check_call(fe::detail::set_stream(impl_->handle, stream), "cudnnSetStream");
  impl_->check_step(impl_->graph->execute(impl_->handle, pointers, workspace), "execute");
}

std::string CudnnAttention::version() const {
  return cudnn_version_text(impl_->library.version);
}

std::string CudnnAttention::library_path() const {
  return impl_->library.path;
}

}  // namespace seer::cuda
