#include "src/sparse/scoring_method.h"

#include <array>

#include "src/core/error.h"

namespace seer {
namespace {

using Kind = ScoringMethod::Kind;

struct Name {
  std::string_view name;
  ScoringMethod method;
};

constexpr std::array<Name, 8> kNames = {{{"gate", {Kind::kGate, 0, 0}},
                                         {"oracle", {Kind::kOracle, 0, 0}},
                                         {"minmax", {Kind::kMinMaxBound, 0, 0}},
                                         {"mean", {Kind::kMeanPooled, 0, 0}},
                                         {"antidiagonal8", {Kind::kAntidiagonal, 8, 0}},
                                         {"antidiagonal16", {Kind::kAntidiagonal, 16, 0}},
                                         {"window", {Kind::kWindow, 0, 0}},
                                         {"random", {Kind::kRandom, 0, 0}}}};

}  // namespace

ScoringMethod parse_scoring_method(std::string_view name) {
  for (const Name& known : kNames) {
    if (known.name == name) return known.method;
  }
  fail_usage("method \"{}\" is not known: one of {} was expected", name,
             fmt::join(scoring_method_names(), ", "));
}

std::string to_string(const ScoringMethod& method) {
  for (const Name& known : kNames) {
    if (known.method.kind == method.kind && known.method.stride == method.stride)
      return std::string(known.name);
  }
  fail("a scoring method of stride {} has no name", method.stride);
}

const std::vector<std::string>& scoring_method_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    list.reserve(kNames.size());
    for (const Name& known : kNames) list.emplace_back(known.name);
    return list;
  }();
  return names;
}

}  // namespace seer
