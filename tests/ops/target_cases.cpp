// normalise_target: T of coarser blocks from the log maxima of finer ones.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/ops/op_case.h"
#include "tests/ops/packs.h"

namespace seer::test {
namespace {

constexpr int64_t kHeads = 3;

/// Log maxima as attention leaves them: at most 0, one of every row not small, -inf above the diagonal.
Values log_maxima(const Pack& pack, int64_t block, double spread) {
  const std::vector<Matrix> matrices = matrices_of(pack, ScoreKind::kPrefill, block);
  Values values = random_values(70, kHeads * elements_of(matrices), spread);
  for (const Matrix& m : matrices) {
    for (int64_t row = 0; row < kHeads * m.rows; ++row) {
      const auto begin = values.begin() + m.before * kHeads + row * m.blocks;
      std::transform(begin, begin + m.blocks, begin, [](double value) { return -std::abs(value); });
      begin[m.position + row % m.rows] = -0.5;
      for (int64_t j = m.position + row % m.rows + 1; j < m.blocks; ++j) {
        begin[j] = -std::numeric_limits<double>::infinity();
      }
    }
  }
  return values;
}

OpCase target(const std::string& name, const Pack& pack, int64_t fine, int64_t coarse, double spread = 3.0) {
  return {fmt::format("target_{}_{}_to_{}", name, fine, coarse),
          [=](Device& device) -> Outputs {
            BatchLayout batch = layout_of(pack);
            ScoreLayout from = ScoreLayout::prefill(batch, fine);
            ScoreLayout to = ScoreLayout::prefill(batch, coarse);
            device.prepare(from);
            device.prepare(to);
            const Tensor out = device.output(Shape{kHeads, to.elements});
            device.backend().normalise_target(
                device.queue(), device.upload(Shape{kHeads, from.elements}, log_maxima(pack, fine, spread)),
                from, to, kHeads, out);
            return {{"target", device.download(out)}};
          },
          [=]() -> Expectations {
            const Values maxima = log_maxima(pack, fine, spread);
            const std::vector<Matrix> from = matrices_of(pack, ScoreKind::kPrefill, fine);
            const std::vector<Matrix> to = matrices_of(pack, ScoreKind::kPrefill, coarse);
            const int64_t ratio = coarse / fine;
            Values out(kHeads * elements_of(to));
            for (size_t n = 0; n < to.size(); ++n) {
              for (int64_t h = 0; h < kHeads; ++h) {
                for (int64_t i = 0; i < from[n].rows; ++i) {
                  for (int64_t j = 0; j < from[n].blocks; ++j) {
                    double& tile = out[to[n].offset(kHeads, h, i / ratio) + j / ratio];
                    tile = std::max(tile, std::exp(maxima[from[n].offset(kHeads, h, i) + j]));
                  }
                }
                for (int64_t i = 0; i < to[n].rows; ++i) {
                  const auto row = out.begin() + to[n].offset(kHeads, h, i);
                  double sum = 0;
                  for (int64_t j = 0; j < to[n].blocks; ++j) sum += row[j];
                  for (int64_t j = 0; j < to[n].blocks; ++j) row[j] /= sum;
                }
              }
            }
            return {{"target", {out, kF32Tolerance}}};
          }};
}

}  // namespace

OpCases target_cases() {
  const Pack pack = whole({300, 16, 17, 129});
  const Pack chunks = {{301, {{128, 128}, {256, 45}}}, {64, {{0, 64}}}};
  OpCases cases = {target("pack", pack, 16, 16),        target("pack", pack, 16, 32),
                   target("pack", pack, 16, 128),       target("pack", pack, 32, 64),
                   target("chunks", chunks, 16, 64),    target("chunks", chunks, 32, 128),
                   target("peaked", pack, 16, 64, 30.0)};
  // The last rows of sequences of up to 16,384 blocks and more; odd numbers of blocks do not keep rows aligned.
  for (const int64_t blocks : {255, 1024, 1025, 4095, 4097, 16384, 16387}) {
    const Pack last_rows = {{32 * blocks, {{32 * (blocks - 2), 64}}}};
    cases.push_back(target(fmt::format("last_rows_of_{}", blocks), last_rows, 32, 32));
    cases.push_back(target(fmt::format("last_rows_of_{}", blocks), last_rows, 16, 32));
  }
  return cases;
}

}  // namespace seer::test
