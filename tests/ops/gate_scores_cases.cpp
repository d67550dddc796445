// gate_scores and gate_scores_backward on prefill and decode matrices, with keys in pieces and biases on distance.
#include <algorithm>
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
  int64_t pieces = 1;
  bool bias = false;

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
  Values keys() const { return random_values(81, key_rows() * pieces * key_heads * width); }
  Values biases() const { return random_values(84, heads * kDistanceTerms, 0.1); }

  /// A visible element and the vectors it is made of.
  struct Element {
    int64_t at;          ///< In the matrices
    int64_t query, key;  ///< First elements of its vectors; the key's is that of its first piece
    int64_t head;
    int64_t distance;
    bool first_block;
  };
  void for_each_visible(const std::function<void(const Element&)>& element) const {
    for (const Matrix& m : matrices()) {
      for (int64_t h = 0; h < count(); ++h) {
        const int64_t head = head_begin + h;
        const int64_t key_head = head / (heads / key_heads);
        for (int64_t i = 0; i < m.rows; ++i) {
          for (int64_t j = 0; j < seen_blocks(kind, m.position + i, block); ++j) {
            element({m.offset(count(), h, i) + j, ((m.query_row + i) * heads + head) * width,
                     ((m.key_row + j) * pieces * key_heads + key_head) * width, head, m.position + i - j,
                     j == 0});
          }
        }
      }
    }
  }

  /// First element of the best piece's key vector, and its product with the query.
  struct Best {
    int64_t key = 0;
    double product = 0;
  };
  Best best(const Values& queries, const Values& keys, const Element& e) const {
    Best best;
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t key = e.key + piece * key_heads * width;
      double sum = 0;
      for (int64_t c = 0; c < width; ++c) sum += queries[e.query + c] * keys[key + c];
      if (piece == 0 || sum > best.product) best = {key, sum};
    }
    return best;
  }
  /// How far each weight of a head's distance bias moves the element.
  Values bias_terms(const Element& e) const {
    Values terms(kDistanceTerms);
    for (int k = 0; k < kDistanceRamps; ++k) {
      const auto low = static_cast<double>(distance_knot(k));
      const auto high = static_cast<double>(distance_knot(k + 1));
      terms[k] = 32.0 * std::clamp((static_cast<double>(e.distance) - low) / (high - low), 0.0, 1.0);
    }
    terms[kDistanceRamps] = e.first_block ? 32.0 : 0.0;
    return terms;
  }

  ScoreArgs args(Device& device, const ScoreLayout& layout) const {
    ScoreArgs out{.queries = device.upload(Shape{query_rows(), heads, width}, queries(), dtype),
                  .keys = device.upload(Shape{key_rows() * pieces, key_heads, width}, keys(), dtype),
                  .layout = &layout,
                  .head_begin = head_begin,
                  .head_count = count(),
                  .scale = scale(),
                  .pieces = pieces};
    if (bias) out.distance_bias = device.upload(Shape{heads, kDistanceTerms}, biases(), dtype);
    if (pieces > 1) {
      out.best_piece = device.workspace(count() * layout.elements).reshape(Shape{count(), layout.elements});
    }
    return out;
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
            c.for_each_visible([&](const ScoreCase::Element& e) { visible.push_back(all[e.at]); });
            return {{"visible", visible}};
          },
          [=]() -> Expectations {
            const Values queries = c.queries();
            const Values keys = c.keys();
            const Values biases = c.biases();
            Values visible;
            c.for_each_visible([&](const ScoreCase::Element& e) {
              double score = c.scale() * c.best(queries, keys, e).product;
              const Values terms = c.bias_terms(e);
              for (int k = 0; c.bias && k < kDistanceTerms; ++k) {
                score += terms[k] * biases[e.head * kDistanceTerms + k];
              }
              visible.push_back(score);
            });
            return {{"visible", {visible, tolerance_of(c.dtype)}}};
          }};
}

OpCase backward(const ScoreCase& c) {
  // As kl_loss leaves it: zeros where the row sees nothing.
  const auto gradient = [=] {
    const Values random = random_values(82, c.count() * elements_of(c.matrices()));
    Values values(random.size(), 0.0);
    c.for_each_visible([&](const ScoreCase::Element& e) { values[e.at] = random[e.at]; });
    return values;
  };
  const Values before = random_values(83, c.key_rows() * c.pieces * c.key_heads * c.width);
  const Values bias_before = random_values(85, c.heads * kDistanceTerms);
  const auto in_range = [=](int64_t head) { return head >= c.head_begin && head < c.head_begin + c.count(); };
  return {fmt::format("gate_scores_backward_{}{}", c.name, suffix_of(c.dtype)),
          [=](Device& device) -> Outputs {
            ScoreLayout layout = c.layout();
            device.prepare(layout);
            const ScoreArgs args = c.args(device, layout);
            if (c.pieces > 1) {  // the best pieces are the forward's to say
              device.backend().gate_scores(device.queue(), args,
                                           device.output(Shape{c.count(), layout.elements}, c.dtype));
            }
            ScoreGradients out{.query = device.output(args.queries.shape(), c.dtype),
                               .key = device.upload(args.keys.shape(), before, c.dtype)};
            if (c.bias) {
              out.distance = device.upload(Shape{c.heads, kDistanceTerms}, bias_before, c.dtype);
              out.distance_sums = device.output(Shape{c.count(), layout.max_blocks + 1}, c.dtype);
            }
            const Tensor of_scores = device.upload(Shape{c.count(), layout.elements}, gradient(), c.dtype);
            device.backend().gate_scores_backward(device.queue(), args, of_scores, out);
            Outputs outputs{{"query_gradient", device.download(out.query)},
                            {"key_gradient", device.download(out.key)}};
            if (c.bias) outputs["distance_gradient"] = device.download(out.distance);
            return outputs;
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
            Values db = bias_before;
            c.for_each_visible([&](const ScoreCase::Element& e) {
              const int64_t key = c.best(queries, keys, e).key;
              for (int64_t n = 0; n < c.width; ++n) {
                dq[e.query + n] += c.scale() * ds[e.at] * keys[key + n];
                dk[key + n] += c.scale() * ds[e.at] * queries[e.query + n];
              }
              const Values terms = c.bias_terms(e);
              for (int k = 0; k < kDistanceTerms; ++k) db[e.head * kDistanceTerms + k] += ds[e.at] * terms[k];
            });
            Expectations expected{{"query_gradient", {dq, tolerance_of(c.dtype)}},
                                  {"key_gradient", {dk, tolerance_of(c.dtype)}}};
            if (c.bias) expected["distance_gradient"] = {db, tolerance_of(c.dtype)};
            return expected;
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
          ScoreCase{"one_block", ScoreKind::kPrefill, whole({5}), 64, 2, 1, 128, 0, 0, dtype},
          ScoreCase{"pieces_pack", ScoreKind::kPrefill, pack, 16, 4, 2, 20, 0, 0, dtype, 4},
          ScoreCase{"pieces_chunks_range", ScoreKind::kPrefill, chunks, 16, 6, 3, 12, 2, 4, dtype, 3},
          ScoreCase{"bias_pack", ScoreKind::kPrefill, pack, 16, 4, 2, 20, 0, 0, dtype, 1, true},
          ScoreCase{"bias_chunks_range", ScoreKind::kPrefill, chunks, 16, 6, 6, 12, 1, 3, dtype, 1, true},
          ScoreCase{"pieces_bias", ScoreKind::kPrefill, whole({2000}), 16, 2, 2, 16, 0, 0, dtype, 2, true}}) {
      cases.push_back(forward(c));
      cases.push_back(backward(c));
    }
  }
  return cases;
}

}  // namespace seer::test
