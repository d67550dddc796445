#include "data/tasks/niah.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

#include "data/tasks/noise.h"
#include "data/tasks/random_text.h"
#include "data/tasks/words.h"
#include "src/core/error.h"

namespace seer {
namespace {

constexpr int kNumberDigits = 7;
constexpr int64_t kLeastEssayWords = 100;
constexpr int64_t kDepths = 40;  // a needle lies at one of so many depths, evenly spread over the text

std::string random_needle_part(NiahShape::Needle kind, Rng& rng) {
  switch (kind) {
    case NiahShape::Needle::kWords:
      return random_word_pair(rng);
    case NiahShape::Needle::kNumbers:
      return random_number(rng, kNumberDigits);
    case NiahShape::Needle::kUuids:
      return random_uuid(rng);
  }
  fail("needle kind {}", static_cast<int>(kind));
}

std::string_view plural_of(NiahShape::Needle kind) {
  switch (kind) {
    case NiahShape::Needle::kWords:
      return "words";
    case NiahShape::Needle::kNumbers:
      return "numbers";
    case NiahShape::Needle::kUuids:
      return "uuids";
  }
  fail("needle kind {}", static_cast<int>(kind));
}

/// A part that no needle of the sample has yet: an answer that a distractor gives too would be no answer.
std::string fresh_part(NiahShape::Needle kind, Rng& rng, std::set<std::string>& used) {
  for (;;) {
    std::string part = random_needle_part(kind, rng);
    if (used.insert(part).second) return part;
  }
}

struct Needles {
  std::vector<std::string> keys;
  std::vector<std::vector<std::string>> values;  // by key
  std::vector<std::string> sentences;            // shuffled
  std::set<std::string> used;
};

class Niah : public RulerRecipe {
 public:
  Niah(const NiahShape& shape, std::shared_ptr<const Haystack> haystack)
      : shape_(shape), haystack_(std::move(haystack)) {
    SEER_CHECK(shape.queries <= shape.keys, "{} queries of {} keys", shape.queries, shape.keys);
    SEER_CHECK(shape.hay != NiahShape::Hay::kEssay || haystack_ != nullptr, "an essay task without text");
  }

  Sizes sizes(int64_t /*index*/) const override {
    const int64_t needles = shape_.keys * shape_.values;
    switch (shape_.hay) {
      case NiahShape::Hay::kNoise:
        return {.least = needles, .unit = "lines of noise"};
      case NiahShape::Hay::kEssay:
        return {.least = kLeastEssayWords, .unit = "words of haystack"};
      case NiahShape::Hay::kNeedles:
        return {.least = needles, .unit = "other needles"};
    }
    fail("hay {}", static_cast<int>(shape_.hay));
  }

  RulerText write(int64_t /*index*/, const Rng& rng, int64_t size) const override {
    Needles needles = make_needles(rng.fork("needles"));
    const std::string context = shape_.hay == NiahShape::Hay::kEssay ? hide_in_text(needles, rng, size)
                                                                     : hide_in_lines(needles, rng, size);
    return ask(needles, rng.fork("query"), context);
  }

  std::string haystack() const override {
    switch (shape_.hay) {
      case NiahShape::Hay::kNoise:
        return "noise";
      case NiahShape::Hay::kEssay:
        return haystack_->description();
      case NiahShape::Hay::kNeedles:
        return "needles";
    }
    fail("hay {}", static_cast<int>(shape_.hay));
  }

 private:
  std::string needle(std::string_view key, std::string_view value) const {
    return fmt::format("One of the special magic {} for {} is: {}.", plural_of(shape_.value), key, value);
  }

  Needles make_needles(Rng rng) const {
    Needles needles;
    for (int64_t k = 0; k < shape_.keys; ++k) {
      needles.keys.push_back(fresh_part(shape_.key, rng, needles.used));
      needles.values.emplace_back();
      for (int64_t v = 0; v < shape_.values; ++v) {
        needles.values.back().push_back(fresh_part(shape_.value, rng, needles.used));
        needles.sentences.push_back(needle(needles.keys.back(), needles.values.back().back()));
      }
    }
    rng.shuffle(std::span(needles.sentences));
    return needles;
  }

  /// Needles between the sentences of running text, each at its own depth.
  std::string hide_in_text(const Needles& needles, const Rng& rng, int64_t num_words) const {
    Rng depths = rng.fork("depths");
    const std::vector<std::string_view> sentences = haystack_->sentences(num_words);
    std::vector<size_t> positions;
    for (const int64_t step : choose(depths, static_cast<int64_t>(needles.sentences.size()), kDepths)) {
      const double percent = std::nearbyint(100.0 * static_cast<double>(step) / (kDepths - 1));
      positions.push_back(static_cast<size_t>(static_cast<double>(sentences.size()) * (percent / 100)));
    }
    std::sort(positions.begin(), positions.end());
    std::vector<std::string_view> pieces;
    size_t next = 0;
    for (size_t i = 0; i < positions.size(); ++i) {
      for (; next < positions[i]; ++next) pieces.push_back(sentences[next]);
      pieces.emplace_back(needles.sentences[i]);
    }
    for (; next < sentences.size(); ++next) pieces.push_back(sentences[next]);
    return fmt::format("{}", fmt::join(pieces, " "));
  }

  /// Needles as lines among `size` lines of noise or of other needles.
  std::string hide_in_lines(Needles& needles, const Rng& rng, int64_t size) const {
    std::vector<std::string> lines(static_cast<size_t>(size), std::string(kNoise));
    if (shape_.hay == NiahShape::Hay::kNeedles) {
      Rng distractors = rng.fork("distractors");
      for (std::string& line : lines) {
        const std::string key = fresh_part(shape_.key, distractors, needles.used);
        line = needle(key, fresh_part(shape_.value, distractors, needles.used));
      }
    }
    Rng places = rng.fork("places");
    std::vector<int64_t> positions = choose(places, static_cast<int64_t>(needles.sentences.size()), size);
    std::sort(positions.rbegin(), positions.rend());  // from the back, so that places in front stay
    for (size_t i = 0; i < positions.size(); ++i)
      lines.insert(lines.begin() + positions[i], needles.sentences[i]);
    return fmt::format("{}", fmt::join(lines, "\n"));
  }

  RulerText ask(const Needles& needles, Rng rng, const std::string& context) const {
    RulerText text;
    std::vector<std::string> queries;
    for (const int64_t k : choose(rng, shape_.queries, shape_.keys)) {
      queries.push_back(needles.keys[static_cast<size_t>(k)]);
      const auto& values = needles.values[static_cast<size_t>(k)];
      text.outputs.insert(text.outputs.end(), values.begin(), values.end());
    }
    std::string query = queries.back();
    if (queries.size() > 1)
      query = fmt::format("{}, and {}", fmt::join(queries.begin(), queries.end() - 1, ", "), query);

    std::string_view what = plural_of(shape_.value);
    const bool one = text.outputs.size() == 1;
    if (one) what.remove_suffix(1);
    text.body = fmt::format(
        "{} special magic {} {} hidden within the following text. Make sure to memorize it. I will quiz you "
        "about the {} afterwards.\n{}\nWhat {} special magic {} for {} mentioned in the provided text?",
        one ? "A" : "Some", what, one ? "is" : "are", what, context, one ? "is the" : "are all the", what,
        query);
    text.answer_prefix = fmt::format(" The special magic {} for {} mentioned in the provided text {}", what,
                                     query, one ? "is" : "are");
    return text;
  }

  NiahShape shape_;
  std::shared_ptr<const Haystack> haystack_;
};

}  // namespace

std::unique_ptr<RulerRecipe> make_niah(const NiahShape& shape, std::shared_ptr<const Haystack> haystack) {
  return std::make_unique<Niah>(shape, std::move(haystack));
}

}  // namespace seer
