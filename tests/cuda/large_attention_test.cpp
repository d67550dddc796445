// Fused attention where 32 bits do not count its tensors' elements, and where sequences are as long as they get:
// sampled rows against fp64.
#include <cmath>
#include <cstring>
#include <ostream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cuda/cuda_backend.h"
#include "src/core/rng.h"
#include "src/core/thread_pool.h"
#include "tests/cuda/attention_reference.h"
#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

/// bf16 elements and what they stand for.
struct Bf16Array {
  std::vector<uint16_t> bits;
  std::vector<float> values;
};

/// Quick, uniform, of variance scale^2.
Bf16Array uniform_values(uint64_t seed, int64_t count, float scale) {
  Bf16Array array;
  array.values.resize(count);
  uint64_t state = Rng(seed).next();
  for (float& value : array.values) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    // The upper half of an fp32 is a bf16.
    const float uniform =
        static_cast<float>(static_cast<int32_t>(state >> 32)) * (scale * 1.7320508F / 2147483648.0F);
    uint32_t bits = 0;
    std::memcpy(&bits, &uniform, sizeof(bits));
    bits &= 0xffff0000U;
    array.bits.push_back(static_cast<uint16_t>(bits >> 16));
    std::memcpy(&value, &bits, sizeof(bits));
  }
  return array;
}

/// One sequence. Of q, o [tokens, heads, D] and k, v [tokens, kv_heads, D] the last heads hold numbers, the heads
/// before them zeros; attention is computed for the last query heads.
struct LargeCase {
  std::string name;
  int64_t tokens;
  int64_t heads;
  int64_t kv_heads;
  int64_t heads_used;
  int64_t kv_heads_used;
  int64_t head_dim;
  int64_t block;
  bool portable;
  int64_t samples;   ///< Block rows checked
  double tolerance;  ///< Of T; logsumexp is added up term by term in fp32, small terms onto a large sum
};

void PrintTo(const LargeCase& c, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << c.name;
}

class LargeAttention : public testing::TestWithParam<LargeCase> {};

TEST_P(LargeAttention, SampledRowsMatchFp64) {
  const LargeCase& c = GetParam();
  const std::unique_ptr<Backend> backend = make_cuda_backend({.portable_attention = c.portable});
  const int64_t q_elements = c.tokens * c.heads * c.head_dim;
  const int64_t k_elements = c.tokens * c.kv_heads * c.head_dim;
  if (backend->memory_bytes() < static_cast<size_t>(4 * (q_elements + k_elements)) + (size_t{4} << 30)) {
    GTEST_SKIP() << "too little memory on " << backend->name();
  }
  const std::unique_ptr<Queue> queue = backend->make_queue("test");
  const auto upload_last_heads = [&](const Bf16Array& array, const Shape& all, int64_t used, Buffer& buffer) {
    buffer = backend->allocate(all.numel() * size_of(DType::kBF16), Memory::kDevice);
    const Tensor tensor = buffer.tensor(DType::kBF16, all);
    const int64_t skipped = (all[1] - used) * c.head_dim * static_cast<int64_t>(size_of(DType::kBF16));
    const Shape shape{c.tokens, used, c.head_dim};
    backend->copy(
        *queue, ConstTensor(array.bits.data(), DType::kBF16, shape),
        Tensor(static_cast<char*>(tensor.raw()) + skipped, DType::kBF16, shape, tensor.row_stride()));
    backend->synchronize(*queue);
    return tensor;
  };
  const Shape q_shape{c.tokens, c.heads, c.head_dim};
  const Shape k_shape{c.tokens, c.kv_heads, c.head_dim};
  // Scores with a deviation of 3: T has rows that matter.
  const Bf16Array q = uniform_values(1, c.tokens * c.heads_used * c.head_dim, 3.0F);
  const Bf16Array k = uniform_values(2, c.tokens * c.kv_heads_used * c.head_dim, 1.0F);
  const Bf16Array v = uniform_values(3, c.tokens * c.kv_heads_used * c.head_dim, 1.0F);
  BatchLayout batch = BatchLayout::packed(std::vector<int64_t>{0, c.tokens});
  ScoreLayout blocks = ScoreLayout::prefill(batch, c.block);
  const LayoutTables batch_tables = upload_tables(*backend, *queue, batch);
  const LayoutTables block_tables = upload_tables(*backend, *queue, blocks);
  Buffer q_buffer;
  Buffer k_buffer;
  Buffer v_buffer;
  const Buffer o_buffer = backend->allocate(q_elements * size_of(DType::kBF16), Memory::kDevice);
  const Buffer maxima_buffer =
      backend->allocate(c.heads_used * blocks.elements * sizeof(float), Memory::kDevice);
  const Buffer logsumexp_buffer = backend->allocate(c.heads_used * c.tokens * sizeof(float), Memory::kDevice);
  AttentionArgs args{.q = upload_last_heads(q, q_shape, c.heads_used, q_buffer),
                     .k = upload_last_heads(k, k_shape, c.kv_heads_used, k_buffer),
                     .v = upload_last_heads(v, k_shape, c.kv_heads_used, v_buffer),
                     .layout = &batch,
                     .head_begin = c.heads - c.heads_used,
                     .head_count = c.heads_used,
                     .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim))),
                     .output = o_buffer.tensor(DType::kBF16, q_shape),
                     .logsumexp = logsumexp_buffer.tensor(DType::kF32, Shape{c.heads_used, c.tokens}),
                     .block_log_max = maxima_buffer.tensor(DType::kF32, Shape{c.heads_used, blocks.elements}),
                     .blocks = &blocks};
  const Buffer workspace = backend->allocate(backend->attention_workspace(args), Memory::kDevice);
  args.workspace = workspace.tensor(DType::kU8, Shape{static_cast<int64_t>(workspace.bytes())});
  backend->attention(*queue, args);
  const std::vector<float> logsumexp = download(*backend, *queue, args.logsumexp);

  // The first and the last block rows and some between, heads in turn.
  const int64_t group = c.heads / c.kv_heads;
  const int64_t first_kv_head = c.kv_heads - c.kv_heads_used;
  std::vector<ReferenceHead> references;
  for (int64_t h = 0; h < c.kv_heads_used; ++h) {
    references.emplace_back(k.values.data() + h * c.head_dim, v.values.data() + h * c.head_dim,
                            c.kv_heads_used * c.head_dim, c.tokens, c.head_dim);
  }
  ThreadPool pool(ThreadPool::hardware_threads());
  const int64_t num_blocks = blocks.max_blocks;
  for (int64_t sample = 0; sample < c.samples; ++sample) {
    const int64_t block_row = sample * (num_blocks - 1) / (c.samples - 1);
    const int64_t h = sample % c.heads_used;
    SCOPED_TRACE(fmt::format("block row {} of head {}", block_row, args.head_begin + h));
    const int64_t first = block_row * c.block;
    std::vector<ReferenceHead::Row> rows(std::min(c.block, c.tokens - first));
    const ReferenceHead& reference = references[(args.head_begin + h) / group - first_kv_head];
    pool.run(static_cast<int64_t>(rows.size()), [&](int64_t i, int) {
      rows[i] = reference.attend(q.values.data() + ((first + i) * c.heads_used + h) * c.head_dim, first + i,
                                 args.scale, c.block);
    });

    const Tensor o = args.output.slice_rows(first, static_cast<int64_t>(rows.size()));
    std::vector<uint16_t> bits(o.numel());
    backend->copy(*queue, o, Tensor(bits.data(), DType::kBF16, o.shape()));
    const Tensor all_maxima = args.block_log_max.reshape(Shape{c.heads_used * num_blocks, num_blocks});
    const std::vector<float> log_maxima =
        download(*backend, *queue, all_maxima.slice_rows(h * num_blocks + block_row, 1));
    std::vector<float> values(bits.size());
    convert_to_f32(bits.data(), DType::kBF16, static_cast<int64_t>(bits.size()), values.data());
    Values output;
    Values expected_output;
    Values expected_maxima(num_blocks, -std::numeric_limits<double>::infinity());
    for (size_t i = 0; i < rows.size(); ++i) {
      const float* row = values.data() + static_cast<int64_t>(i) * c.heads * c.head_dim;
      const float* mine = row + (args.head_begin + h) * c.head_dim;
      output.insert(output.end(), mine, mine + c.head_dim);
      expected_output.insert(expected_output.end(), rows[i].output.begin(), rows[i].output.end());
      for (const float* x = row; x < row + args.head_begin * c.head_dim; ++x)
        ASSERT_EQ(*x, 0.0F) << "another head's";
      EXPECT_NEAR(logsumexp[h * c.tokens + first + static_cast<int64_t>(i)], rows[i].logsumexp,
                  10 * c.tolerance);
      for (size_t j = 0; j < rows[i].block_log_max.size(); ++j) {
        expected_maxima[j] = std::max(expected_maxima[j], rows[i].block_log_max[j]);
      }
    }
    EXPECT_LE(relative_error(output, expected_output), 2.5e-3);
    Values target;
    Values expected_target;
    double sum = 0;
    double expected_sum = 0;
    for (int64_t j = 0; j < num_blocks; ++j) {
      target.push_back(std::exp(static_cast<double>(log_maxima[j])));
      expected_target.push_back(std::exp(expected_maxima[j]));
      sum += target.back();
      expected_sum += expected_target.back();
    }
    for (double& value : target) value /= sum;
    for (double& value : expected_target) value /= expected_sum;
    EXPECT_LE(relative_error(target, expected_target), c.tolerance);
  }
}

std::vector<LargeCase> large_cases() {
  std::vector<LargeCase> cases;
  for (const bool portable : {true, false}) {
    const std::string path = portable ? "portable" : "default";
    cases.push_back({path + "_65536_tokens", 65536, 8, 2, 8, 2, 128, 64, portable, 64, 1e-5});
    cases.push_back({path + "_131072_tokens", 131072, 8, 2, 8, 2, 128, 64, portable, 64, 1e-5});
    // q and o have 2.4e9 elements, the heads computed lie at their end.
    cases.push_back({path + "_more_than_2_to_31_elements", 262144, 72, 8, 2, 1, 128, 32, portable, 16, 1e-5});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, LargeAttention, testing::ValuesIn(large_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace seer::test
