// token_nll against a plain fp64 logsumexp.
#include <algorithm>
#include <cmath>

#include "tests/ops/op_case.h"

namespace seer::test {
namespace {

struct NllCase {
  std::string name;
  int64_t rows;
  int64_t vocabulary;
  double magnitude = 3.0;
  bool strided = false;

  Values logits() const { return random_values(140, rows * vocabulary, magnitude); }
  /// The first and the last of the vocabulary among them; every fifth row has none.
  std::vector<int32_t> targets() const {
    std::vector<int32_t> out;
    for (int64_t s = 0; s < rows; ++s) {
      const int64_t target = s == 0 ? 0 : s == 1 ? vocabulary - 1 : s * 7919 % vocabulary;
      out.push_back(s % 5 == 4 ? -1 - static_cast<int32_t>(s) : static_cast<int32_t>(target));
    }
    return out;
  }
};

Outputs run(Device& device, const NllCase& c) {
  const Shape shape{c.rows, c.vocabulary};
  const Tensor logits =
      c.strided ? device.upload_strided(shape, c.logits()) : device.upload(shape, c.logits());
  const Tensor nll = device.output(Shape{c.rows});
  device.backend().token_nll(device.queue(), logits, device.upload_ids(c.targets()), nll);
  return {{"nll", device.download(nll)}};
}

Expectations reference(const NllCase& c) {
  const Values logits = c.logits();
  const std::vector<int32_t> targets = c.targets();
  Values nll(c.rows, 0.0);
  for (int64_t s = 0; s < c.rows; ++s) {
    if (targets[s] < 0) continue;
    const auto row = logits.begin() + s * c.vocabulary;
    const double maximum = *std::max_element(row, row + c.vocabulary);
    double sum = 0;
    for (int64_t i = 0; i < c.vocabulary; ++i) sum += std::exp(row[i] - maximum);
    nll[s] = maximum + std::log(sum) - row[targets[s]];
  }
  return {{"nll", {nll, kF32Tolerance}}};
}

}  // namespace

OpCases token_nll_cases() {
  const std::vector<NllCase> list = {
      {"small", 7, 10},
      {"one_row", 1, 257},
      {"vocabulary_of_1", 6, 1},
      {"vocabulary_of_2", 6, 2},
      {"odd", 131, 1003},
      {"strided", 9, 515, 3.0, true},
      {"large_vocabulary", 3, 151669},
      {"flat", 5, 1000, 0.0},
      {"logits_of_1000", 20, 999, 1000.0},
  };
  OpCases cases;
  for (const NllCase& c : list) {
    cases.push_back({"token_nll_" + c.name, [=](Device& device) { return run(device, c); },
                     [=] { return reference(c); }});
  }
  return cases;
}

}  // namespace seer::test
