#include "tests/cuda/emulation/emulated_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include <gtest/gtest.h>

#include "cuda/attention/sparse.h"
#include "src/core/rng.h"

namespace seer::test {
namespace {

/// [rows, heads, D] in bf16 with a head of NaN before and behind every row.
class HostTensor {
 public:
  HostTensor(int64_t heads, int64_t head_dim, const Values& values)
      : rows_(static_cast<int64_t>(values.size()) / (heads * head_dim)),
        head_dim_(head_dim),
        stride_((heads + 2) * head_dim),
        bits_(rows_ * stride_, 0xFFFF) {
    const std::vector<float> wide(values.begin(), values.end());
    for (int64_t row = 0; row < rows_; ++row) {
      convert_from_f32(wide.data() + row * heads * head_dim, heads * head_dim, DType::kBF16,
                       bits_.data() + row * stride_ + head_dim);
    }
  }

  int64_t rows() const { return rows_; }
  int64_t stride() const { return stride_; }
  __nv_bfloat16* first_head() { return reinterpret_cast<__nv_bfloat16*>(bits_.data()) + head_dim_; }

  /// [rows, heads + 2, D]
  std::vector<float> all() const {
    std::vector<float> wide(bits_.size());
    convert_to_f32(bits_.data(), DType::kBF16, static_cast<int64_t>(bits_.size()), wide.data());
    return wide;
  }

 private:
  int64_t rows_, head_dim_, stride_;
  std::vector<uint16_t> bits_;
};

/// SparseParams::order of all kv heads used.
std::vector<cuda::BlockRow> order_of(const cuda::SparseParams& p, size_t segments, const EmulatedRun& how) {
  std::vector<cuda::BlockRow> rows;
  for (size_t s = 0; s < segments; ++s) {
    for (int64_t i = 0; i < p.matrices[s].queries.rows; ++i)
      rows.push_back({static_cast<int32_t>(p.matrices[s].queries.row + i), static_cast<int32_t>(s)});
  }
  Rng random = Rng(how.settings.seed).fork("order");
  std::vector<cuda::BlockRow> order;
  for (int32_t number = 0; number < cuda::kv_heads_used(p); ++number) {
    const cuda::HeadGroup group = cuda::head_group(p, number);
    const auto kept = [&](const cuda::BlockRow& row) {
      int32_t sum = 0;
      for (int32_t h = group.first; h < group.first + group.count; ++h)
        sum += p.counts[h * p.block_rows + row.row];
      return sum;
    };
    std::vector<cuda::BlockRow> mine = rows;
    if (how.longest_first) {
      std::ranges::stable_sort(mine, std::greater(), kept);
    } else {
      random.shuffle(std::span(mine));
    }
    order.insert(order.end(), mine.begin(), mine.end());
  }
  return order;
}

}  // namespace

EmulatedRun run_number(uint64_t number) {
  return {.settings = {.seed = number},
          .thread_blocks = 1 + static_cast<int>(number % 3),
          .longest_first = number / 2 % 2 == 0,
          .rows_together = number % 2 == 0};
}

Values run_emulated(const SparseCase& c, const AttentionProblem& p, int64_t head_begin, int64_t head_count,
                    const EmulatedRun& how) {
  const BatchLayout batch = layout_of(p.pack);
  const ScoreLayout score_blocks = ScoreLayout::prefill(batch, c.attention.block);
  HostTensor q(p.heads, p.head_dim, p.q), k(p.kv_heads, p.head_dim, p.k), v(p.kv_heads, p.head_dim, p.v);
  HostTensor o(p.heads, p.head_dim, Values(p.q.size(), std::nan("")));
  const KeptBlocks kept = kept_blocks(c, head_begin, head_count);
  const Values counted = kept.counts(), listed = kept.padded_blocks();
  const std::vector<int32_t> counts(counted.begin(), counted.end()), blocks(listed.begin(), listed.end());
  int32_t work_counter = 0;
  cuda::SparseParams params{
      .q = q.first_head(),
      .k = k.first_head(),
      .v = v.first_head(),
      .o = o.first_head(),
      .q_stride = q.stride(),
      .k_stride = k.stride(),
      .v_stride = v.stride(),
      .o_stride = o.stride(),
      .query_rows = q.rows(),
      .key_rows = k.rows(),
      .heads = static_cast<int32_t>(p.heads),
      .kv_heads = static_cast<int32_t>(p.kv_heads),
      .head_begin = static_cast<int32_t>(head_begin),
      .head_count = static_cast<int32_t>(head_count),
      .scale_log2 = static_cast<float>(p.scale * std::numbers::log2e),
      .segments = batch.segments.host.data(),
      .matrices = score_blocks.segments.host.data(),
      .block_size = static_cast<int32_t>(c.attention.block),
      .block_rows = static_cast<int32_t>(score_blocks.num_query_rows),
      .counts = counts.data(),
      .blocks = blocks.data(),
      .work_counter = &work_counter,
  };
  const std::vector<cuda::BlockRow> order = order_of(params, batch.segments.host.size(), how);
  params.order = order.data();
  const std::vector<int32_t> rows_together(cuda::kv_heads_used(params),
                                           how.rows_together ? cuda::kRowsTogether : 1);
  params.rows_together = rows_together.data();

  emulation::launch_settings() = how.settings;
  cuda::sparse_attention_hopper(params, p.head_dim, how.thread_blocks, nullptr);

  const std::vector<float> all = o.all();
  return written_heads(Values(all.begin(), all.end()), o.stride(), p.head_dim, head_begin, head_count);
}

}  // namespace seer::test
