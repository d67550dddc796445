// Operations around sparse attention that read bf16: NLL of logits, antidiagonal scores of q and k.
#include <cmath>

#include "tests/cuda/bf16_case.h"
#include "tests/ops/packs.h"

namespace seer::test {
namespace {

Bf16Case token_nll_case(int64_t rows, int64_t vocabulary, double magnitude, Rows layout) {
  return {
      fmt::format("token_nll_{}x{}_of_{}_{}", rows, vocabulary, static_cast<int>(magnitude), name_of(layout)),
      [=](Device& device) {
        const Activation logits(device, Shape{rows, vocabulary}, layout,
                                bf16_values(31, rows * vocabulary, magnitude));
        std::vector<int32_t> targets;
        for (int64_t s = 0; s < rows; ++s) {
          targets.push_back(s % 5 == 3 ? -1 : static_cast<int32_t>((s * 7919 + 1) % vocabulary));
        }
        const Tensor nll = device.output(Shape{rows});
        device.backend().token_nll(device.queue(), logits, device.upload_ids(targets), nll);
        return Outputs{{"nll", {device.download(nll), Rounding::kFp32}}};
      }};
}

Bf16Case antidiagonal_case(const std::string& name, const Pack& pack, int64_t heads, int64_t kv_heads,
                           int64_t head_dim, int64_t block, int64_t stride, Rows rows) {
  return {
      fmt::format("antidiagonal_{}_d{}_block_{}_stride_{}_{}", name, head_dim, block, stride, name_of(rows)),
      [=](Device& device) {
        BatchLayout layout = layout_of(pack);
        ScoreLayout blocks = ScoreLayout::prefill(layout, block);
        device.prepare(layout);
        device.prepare(blocks);
        const Activation q(device, Shape{query_tokens(pack), heads, head_dim}, rows,
                           bf16_values(32, query_tokens(pack) * heads * head_dim, 3.0));
        const Activation k(device, Shape{key_tokens(pack), kv_heads, head_dim}, rows,
                           bf16_values(33, key_tokens(pack) * kv_heads * head_dim));
        AntidiagonalArgs args{.q = q,
                              .k = k,
                              .layout = &layout,
                              .blocks = &blocks,
                              .stride = stride,
                              .head_begin = 0,
                              .head_count = heads,
                              .scale = 1.0F / std::sqrt(static_cast<float>(head_dim)),
                              .scores = device.output(Shape{heads, blocks.elements})};
        args.workspace = device.workspace(device.backend().antidiagonal_workspace(args));
        device.backend().antidiagonal_scores(device.queue(), args);
        const Values all = device.download(args.scores);
        Values visible;
        for (const Matrix& m : matrices_of(pack, ScoreKind::kPrefill, block)) {
          for (int64_t h = 0; h < heads; ++h) {
            for (int64_t i = 0; i < m.rows; ++i) {
              const auto row = all.begin() + m.offset(heads, h, i);
              visible.insert(visible.end(), row, row + m.position + i + 1);
            }
          }
        }
        return Outputs{{"scores", {visible, Rounding::kFp32}}};
      }};
}

}  // namespace

Bf16Cases bf16_sparse_cases() {
  Bf16Cases cases;
  for (const Rows rows : kAllRows) {
    cases.push_back(token_nll_case(37, 1000, 3.0, rows));
    cases.push_back(token_nll_case(5, 128256, 3.0, rows));
    cases.push_back(token_nll_case(9, 1003, 100.0, rows));
    cases.push_back(antidiagonal_case("pack", whole({300, 33, 129}), 4, 2, 64, 64, 8, rows));
  }
  const Pack chunks = {{300, {{128, 128}, {256, 44}}}, {77, {{0, 77}}}, {640, {{128, 128}, {512, 128}}}};
  for (const int64_t block : {32, 64, 128}) {
    for (const int64_t stride : {1, 8, 16}) {
      cases.push_back(antidiagonal_case("chunks", chunks, 2, 1, 128, block, stride, Rows::kColumns));
    }
  }
  return cases;
}

}  // namespace seer::test
