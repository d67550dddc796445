// gate_scores and gate_scores_backward on prefill and decode matrices.
#include <cmath>
#include <functional>

#include "tests/ops/op_case.h"
#include "tests/ops/packs.h"

namespace seer::test {
namespace {

struct ScoreCase {
  std::string name;
  ScoreKind kind;
  Pack pack;
  int64_t block;
  int64_t heads;
  int64_t key_heads;
  int64_t width;
  int64_t head_begin = 0;
  int64_t head_count = 0;  ///< 0: all
  DType dtype = DType::kF32;

  int64_t count() const { return head_count > 0 ? head_count : heads; }
  std::vector<Matrix> matrices() const { return matrices_of(pack, kind, block); }
  ScoreLayout layout() const {
    const BatchLayout batch = layout_of(pack);
    return kind == ScoreKind::kPrefill ? ScoreLayout::prefill(batch, block)
                                       : ScoreLayout::decode(batch, block, 0.5);
  }
  int64_t query_rows() const {
    const Matrix last = matrices().back();
    return last.query_row + last.rows;
  }
  int64_t key_rows() const {
    const Matrix last = matrices().back();
    return last.key_row + last.blocks;
  }
  double scale() const { return 1.0 / std::sqrt(static_cast<double>(width)); }
  Values queries() const { return random_values(80, query_rows() * heads * width); }
  Values keys() const { return random_values(81, key_rows() * key_heads * width); }

  /// element(at, query vector's first element, key vector's first element) for every visible element.
  void for_each_visible(const std::function<void(int64_t, int64_t, int64_t)>& element) const {
    for (const Matrix& m : matrices()) {
      for (int64_t h = 0; h < count(); ++h) {
        const int64_t head = head_begin + h;
        const int64_t key_head = head / (heads / key_heads);
        for (int64_t i = 0; i < m.rows; ++i) {
          for (int64_t j = 0; j < seen_blocks(kind, m.position + i, block); ++j) {
            element(m.offset(count(), h, i) + j, ((m.query_row + i) * heads + head) * width,
                    ((m.key_row + j) * key_heads + key_head) * width);
          }
        }
      }
    }
  }

  ScoreArgs args(Device& device, const ScoreLayout& layout) const {
    return {.queries = device.upload(Shape{query_rows(), heads, width}, queries(), dtype),
            .keys = device.upload(Shape{key_rows(), key_heads, width}, keys(), dtype),
            .layout = &layout,
            .head_begin = head_begin,
            .head_count = count(),
            .scale = scale()};
  }
};

OpCase forward(const ScoreCase& c) {
  return {fmt::format("gate_scores_{}{}", c.name, suffix_of(c.dtype)),
          [=](Device& device) -> Outputs {
            ScoreLayout layout = c.layout();
            device.prepare(layout);
            const Tensor scores = device.output(Shape{c.count(), layout.elements}, c.dtype);
            device.backend().gate_scores(device.queue(), c.args(device, layout), scores);
            const Values all = device.download(scores);
            Values visible;  // what the others hold is not defined
            c.for_each_visible([&](int64_t at, int64_t, int64_t) { visible.push_back(all[at]); });
            return {{"visible", visible}};
          },
          [=]() -> Expectations {
            const Values queries = c.queries();
            const Values keys = c.keys();
            Values visible;
            c.for_each_visible([&](int64_t, int64_t q, int64_t k) {
              double sum = 0;
              for (int64_t e = 0; e < c.width; ++e) sum += queries[q + e] * keys[k + e];
              visible.push_back(c.scale() * sum);
            });
            return {{"visible", {visible, tolerance_of(c.dtype)}}};
          }};
}

OpCase backward(const ScoreCase& c) {
  // As kl_loss leaves it: zeros where the row sees nothing.
  const auto gradient = [=] {
    const Values random = random_values(82, c.count() * elements_of(c.matrices()));
    Values values(random.size(), 0.0);
    c.for_each_visible([&](int64_t at, int64_t, int64_t) { values[at] = random[at]; });
    return values;
  };
  const Values before = random_values(83, c.key_rows() * c.key_heads * c.width);
  const auto in_range = [=](int64_t head) { return head >= c.head_begin && head < c.head_begin + c.count(); };
  return {fmt::format("gate_scores_backward_{}{}", c.name, suffix_of(c.dtype)),
          [=](Device& device) -> Outputs {
            ScoreLayout layout = c.layout();
            device.prepare(layout);
            const ScoreArgs args = c.args(device, layout);
            const Tensor query_gradient = device.output(args.queries.shape(), c.dtype);
            const Tensor key_gradient = device.upload(args.keys.shape(), before, c.dtype);
            device.backend().gate_scores_backward(
                device.queue(), args, device.upload(Shape{c.count(), layout.elements}, gradient(), c.dtype),
                query_gradient, key_gradient);
            return {{"query_gradient", device.download(query_gradient)},
                    {"key_gradient", device.download(key_gradient)}};
          },
          [=]() -> Expectations {
            const Values queries = c.queries();
            const Values keys = c.keys();
            const Values ds = gradient();
            Values dq(queries.size());
            for (size_t at = 0; at < dq.size(); ++at) {
              if (!in_range(static_cast<int64_t>(at) / c.width % c.heads))
                dq[at] = std::nan("");  // not written
            }
            Values dk = before;
            c.for_each_visible([&](int64_t at, int64_t q, int64_t k) {
              for (int64_t e = 0; e < c.width; ++e) {
                dq[q + e] += c.scale() * ds[at] * keys[k + e];
                dk[k + e] += c.scale() * ds[at] * queries[q + e];
              }
            });
            return {{"query_gradient", {dq, tolerance_of(c.dtype)}},
                    {"key_gradient", {dk, tolerance_of(c.dtype)}}};
          }};
}

}  // namespace

OpCases gate_scores_cases() {
  const Pack pack = whole({300, 33, 16, 1100});
  const Pack chunks = {{301, {{128, 128}, {256, 45}}}, {64, {{0, 64}}}, {96, {{32, 32}, {64, 32}}}};
  OpCases cases;
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    for (const ScoreCase& c :
         {ScoreCase{"prefill_pack", ScoreKind::kPrefill, pack, 16, 4, 2, 20, 0, 0, dtype},
          ScoreCase{"prefill_chunks", ScoreKind::kPrefill, chunks, 32, 4, 4, 8, 0, 0, dtype},
          ScoreCase{"prefill_head_range", ScoreKind::kPrefill, pack, 32, 6, 3, 12, 2, 4, dtype},
          ScoreCase{"prefill_single_gate_range", ScoreKind::kPrefill, chunks, 16, 6, 6, 12, 1, 3, dtype},
          ScoreCase{"decode_pack", ScoreKind::kDecode, whole({130, 15, 70}), 16, 2, 2, 20, 0, 0, dtype},
          ScoreCase{"decode_chunks", ScoreKind::kDecode, chunks, 32, 2, 2, 8, 0, 0, dtype},
          ScoreCase{"one_block", ScoreKind::kPrefill, whole({5}), 64, 2, 1, 128, 0, 0, dtype}}) {
      cases.push_back(forward(c));
      cases.push_back(backward(c));
    }
  }
  return cases;
}

}  // namespace seer::test
