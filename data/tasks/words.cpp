#include "data/tasks/words.h"

#include <algorithm>
#include <unordered_set>

#include <fmt/format.h>

namespace seer {
namespace {

/// The lines without white space at their ends, each once.
std::vector<std::string_view> distinct_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  std::unordered_set<std::string_view> seen;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    const std::string_view word = line.substr(0, line.find_last_not_of(" \t\r") + 1);
    if (!word.empty() && seen.insert(word).second) lines.push_back(word);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string_view pick(const std::vector<std::string_view>& words, Rng& rng) {
  return words[rng.below(words.size())];
}

}  // namespace

const std::vector<std::string_view>& nouns() {
  static const std::vector<std::string_view> words = distinct_lines(detail::kNounLines);
  return words;
}

const std::vector<std::string_view>& adjectives() {
  static const std::vector<std::string_view> words = distinct_lines(detail::kAdjectiveLines);
  return words;
}

const std::vector<std::string_view>& all_words() {
  static const std::vector<std::string_view> words = [] {
    std::vector<std::string_view> all = distinct_lines(detail::kVerbLines);
    all.insert(all.end(), nouns().begin(), nouns().end());
    all.insert(all.end(), adjectives().begin(), adjectives().end());
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
  }();
  return words;
}

std::string random_word_pair(Rng& rng) {
  const std::string_view adjective = pick(adjectives(), rng);
  return fmt::format("{}-{}", adjective, pick(nouns(), rng));
}

}  // namespace seer
