#include "data/tasks/word_counting.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

#include "data/tasks/random_text.h"
#include "data/tasks/words.h"
#include "src/core/error.h"

namespace seer {
namespace {

constexpr int64_t kCommon = 10;
constexpr int64_t kShortLength = 4096;  // shorter samples have fewer repetitions

struct Repetitions {
  int64_t common;
  int64_t others;
};

struct WordList {
  std::vector<std::string> distinct;  // the common ones first
  std::vector<std::string_view> shuffled;

  std::string numbered() const { return number(shuffled); }
  std::string answer() const { return number(std::span(distinct).first(kCommon)); }

  template <typename Words>
  static std::string number(const Words& words) {
    std::string text;
    int64_t i = 0;
    for (const auto& word : words) text += fmt::format("{}{}. {}", i > 0 ? " " : "", i + 1, word), ++i;
    return text;
  }
};

/// `count` different words. RULER goes on to a list of 370,000 words where a list of 8,700 ends (past 128k
/// tokens); ours goes on to pairs of these words.
std::vector<std::string> draw_words(Rng rng, int64_t count) {
  std::vector<std::string_view> pool = all_words();
  rng.shuffle(std::span(pool));
  pool.resize(std::min(pool.size(), static_cast<size_t>(count)));
  std::vector<std::string> words(pool.begin(), pool.end());
  std::unordered_set<std::string> used(words.begin(), words.end());
  while (static_cast<int64_t>(words.size()) < count) {
    std::string pair = random_word_pair(rng);
    if (used.insert(pair).second) words.push_back(std::move(pair));
  }
  return words;
}

WordList make_list(const Rng& rng, int64_t num_words, Repetitions repetitions) {
  WordList list;
  list.distinct = draw_words(rng.fork("words"), num_words);
  for (int64_t i = 0; i < num_words; ++i) {
    const int64_t times = i < kCommon ? repetitions.common : repetitions.others;
    list.shuffled.insert(list.shuffled.end(), static_cast<size_t>(times),
                         list.distinct[static_cast<size_t>(i)]);
  }
  Rng order = rng.fork("order");
  order.shuffle(std::span(list.shuffled));
  return list;
}

std::string ask_common(const WordList& list) {
  return fmt::format(
      "Below is a numbered list of words. In these words, some appear more often than others. Memorize the "
      "ones that appear most often.\n{}\nQuestion: What are the {} most common words in the above list?",
      list.numbered(), kCommon);
}

class CommonWords : public RulerRecipe {
 public:
  explicit CommonWords(int64_t length) : short_(length < kShortLength) {}

  Sizes sizes(int64_t /*index*/) const override { return {.least = kCommon + 1, .unit = "different words"}; }

  RulerText write(int64_t /*index*/, const Rng& rng, int64_t size) const override {
    const WordList example =
        make_list(rng.fork("example"), short_ ? 20 : 40, short_ ? Repetitions{3, 1} : Repetitions{10, 3});
    const WordList list = make_list(rng.fork("list"), size, short_ ? Repetitions{6, 1} : Repetitions{30, 3});
    RulerText text;
    text.body = ask_common(list);
    text.answer_prefix =
        fmt::format(" Answer: The top {} words that appear most often in the list are:", kCommon);
    text.outputs.assign(list.distinct.begin(), list.distinct.begin() + kCommon);
    text.example = ask_common(example);
    text.example_answer = example.answer();
    return text;
  }

  std::string haystack() const override { return "words"; }

 private:
  bool short_;
};

constexpr int kCodedLetters = 6;
constexpr int64_t kTokensPerCodedWord = 50;  // of the vocabulary
// From here on, the counts of ranks 4 and 5 differ: n / zeta(2) (1/16 - 1/25) > 1.
constexpr int64_t kLeastFrequentWords = 80;
constexpr double kZetaOfTwo = std::numbers::pi * std::numbers::pi / 6;

class FrequentWords : public RulerRecipe {
 public:
  explicit FrequentWords(int64_t input_tokens)
      : vocabulary_(std::max<int64_t>(input_tokens / kTokensPerCodedWord, 5)) {}

  Sizes sizes(int64_t /*index*/) const override {
    return {.least = kLeastFrequentWords, .unit = "coded words"};
  }

  RulerText write(int64_t /*index*/, const Rng& rng, int64_t size) const override {
    const std::vector<std::string> vocabulary = make_vocabulary(rng.fork("vocabulary"));
    std::vector<std::string_view> words;
    for (size_t i = 0; i < vocabulary.size(); ++i) {
      const auto rank = static_cast<double>(i + 1);
      const auto count = static_cast<size_t>(static_cast<double>(size) / (rank * rank) / kZetaOfTwo);
      words.insert(words.end(), count, vocabulary[i]);
    }
    Rng order = rng.fork("order");
    order.shuffle(std::span(words));
    RulerText text;
    text.body = fmt::format(
        "Read the following coded text and track the frequency of each coded word. Find the three most "
        "frequently appeared coded words. {}\nQuestion: Do not provide any explanation. Please ignore the "
        "dots "
        "'....'. What are the three most frequently appeared words in the above coded text?",
        fmt::join(words, " "));
    text.answer_prefix =
        " Answer: According to the coded text above, the three most frequently appeared words are:";
    text.outputs.assign(vocabulary.begin() + 1, vocabulary.begin() + 4);
    return text;
  }

  std::string haystack() const override { return "coded words"; }

 private:
  /// By rank; the first is the noise "...".
  std::vector<std::string> make_vocabulary(Rng rng) const {
    std::vector<std::string> vocabulary = {"..."};
    std::unordered_set<std::string> used;
    while (static_cast<int64_t>(vocabulary.size()) < vocabulary_) {
      std::string word = random_letters(rng, kCodedLetters, 'a');
      if (used.insert(word).second) vocabulary.push_back(std::move(word));
    }
    return vocabulary;
  }

  int64_t vocabulary_;
};

}  // namespace

std::unique_ptr<RulerRecipe> make_common_words(int64_t length) {
  return std::make_unique<CommonWords>(length);
}

std::unique_ptr<RulerRecipe> make_frequent_words(int64_t input_tokens) {
  return std::make_unique<FrequentWords>(input_tokens);
}

}  // namespace seer
