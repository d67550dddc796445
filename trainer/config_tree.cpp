#include "trainer/config_tree.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace seer {
namespace {

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <typename... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

std::string integer_in_words(const ConfigRule& rule) {
  if (!rule.integers.empty()) return fmt::format("one of {}", fmt::join(rule.integers, ", "));
  std::string words = "an integer";
  if (rule.at_least && rule.at_most) {
    words += fmt::format(" from {:.0f} to {:.0f}", *rule.at_least, *rule.at_most);
  } else if (rule.at_least) {
    words += fmt::format(" >= {:.0f}", *rule.at_least);
  } else if (rule.at_most) {
    words += fmt::format(" <= {:.0f}", *rule.at_most);
  }
  if (rule.multiple_of != 1) words += fmt::format(", a multiple of {}", rule.multiple_of);
  return words;
}

std::string list_in_words(const ConfigRule& rule, const std::string& entry) {
  return fmt::format("a list, each entry {}{}", entry, rule.not_empty ? ", at least one" : "");
}

std::string folded(std::string word) {
  for (char& c : word) c = c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return word;
}

/// Edit distance in which two swapped neighbours count as one edit (optimal string alignment).
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> before_last, last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    before_last = last;
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string join_config_path(const std::string& parent, const std::string& key) {
  return parent.empty() ? key : parent + "." + key;
}

std::string number_in_words(const ConfigRule& rule) {
  std::vector<std::string> limits;
  if (rule.above) limits.push_back(fmt::format("> {}", *rule.above));
  if (rule.at_least) limits.push_back(fmt::format(">= {}", *rule.at_least));
  if (rule.below) limits.push_back(fmt::format("< {}", *rule.below));
  if (rule.at_most) limits.push_back(fmt::format("<= {}", *rule.at_most));
  return limits.empty() ? "a number" : fmt::format("a number {}", fmt::join(limits, " and "));
}

std::string text_in_words(const ConfigRule& rule) {
  if (!rule.form.empty()) return rule.form;
  if (!rule.texts.empty()) return fmt::format("one of \"{}\"", fmt::join(rule.texts, "\", \""));
  return rule.not_empty ? "a text that is not empty" : "a text";
}

std::string allowed_in_words(const ConfigKey& key) {
  const ConfigRule& rule = key.rule;
  ConfigRule entry = rule;
  entry.not_empty = true;
  return std::visit(
      Overloaded{
          [](bool*) -> std::string { return "true or false"; },
          [&](int64_t*) { return integer_in_words(rule); },
          [&](uint64_t*) {
            return fmt::format("an integer from 0 to {}", std::numeric_limits<uint64_t>::max());
          },
          [&](double*) { return number_in_words(rule); },
          [&](std::string*) { return text_in_words(rule); },
          [&](std::vector<std::string>*) { return list_in_words(rule, text_in_words(entry)); },
          [&](std::vector<double>*) { return list_in_words(rule, number_in_words(rule)); },
          [&](const JsonObjectText&) { return rule.form.empty() ? std::string("an object") : rule.form; },
          [](const ConfigSection&) -> std::string { return "an object"; },
          [&](const ConfigSectionList&) { return list_in_words(rule, "an object"); },
      },
      key.value);
}

const ConfigKey* find_key(const ConfigSection& section, const std::string& name) {
  const auto found = std::find_if(section.keys.begin(), section.keys.end(),
                                  [&](const ConfigKey& key) { return key.name == name; });
  return found == section.keys.end() ? nullptr : &*found;
}

std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t nearest_distance = std::numeric_limits<size_t>::max();
  for (const std::string& candidate : candidates) {
    // A third of the letters may differ. The length alone rules most words out, however long a word is.
    const size_t allowed = std::max<size_t>(1, candidate.size() / 3);
    if (word.size() > candidate.size() + allowed) continue;
    const size_t distance = edit_distance(folded(word), folded(candidate));
    if (distance <= allowed && distance < nearest_distance) {
      nearest = candidate;
      nearest_distance = distance;
    }
  }
  return nearest;
}

}  // namespace seer
