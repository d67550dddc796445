#include "tests/cuda/fused_attention_case.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/cuda_backend.h"

namespace seer::test {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

Tensor between_nan(Device& device, int64_t heads, int64_t head_dim, const Values& values) {
  const int64_t width = heads * head_dim;
  const auto rows = static_cast<int64_t>(values.size()) / width;
  Values all(rows * (width + 2 * head_dim), kNaN);
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(values.begin() + r * width, width, all.begin() + r * (width + 2 * head_dim) + head_dim);
  }
  const Tensor buffer = device.upload(Shape{rows, heads + 2, head_dim}, all, DType::kBF16);
  return {static_cast<char*>(buffer.raw()) + head_dim * size_of(DType::kBF16), DType::kBF16,
          Shape{rows, heads, head_dim}, buffer.row_stride()};
}

std::string name_of(Path path) {
  return path == Path::kPortable ? "portable" : "default";
}

Device make_device(Path path) {
  return Device(make_cuda_backend({.portable_attention = path == Path::kPortable}));
}

FusedResult run_attention(Device& device, const AttentionCase& c, const AttentionProblem& p,
                          const Wanted& wanted) {
  const int64_t count = heads_computed(c);
  const int64_t queries = query_tokens(c.pack);
  BatchLayout batch = layout_of(c.pack);
  device.prepare(batch);
  AttentionArgs args{.q = between_nan(device, c.heads, c.head_dim, p.q),
                     .k = between_nan(device, c.kv_heads, c.head_dim, p.k),
                     .layout = &batch,
                     .head_begin = c.head_begin,
                     .head_count = count,
                     .scale = static_cast<float>(p.scale)};
  if (wanted.output) {
    args.v = between_nan(device, c.kv_heads, c.head_dim, p.v);
    args.output = between_nan(device, c.heads, c.head_dim, Values(p.q.size(), kNaN));
  }
  if (wanted.logsumexp) args.logsumexp = device.output(Shape{count, queries});
  ScoreLayout blocks;
  if (wanted.maxima) {
    blocks = ScoreLayout::prefill(batch, c.block);
    device.prepare(blocks);
    args.blocks = &blocks;
    args.block_log_max = device.output(Shape{count, blocks.elements});
  }
  args.workspace = device.workspace(device.backend().attention_workspace(args));
  device.backend().attention(device.queue(), args);

  FusedResult out;
  const auto target_of = [&](int64_t block) {
    ScoreLayout layout = ScoreLayout::prefill(batch, block);
    device.prepare(layout);
    const Tensor target = device.output(Shape{count, layout.elements});
    device.backend().normalise_target(device.queue(), args.block_log_max, blocks, layout, count, target);
    return device.download(target);
  };
  if (wanted.maxima) {
    out.block_log_max = device.download(args.block_log_max);
    out.target = target_of(c.block);
    for (const int64_t block : wanted.coarser) out.targets.push_back(target_of(block));
  }
  if (wanted.logsumexp) out.logsumexp = device.download(args.logsumexp);
  if (wanted.output) {
    const int64_t stride = args.output.row_stride();
    const Tensor whole(static_cast<char*>(args.output.raw()) - c.head_dim * size_of(DType::kBF16),
                       DType::kBF16, Shape{queries, stride});
    const Values all = device.download(whole);
    for (int64_t at = 0; at < static_cast<int64_t>(all.size()); ++at) {
      const int64_t head = at % stride / c.head_dim - 1;
      if (head >= c.head_begin && head < c.head_begin + count) {
        out.output.push_back(all[at]);
      } else if (!std::isnan(all[at])) {
        out.only_heads_of_the_range = false;
      }
    }
  }
  return out;
}

}  // namespace seer::test
