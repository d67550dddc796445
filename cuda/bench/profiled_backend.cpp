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
    const bool waited = record.awaited != nullptr;
    const cudaEvent_t start = waited && i > 0 ? records_[i - 1].end : record.start;
    check(cudaEventElapsedTime(&ms, start, record.end), "cudaEventElapsedTime");
    const std::string kind = waited ? "wait for " + *record.awaited : record.kind;
    OpTime& sum = kinds[{kind, record.in_features, record.out_features}];
    sum.kind = kind;
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
  record.awaited = what.awaited;
  const cudaStream_t stream = static_cast<CudaQueue&>(queue).stream();
  check(cudaEventRecord(record.start, stream), "cudaEventRecord");
  call();
  check(cudaEventRecord(record.end, stream), "cudaEventRecord");
}

std::unique_ptr<Queue> ProfiledBackend::make_queue(const std::string& name) {
  auto queue = real().make_queue(name);
  const std::lock_guard lock(mutex_);
  names_[queue.get()] = name;
  return queue;
}

void ProfiledBackend::record(Queue& queue, Event& event) {
  real().record(queue, event);
  const std::lock_guard lock(mutex_);
  recorders_[&event] = &names_.at(&queue);
}

void ProfiledBackend::wait(Queue& queue, Event& event) {
  Record what{.kind = "wait"};
  {
    const std::lock_guard lock(mutex_);
    const auto recorder = recorders_.find(&event);
    if (recorder != recorders_.end()) what.awaited = recorder->second;  // else it has nothing to wait for
  }
  if (what.awaited == nullptr) return real().wait(queue, event);
  timed(queue, what, [&] { real().wait(queue, event); });
}

void ProfiledBackend::linear(Queue& queue, ConstTensor x, const StackedLinear& w, LinearOutput mode,
                             Tensor out, Tensor workspace) {
  const Record what{.kind = "linear",
                    .in_features = w.in_features(),
                    .out_features = w.out_features(),
                    .flops = 2.0 * static_cast<double>(x.rows()) * static_cast<double>(w.in_features()) *
                             static_cast<double>(w.out_features())};
  timed(queue, what, [&] { real().linear(queue, x, w, mode, out, workspace); });
}

void ProfiledBackend::copy(Queue& queue, ConstTensor from, Tensor to) {
  timed(queue, {.kind = "copy"}, [&] { real().copy(queue, from, to); });
}
void ProfiledBackend::fill_zero(Queue& queue, Tensor x) {
  timed(queue, {.kind = "fill_zero"}, [&] { real().fill_zero(queue, x); });
}
void ProfiledBackend::embed(Queue& queue, ConstTensor ids, ConstTensor table, Tensor out) {
  timed(queue, {.kind = "embed"}, [&] { real().embed(queue, ids, table, out); });
}
void ProfiledBackend::rms_norm(Queue& queue, ConstTensor x, ConstTensor weight, double eps, Tensor out) {
  timed(queue, {.kind = "rms_norm"}, [&] { real().rms_norm(queue, x, weight, eps, out); });
}
void ProfiledBackend::swiglu(Queue& queue, ConstTensor gate_up, Tensor out) {
  timed(queue, {.kind = "swiglu"}, [&] { real().swiglu(queue, gate_up, out); });
}
void ProfiledBackend::rope(Queue& queue, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
                           RopeDirection direction, Tensor out) {
  timed(queue, {.kind = "rope"}, [&] { real().rope(queue, x, table, rows, direction, out); });
}
void ProfiledBackend::attention(Queue& queue, const AttentionArgs& args) {
  timed(queue, {.kind = "attention"}, [&] { real().attention(queue, args); });
}
void ProfiledBackend::normalise_target(Queue& queue, ConstTensor block_log_max, const ScoreLayout& fine,
                                       const ScoreLayout& coarse, int64_t heads, Tensor target) {
  timed(queue, {.kind = "normalise_target"},
        [&] { real().normalise_target(queue, block_log_max, fine, coarse, heads, target); });
}
void ProfiledBackend::pool_blocks(Queue& queue, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size,
                                  int64_t pieces, PoolSet pools, Tensor out) {
  timed(queue, {.kind = "pool_blocks"},
        [&] { real().pool_blocks(queue, x, rows, block_size, pieces, pools, out); });
}
void ProfiledBackend::group_mean(Queue& queue, ConstTensor x, Tensor out) {
  timed(queue, {.kind = "group_mean"}, [&] { real().group_mean(queue, x, out); });
}
void ProfiledBackend::head_linear(Queue& queue, ConstTensor x, ConstTensor w, Tensor out) {
  timed(queue, {.kind = "head_linear"}, [&] { real().head_linear(queue, x, w, out); });
}
void ProfiledBackend::head_linear_backward(Queue& queue, ConstTensor x, ConstTensor out_gradient,
                                           Tensor w_gradient) {
  timed(queue, {.kind = "head_linear_backward"},
        [&] { real().head_linear_backward(queue, x, out_gradient, w_gradient); });
}
void ProfiledBackend::rms_norm_backward(Queue& queue, ConstTensor x, ConstTensor weight, double eps,
                                        ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient) {
  timed(queue, {.kind = "rms_norm_backward"},
        [&] { real().rms_norm_backward(queue, x, weight, eps, out_gradient, x_gradient, w_gradient); });
}
void ProfiledBackend::gate_scores(Queue& queue, const ScoreArgs& args, Tensor scores) {
  timed(queue, {.kind = "gate_scores"}, [&] { real().gate_scores(queue, args, scores); });
}
void ProfiledBackend::gate_scores_backward(Queue& queue, const ScoreArgs& args, ConstTensor score_gradient,
                                           const ScoreGradients& gradients) {
  timed(queue, {.kind = "gate_scores_backward"},
        [&] { real().gate_scores_backward(queue, args, score_gradient, gradients); });
}
void ProfiledBackend::kl_loss(Queue& queue, const KlArgs& args) {
  timed(queue, {.kind = "kl_loss"}, [&] { real().kl_loss(queue, args); });
}
void ProfiledBackend::select_blocks(Queue& queue, const SelectArgs& args) {
  timed(queue, {.kind = "select_blocks"}, [&] { real().select_blocks(queue, args); });
}
void ProfiledBackend::kept_recall(Queue& queue, const KeptRecallArgs& args) {
  timed(queue, {.kind = "kept_recall"}, [&] { real().kept_recall(queue, args); });
}
void ProfiledBackend::add_squared_norm(Queue& queue, ConstTensor x, Tensor slot, Tensor workspace) {
  timed(queue, {.kind = "add_squared_norm"}, [&] { real().add_squared_norm(queue, x, slot, workspace); });
}
void ProfiledBackend::adamw(Queue& queue, const AdamWArgs& args) {
  timed(queue, {.kind = "adamw"}, [&] { real().adamw(queue, args); });
}
void ProfiledBackend::sum_parts(Queue& queue, ConstTensor parts, Tensor out) {
  timed(queue, {.kind = "sum_parts"}, [&] { real().sum_parts(queue, parts, out); });
}

void ProfiledBackend::flag_not_finite(Queue& queue, ConstTensor x, Tensor slot) {
  timed(queue, {.kind = "flag_not_finite"}, [&] { real().flag_not_finite(queue, x, slot); });
}

}  // namespace seer::cuda
