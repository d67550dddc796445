#include "data/tasks/longbench_metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "data/tasks/text.h"
#include "src/core/error.h"

namespace seer {
namespace {

bool is_ascii_punctuation(char32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

/// The words that qa_f1 compares.
std::vector<std::string> normal_words(std::string_view text) {
  std::u32string letters = to_code_points(lower_case(text));
  std::erase_if(letters, is_ascii_punctuation);
  std::u32string kept;
  for (size_t at = 0; at < letters.size();) {
    size_t end = at;
    while (end < letters.size() && is_word_character(letters[end])) ++end;
    if (end == at) {
      kept += letters[at++];
      continue;
    }
    const std::u32string_view word = std::u32string_view(letters).substr(at, end - at);
    const bool article = word == U"a" || word == U"an" || word == U"the";
    kept += article ? U" " : word;
    at = end;
  }
  const std::string normal = to_utf8(kept);
  const std::vector<std::string_view> words = split_white_space(normal);
  return {words.begin(), words.end()};
}

/// The stretches of decimal digits.
std::vector<std::string> numbers_in(std::string_view text) {
  std::vector<std::string> numbers;
  bool in_number = false;
  for (const char32_t c : to_code_points(text)) {
    const bool digit = is_decimal_digit(c);
    if (digit && !in_number) numbers.emplace_back();
    if (digit) numbers.back() += to_utf8({&c, 1});
    in_number = digit;
  }
  return numbers;
}

std::optional<std::string> paragraph_number(std::string_view answer) {
  constexpr std::string_view kLabel = "Paragraph ";
  for (size_t at = answer.find(kLabel); at != std::string_view::npos; at = answer.find(kLabel, at)) {
    at += kLabel.size();
    const std::string_view rest = answer.substr(at);
    const std::vector<std::string> numbers = numbers_in(rest);
    if (!numbers.empty() && rest.starts_with(numbers.front())) return numbers.front();
  }
  return std::nullopt;
}

/// Insertions and deletions that turn one into the other.
int64_t indel_distance(const std::u32string& a, const std::u32string& b) {
  std::vector<int64_t> row(b.size() + 1, 0);  // longest common subsequence of a's beginning and b's
  for (const char32_t c : a) {
    int64_t diagonal = 0;
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t above = row[j];
      row[j] = c == b[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return static_cast<int64_t>(a.size() + b.size()) - 2 * row.back();
}

std::string_view first_code_line(std::string_view prediction) {
  prediction.remove_prefix(std::min(prediction.find_first_not_of('\n'), prediction.size()));
  while (!prediction.empty()) {
    const size_t end = std::min(prediction.find('\n'), prediction.size());
    const std::string_view line = prediction.substr(0, end);
    if (line.find_first_of("`#") == std::string_view::npos && line.find("//") == std::string_view::npos)
      return line;
    prediction.remove_prefix(std::min(end + 1, prediction.size()));
  }
  return "";
}

}  // namespace

double qa_f1(std::string_view prediction, std::string_view answer) {
  const std::vector<std::string> predicted = normal_words(prediction);
  const std::vector<std::string> expected = normal_words(answer);
  std::map<std::string_view, int64_t> left;
  for (const std::string& word : expected) ++left[word];
  int64_t common = 0;
  for (const std::string& word : predicted)
    if (left[word]-- > 0) ++common;
  if (common == 0) return 0;
  const double precision = static_cast<double>(common) / static_cast<double>(predicted.size());
  const double recall = static_cast<double>(common) / static_cast<double>(expected.size());
  return 2 * precision * recall / (precision + recall);
}

double classification_score(std::string_view prediction, std::string_view answer,
                            std::span<const std::string> all_classes) {
  std::vector<std::string_view> named;
  for (const std::string& name : all_classes)
    if (prediction.find(name) != std::string_view::npos) named.emplace_back(name);
  // The published loop removes from the list that it walks over, and so skips what follows a removed name.
  for (size_t i = 0; i < named.size(); ++i) {
    const std::string_view name = named[i];
    if (answer.find(name) != std::string_view::npos && name != answer)
      named.erase(std::find(named.begin(), named.end(), name));
  }
  const bool right = std::find(named.begin(), named.end(), answer) != named.end();
  return right ? 1.0 / static_cast<double>(named.size()) : 0.0;
}

double count_score(std::string_view prediction, std::string_view answer) {
  const std::vector<std::string> numbers = numbers_in(prediction);
  if (numbers.empty()) return 0;
  const auto right = std::count(numbers.begin(), numbers.end(), answer);
  return static_cast<double>(right) / static_cast<double>(numbers.size());
}

double retrieval_score(std::string_view prediction, std::string_view answer) {
  const auto number = paragraph_number(answer);
  if (!number) fail("the answer \"{}\" names no paragraph; expected \"Paragraph N\"", answer);
  return count_score(prediction, *number);
}

double code_similarity(std::string_view prediction, std::string_view answer) {
  const std::string_view line = first_code_line(prediction);
  if (line == answer) return 1;
  if (line.empty() || answer.empty()) return 0;
  const std::u32string a = to_code_points(line);
  const std::u32string b = to_code_points(answer);
  const double distance =
      static_cast<double>(indel_distance(a, b)) / static_cast<double>(a.size() + b.size());
  return std::nearbyint(100 * (1 - distance)) / 100;
}

}  // namespace seer
