// How one RULER task writes a sample, for a given amount of haystack.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/core/rng.h"

namespace seer {

/// A task's text before a chat template is put around it.
struct RulerText {
  std::string body;           ///< The user's message.
  std::string answer_prefix;  ///< Follows the template.
  std::vector<std::string> outputs;
  /// If not empty: the message of a worked example that goes in front, as a turn of its own behind the same
  /// template, with the same answer prefix and then `example_answer`.
  std::string example;
  std::string example_answer;
};

/// Immutable; const calls are thread-safe.
class RulerRecipe {
 public:
  /// How much haystack a sample may have. `unit` names one of them in messages: "words of haystack".
  struct Sizes {
    int64_t least = 1;
    int64_t most = int64_t{1} << 40;
    std::string_view unit;
  };

  virtual ~RulerRecipe() = default;

  virtual Sizes sizes(int64_t index) const = 0;
  /// Sample `index` with `size` units of haystack. The same question, needles and answers for each size.
  virtual RulerText write(int64_t index, const Rng& rng, int64_t size) const = 0;
  /// What the haystack is (TaskSample::haystack).
  virtual std::string haystack() const = 0;
};

}  // namespace seer
