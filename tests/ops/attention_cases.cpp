// attention: output, logsumexp, block maxima and the T they give, against a plain fp64 softmax.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/ops/op_case.h"
#include "tests/ops/packs.h"

namespace seer::test {
namespace {

struct AttentionCase {
  std::string name;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  Pack pack;
  int64_t block = 0;  ///< 0: no block maxima
  bool output = true;
  bool logsumexp = true;
  int64_t head_begin = 0;
  int64_t head_count = 0;  ///< 0: all
  double magnitude = 1.0;  ///< Of q
  double scale = 0.0;      ///< 0: 1/sqrt(D)
  double tolerance = 0.0;  ///< 0: kAttentionTolerance
  bool strided = false;
};

constexpr double kAttentionTolerance = 2e-6;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

struct AttentionInputs {
  Values q, k, v;
  double scale;
  explicit AttentionInputs(const AttentionCase& c)
      : q(random_values(60, query_tokens(c.pack) * c.heads * c.head_dim, c.magnitude)),
        k(random_values(61, key_tokens(c.pack) * c.kv_heads * c.head_dim)),
        v(random_values(62, key_tokens(c.pack) * c.kv_heads * c.head_dim)),
        scale(static_cast<float>(c.scale > 0 ? c.scale : 1.0 / std::sqrt(static_cast<double>(c.head_dim)))) {}
};

Expectations reference(const AttentionCase& c) {
  const AttentionInputs in(c);
  const int64_t count = c.head_count > 0 ? c.head_count : c.heads;
  const int64_t queries = query_tokens(c.pack);
  const int64_t block = c.block > 0 ? c.block : 64;
  const std::vector<Matrix> matrices = matrices_of(c.pack, ScoreKind::kPrefill, block);
  Values output(queries * count * c.head_dim);
  Values logsumexp(count * queries);
  Values log_max(count * elements_of(matrices), kMinusInfinity);
  int64_t matrix = 0;
  for (const PackedSequence& sequence : c.pack) {
    for (const Chunk& chunk : sequence.chunks) {
      const Matrix& m = matrices[matrix++];
      for (int64_t h = 0; h < count; ++h) {
        const int64_t head = c.head_begin + h;
        const int64_t kv_head = head / (c.heads / c.kv_heads);
        for (int64_t i = 0; i < chunk.rows; ++i) {
          const int64_t row = m.token_row + i;
          const int64_t keys = chunk.position + i + 1;
          Values scores(keys);
          for (int64_t j = 0; j < keys; ++j) {
            for (int64_t e = 0; e < c.head_dim; ++e) {
              scores[j] += in.scale * in.q[(row * c.heads + head) * c.head_dim + e] *
                           in.k[((m.key_token + j) * c.kv_heads + kv_head) * c.head_dim + e];
            }
          }
          const double maximum = *std::ranges::max_element(scores);
          double sum = 0;
          for (const double s : scores) sum += std::exp(s - maximum);
          const double lse = maximum + std::log(sum);
          logsumexp[h * queries + row] = lse;
          for (int64_t j = 0; j < keys; ++j) {
            const double log_p = scores[j] - lse;
            for (int64_t e = 0; e < c.head_dim; ++e) {
              output[(row * count + h) * c.head_dim + e] +=
                  std::exp(log_p) * in.v[((m.key_token + j) * c.kv_heads + kv_head) * c.head_dim + e];
            }
            double& tile = log_max[m.offset(count, h, i / block) + j / block];
            tile = std::max(tile, log_p);
          }
        }
      }
    }
  }
  const double tolerance = c.tolerance > 0 ? c.tolerance : kAttentionTolerance;
  Expectations out;
  if (c.output) {
    out["output"] = {output, tolerance};
    out["written_outside"] = {{0.0}};
  }
  if (c.logsumexp) out["logsumexp"] = {logsumexp, tolerance};
  if (c.block > 0) {
    Values target(log_max.size());
    for (const Matrix& m : matrices) {
      for (int64_t row = 0; row < count * m.rows; ++row) {
        const int64_t first = m.before * count + row * m.blocks;
        double sum = 0;
        for (int64_t j = 0; j < m.blocks; ++j) sum += std::exp(log_max[first + j]);
        for (int64_t j = 0; j < m.blocks; ++j) target[first + j] = std::exp(log_max[first + j]) / sum;
      }
    }
    out["log_max"] = {log_max, tolerance};
    out["target"] = {target, tolerance};
  }
  return out;
}

Outputs run(Device& device, const AttentionCase& c) {
  const AttentionInputs in(c);
  const int64_t count = c.head_count > 0 ? c.head_count : c.heads;
  const int64_t queries = query_tokens(c.pack);
  const int64_t keys = key_tokens(c.pack);
  BatchLayout layout = layout_of(c.pack);
  device.prepare(layout);
  ScoreLayout blocks;
  const auto input = [&](const Shape& shape, const Values& values) {
    return c.strided ? device.upload_strided(shape, values) : device.upload(shape, values);
  };
  AttentionArgs args{.q = input(Shape{queries, c.heads, c.head_dim}, in.q),
                     .k = input(Shape{keys, c.kv_heads, c.head_dim}, in.k),
                     .layout = &layout,
                     .head_begin = c.head_begin,
                     .head_count = count,
                     .scale = static_cast<float>(in.scale)};
  if (c.output) {
    args.v = input(Shape{keys, c.kv_heads, c.head_dim}, in.v);
    args.output = device.output(args.q.shape());
  }
  if (c.logsumexp) args.logsumexp = device.output(Shape{count, queries});
  Tensor target;
  if (c.block > 0) {
    blocks = ScoreLayout::prefill(layout, c.block);
    device.prepare(blocks);
    args.blocks = &blocks;
    args.block_log_max = device.output(Shape{count, blocks.elements});
    target = device.output(Shape{count, blocks.elements});
  }
  args.workspace = device.workspace(device.backend().attention_workspace(args));
  device.backend().attention(device.queue(), args);

  Outputs out;
  if (c.block > 0) {
    device.backend().normalise_target(device.queue(), args.block_log_max, blocks, blocks, count, target);
    out["log_max"] = device.download(args.block_log_max);
    out["target"] = device.download(target);
  }
  if (c.logsumexp) out["logsumexp"] = device.download(args.logsumexp);
  if (c.output) {
    // The heads of the range; those outside must be as they were.
    const Values all = device.download(args.output);
    Values mine;
    double outside = 0;
    for (int64_t at = 0; at < static_cast<int64_t>(all.size()); ++at) {
      const int64_t head = at / c.head_dim % c.heads;
      if (head >= c.head_begin && head < c.head_begin + count) {
        mine.push_back(all[at]);
      } else if (!std::isnan(all[at])) {
        ++outside;
      }
    }
    out["output"] = mine;
    out["written_outside"] = {outside};
  }
  return out;
}

}  // namespace

OpCases attention_cases() {
  std::vector<AttentionCase> list;
  for (const int64_t head_dim : {16, 32, 80, 128}) {
    const std::string d = fmt::format("d{}", head_dim);
    list.push_back({d + "_gqa", 4, 2, head_dim, whole({203}), 32});
    list.push_back({d + "_pack", 2, 1, head_dim, whole({65, 1, 130, 17}), 16});
  }
  for (const int64_t block : {16, 32, 64, 128}) {
    list.push_back({fmt::format("block_{}", block), 2, 2, 32, whole({389, 128, 129}), block});
  }
  for (const int64_t length : {1, 2, 127, 128, 129, 255, 256, 257, 513}) {
    list.push_back({fmt::format("length_{}", length), 1, 1, 16, whole({length}), 64});
  }
  // Chunks of long sequences, as context parallelism and chunked prefill make them.
  const Pack chunks = {{300, {{128, 128}, {256, 44}}}, {77, {{0, 77}}}, {640, {{64, 64}, {512, 128}}}};
  list.push_back({"chunks", 4, 2, 32, chunks, 64});
  list.push_back({"chunks_block_16", 2, 1, 16, {{301, {{48, 160}, {288, 13}}}, {50, {{16, 32}}}}, 16});
  list.push_back({"head_range", 6, 3, 16, whole({150, 70}), 32, true, true, 2, 2});
  list.push_back({"head_range_inside_a_group", 6, 2, 16, chunks, 64, true, true, 1, 3});
  list.push_back({"output_only", 2, 1, 32, whole({200}), 0, true, false});
  list.push_back({"output_and_logsumexp", 2, 1, 32, whole({200}), 0, true, true});
  list.push_back({"maxima_only", 2, 1, 32, whole({200}), 32, false, false});
  list.push_back({"logsumexp_only", 2, 1, 32, whole({200}), 0, false, true});
  list.push_back({"strided", 4, 2, 32, whole({100, 151}), 32, true, true, 0, 0, 1.0, 0.0, 0.0, true});
  list.push_back({"mqa", 8, 1, 16, whole({140}), 64});
  list.push_back({"flat", 2, 1, 32, whole({300}), 32, true, true, 0, 0, 0.0});
  list.push_back({"scale_small", 2, 1, 64, whole({300}), 32, true, true, 0, 0, 1.0, 1e-3});
  list.push_back({"scale_one", 2, 1, 64, whole({300}), 32, true, true, 0, 0, 1.0, 1.0});
  // An fp32 dot product is off by some 1e-7 of |q||k|, and exp turns that into a relative error.
  list.push_back({"scores_of_100", 2, 1, 64, whole({300}), 32, true, true, 0, 0, 30.0, 0.0, 1e-5});
  list.push_back({"scores_of_10000", 2, 1, 64, whole({300}), 32, true, true, 0, 0, 3000.0, 0.0, 1e-4});
  OpCases cases;
  for (const AttentionCase& c : list) {
    cases.push_back({"attention_" + c.name, [=](Device& device) { return run(device, c); },
                     [=] { return reference(c); }});
  }
  return cases;
}

}  // namespace seer::test
