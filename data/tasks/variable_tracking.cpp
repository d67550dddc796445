#include "data/tasks/variable_tracking.h"

#include <algorithm>
#include <vector>

#include <fmt/ranges.h>

#include "data/tasks/fit.h"
#include "data/tasks/noise.h"
#include "data/tasks/random_text.h"
#include "src/core/error.h"

namespace seer {
namespace {

constexpr int64_t kHops = 4;
constexpr int64_t kVariables = kHops + 1;
constexpr int kNameLetters = 5;
constexpr int kExampleNameLetters = 3;
constexpr int64_t kExampleTokens = 500;
constexpr int64_t kLeastValue = 10000, kValues = 89999;

struct Chain {
  std::vector<std::string> names;  // in the order of assignment
  std::string value;
  std::vector<std::string> lines;
};

Chain make_chain(Rng rng, int letters) {
  Chain chain;
  while (static_cast<int64_t>(chain.names.size()) < kVariables) {
    std::string name = random_letters(rng, letters, 'A');
    if (std::find(chain.names.begin(), chain.names.end(), name) == chain.names.end())
      chain.names.push_back(std::move(name));
  }
  chain.value = std::to_string(kLeastValue + static_cast<int64_t>(rng.below(kValues)));
  chain.lines.push_back(fmt::format("VAR {} = {}", chain.names[0], chain.value));
  for (size_t i = 1; i < chain.names.size(); ++i)
    chain.lines.push_back(fmt::format("VAR {} = VAR {} ", chain.names[i], chain.names[i - 1]));
  return chain;
}

std::string answer_prefix(const Chain& chain) {
  return fmt::format(
      " Answer: According to the chain(s) of variable assignment in the text above, {} variables are "
      "assigned "
      "the value {}, they are: ",
      kVariables, chain.value);
}

/// The chain's lines in order at random places among `noise` lines, and the question.
std::string problem(const Chain& chain, Rng rng, int64_t noise) {
  std::vector<std::string_view> lines(static_cast<size_t>(noise), kNoise);
  std::vector<int64_t> places = choose(rng, kVariables, noise);
  std::sort(places.begin(), places.end());
  for (int64_t i = 0; i < kVariables; ++i)
    lines.insert(lines.begin() + places[static_cast<size_t>(i)] + i, chain.lines[static_cast<size_t>(i)]);
  return fmt::format(
      "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{}\n"
      "Question: Find all variables that are assigned the value {} in the text above.",
      fmt::join(lines, "\n"), chain.value);
}

std::string solved_example(const Rng& rng, int64_t noise) {
  const Chain chain = make_chain(rng.fork("chain"), kExampleNameLetters);
  return fmt::format("{}{} {}\n", problem(chain, rng.fork("places"), noise), answer_prefix(chain),
                     fmt::join(chain.names, " "));
}

class VariableTracking : public RulerRecipe {
 public:
  explicit VariableTracking(const std::function<int64_t(std::string_view)>& count_tokens)
      : example_noise_(largest_that_fits(kVariables, kExampleTokens, kExampleTokens, [&](int64_t noise) {
                         return count_tokens(solved_example(Rng(0), noise));
                       }).size) {}

  Sizes sizes(int64_t /*index*/) const override { return {.least = kVariables, .unit = "lines of noise"}; }

  RulerText write(int64_t /*index*/, const Rng& rng, int64_t size) const override {
    const Chain chain = make_chain(rng.fork("chain"), kNameLetters);
    RulerText text;
    text.body = fmt::format("{}\n{}", solved_example(rng.fork("example"), example_noise_),
                            problem(chain, rng.fork("places"), size));
    text.answer_prefix = answer_prefix(chain);
    text.outputs = chain.names;
    return text;
  }

  std::string haystack() const override { return "noise"; }

 private:
  int64_t example_noise_;
};

}  // namespace

std::unique_ptr<RulerRecipe> make_variable_tracking(
    const std::function<int64_t(std::string_view)>& count_tokens) {
  return std::make_unique<VariableTracking>(count_tokens);
}

}  // namespace seer
