#include "cuda/bench/profiled_backend.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "cuda/check.h"
#include "cuda/cuda_queue.h"

namespace seer::cuda {

ProfiledBackend::~ProfiledBackend() {
  for (const Record& record : records_) {
    if (record.start != nullptr) cudaEventDestroy(record.start);
    if (record.end != nullptr) cudaEventDestroy(record.end);
  }
}

void ProfiledBackend::start_recording(Queue& queue, size_t most_operations) {
  while (records_.size() < most_operations) {
    Record& record = records_.emplace_back();
    check(cudaEventCreate(&record.start), "cudaEventCreate");
    check(cudaEventCreate(&record.end), "cudaEventCreate");
  }
  used_ = 0;
  recorded_ = &queue;
}

std::vector<OpTime> ProfiledBackend::finish_recording() {
  recorded_ = nullptr;
  std::map<std::tuple<std::string, int64_t, int64_t>, OpTime> kinds;
  for (size_t i = 0; i < used_; ++i) {
    const Record& record = records_[i];
    float ms = 0;
    check(cudaEventSynchronize(record.end), "a profiled operation");
    check(cudaEventElapsedTime(&ms, record.start, record.end), "cudaEventElapsedTime");
    OpTime& sum = kinds[{record.kind, record.in_features, record.out_features}];
    sum.kind = record.kind;
    sum.in_features = record.in_features;
    sum.out_features = record.out_features;
    ++sum.calls;
    sum.ms += ms;
    sum.flops += record.flops;
  }
  std::vector<OpTime> times;
  times.reserve(kinds.size());
  for (auto& [key, time] : kinds) times.push_back(std::move(time));
  std::stable_sort(times.begin(), times.end(), [](const OpTime& a, const OpTime& b) { return a.ms > b.ms; });
  return times;
}

template <typename Call>
void ProfiledBackend::timed(Queue& queue, const Record& what, const Call& call) {
  if (recorded_ != &queue) {
    call();
    return;
  }
  SEER_CHECK(used_ < records_.size(), "more than the {} operations announced to start_recording()",
             records_.size());
  Record& record = records_[used_++];
  record.kind = what.kind;
  record.in_features = what.in_features;
  record.out_features = what.out_features;
  record.flops = what.flops;
  const cudaStream_t stream = static_cast<CudaQueue&>(queue).stream();
  check(cudaEventRecord(record.start, stream), "cudaEventRecord");
  call();
  check(cudaEventRecord(record.end, stream), "cudaEventRecord");
}

void ProfiledBackend::linear(Queue& queue, ConstTensor x, const StackedLinear& w, LinearOutput mode,
                             Tensor out, Tensor workspace) {
  const Record what{.kind = "linear",
                    .in_features = w.in_features(),
                    .out_features = w.out_features(),
                    .flops = 2.0 * static_cast<double>(x.rows()) * static_cast<double>(w.in_features()) *
                             static_cast<double>(w.out_features())};
  timed(queue, what, [&] { real_.linear(queue, x, w, mode, out, workspace); });
}

void ProfiledBackend::copy(Queue& queue, ConstTensor from, Tensor to) {
  timed(queue, {.kind = "copy"}, [&] { real_.copy(queue, from, to); });
}
void ProfiledBackend::fill_zero(Queue& queue, Tensor x) {
  timed(queue, {.kind = "fill_zero"}, [&] { real_.fill_zero(queue, x); });
}
void ProfiledBackend::embed(Queue& queue, ConstTensor ids, ConstTensor table, Tensor out) {
  timed(queue, {.kind = "embed"}, [&] { real_.embed(queue, ids, table, out); });
}
void ProfiledBackend::rms_norm(Queue& queue, ConstTensor x, ConstTensor weight, double eps, Tensor out) {
  timed(queue, {.kind = "rms_norm"}, [&] { real_.rms_norm(queue, x, weight, eps, out); });
}
void ProfiledBackend::swiglu(Queue& queue, ConstTensor gate_up, Tensor out) {
  timed(queue, {.kind = "swiglu"}, [&] { real_.swiglu(queue, gate_up, out); });
}
void ProfiledBackend::rope(Queue& queue, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
                           RopeDirection direction, Tensor out) {
  timed(queue, {.kind = "rope"}, [&] { real_.rope(queue, x, table, rows, direction, out); });
}
void ProfiledBackend::attention(Queue& queue, const AttentionArgs& args) {
  timed(queue, {.kind = "attention"}, [&] { real_.attention(queue, args); });
}
void ProfiledBackend::normalise_target(Queue& queue, ConstTensor block_log_max, const ScoreLayout& fine,
                                       const ScoreLayout& coarse, int64_t heads, Tensor target) {
  timed(queue, {.kind = "normalise_target"},
        [&] { real_.normalise_target(queue, block_log_max, fine, coarse, heads, target); });
}
void ProfiledBackend::pool_blocks(Queue& queue, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size,
                                  PoolSet pools, Tensor out) {
  timed(queue, {.kind = "pool_blocks"}, [&] { real_.pool_blocks(queue, x, rows, block_size, pools, out); });
}
void ProfiledBackend::group_mean(Queue& queue, ConstTensor x, Tensor out) {
  timed(queue, {.kind = "group_mean"}, [&] { real_.group_mean(queue, x, out); });
}
void ProfiledBackend::head_linear(Queue& queue, ConstTensor x, ConstTensor w, Tensor out) {
  timed(queue, {.kind = "head_linear"}, [&] { real_.head_linear(queue, x, w, out); });
}
void ProfiledBackend::head_linear_backward(Queue& queue, ConstTensor x, ConstTensor out_gradient,
                                           Tensor w_gradient) {
  timed(queue, {.kind = "head_linear_backward"},
        [&] { real_.head_linear_backward(queue, x, out_gradient, w_gradient); });
}
void ProfiledBackend::rms_norm_backward(Queue& queue, ConstTensor x, ConstTensor weight, double eps,
                                        ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient) {
  timed(queue, {.kind = "rms_norm_backward"},
        [&] { real_.rms_norm_backward(queue, x, weight, eps, out_gradient, x_gradient, w_gradient); });
}
void ProfiledBackend::gate_scores(Queue& queue, const ScoreArgs& args, Tensor scores) {
  timed(queue, {.kind = "gate_scores"}, [&] { real_.gate_scores(queue, args, scores); });
}
void ProfiledBackend::gate_scores_backward(Queue& queue, const ScoreArgs& args, ConstTensor score_gradient,
                                           Tensor query_gradient, Tensor key_gradient) {
  timed(queue, {.kind = "gate_scores_backward"},
        [&] { real_.gate_scores_backward(queue, args, score_gradient, query_gradient, key_gradient); });
}
void ProfiledBackend::kl_loss(Queue& queue, const KlArgs& args) {
  timed(queue, {.kind = "kl_loss"}, [&] { real_.kl_loss(queue, args); });
}
void ProfiledBackend::topk_recall(Queue& queue, const RecallArgs& args) {
  timed(queue, {.kind = "topk_recall"}, [&] { real_.topk_recall(queue, args); });
}
void ProfiledBackend::add_squared_norm(Queue& queue, ConstTensor x, Tensor slot, Tensor workspace) {
  timed(queue, {.kind = "add_squared_norm"}, [&] { real_.add_squared_norm(queue, x, slot, workspace); });
}
void ProfiledBackend::adamw(Queue& queue, const AdamWArgs& args) {
  timed(queue, {.kind = "adamw"}, [&] { real_.adamw(queue, args); });
}
void ProfiledBackend::flag_not_finite(Queue& queue, ConstTensor x, Tensor slot) {
  timed(queue, {.kind = "flag_not_finite"}, [&] { real_.flag_not_finite(queue, x, slot); });
}

}  // namespace seer::cuda
