#include "data/tasks/rouge_l.h"

#include <algorithm>
#include <cstdint>
#include <unordered_set>
#include <vector>

#include "data/tasks/text.h"

namespace seer {
namespace {

using Sentence = std::vector<std::string_view>;
using WordSet = std::unordered_set<std::string_view>;

/// Between full stops. A stretch of white space is a sentence of one empty word, as that package has it; an
/// empty stretch is none.
std::vector<Sentence> cut_sentences(std::string_view text) {
  std::vector<Sentence> sentences;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    if (end > begin) {
      sentences.push_back(split_white_space(text.substr(begin, end - begin)));
      if (sentences.back().empty()) sentences.back().emplace_back();
    }
    begin = end + 1;
  }
  return sentences;
}

WordSet words_of(const std::vector<Sentence>& sentences) {
  WordSet words;
  for (const Sentence& sentence : sentences) words.insert(sentence.begin(), sentence.end());
  return words;
}

/// Adds the words of a longest common subsequence. Of several that one is taken which that package finds:
/// from the end, it drops a word of the prediction unless that makes the rest shorter.
void add_common_subsequence(const Sentence& reference, const Sentence& prediction, WordSet& words) {
  const size_t columns = prediction.size() + 1;
  std::vector<int32_t> lengths((reference.size() + 1) * columns, 0);
  const auto length = [&](size_t i, size_t j) -> int32_t& { return lengths[i * columns + j]; };
  for (size_t i = 1; i <= reference.size(); ++i) {
    for (size_t j = 1; j <= prediction.size(); ++j)
      length(i, j) = reference[i - 1] == prediction[j - 1] ? length(i - 1, j - 1) + 1
                                                           : std::max(length(i - 1, j), length(i, j - 1));
  }
  for (size_t i = reference.size(), j = prediction.size(); i > 0 && j > 0;) {
    if (reference[i - 1] == prediction[j - 1]) {
      words.insert(reference[i - 1]);
      --i, --j;
    } else if (length(i - 1, j) > length(i, j - 1)) {
      --i;
    } else {
      --j;
    }
  }
}

}  // namespace

double rouge_l(std::string_view prediction, std::string_view reference) {
  constexpr double kEpsilon = 1e-8;
  const std::vector<Sentence> predicted = cut_sentences(prediction);
  const std::vector<Sentence> expected = cut_sentences(reference);
  if (predicted.empty() || expected.empty()) return 0;
  WordSet common;
  for (const Sentence& sentence : expected)
    for (const Sentence& other : predicted) add_common_subsequence(sentence, other, common);
  const auto count = static_cast<double>(common.size());
  const double recall = count / static_cast<double>(words_of(expected).size());
  const double precision = count / static_cast<double>(words_of(predicted).size());
  return 2.0 * (precision * recall / (precision + recall + kEpsilon));
}

}  // namespace seer
