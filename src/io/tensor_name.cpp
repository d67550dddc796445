#include "src/io/tensor_name.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace seer {
namespace {

constexpr size_t kMaxShown = 200;
constexpr size_t kMaxNearest = 3;

// Levenshtein distance in O(a * b) time and O(b) memory.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string quote_name(std::string_view name) {
  size_t length = std::min(name.size(), kMaxShown);
  // Cut before a UTF-8 sequence, not inside one.
  while (length < name.size() && length > 0 && (name[length] & 0xC0) == 0x80) --length;
  std::string shown(name.substr(0, length));
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return length < name.size() ? fmt::format("'{}...' ({} bytes)", shown, name.size())
                              : fmt::format("'{}'", shown);
}

std::string nearest_names(std::string_view wanted, std::span<const std::string_view> known) {
  if (wanted.size() > kMaxShown) return "";
  const size_t limit = std::max<size_t>(3, wanted.size() / 3);
  std::vector<std::pair<size_t, std::string_view>> near;
  for (const std::string_view name : known) {
    // The distance is at least the difference in length.
    if (name.size() > wanted.size() + limit || wanted.size() > name.size() + limit) continue;
    const size_t distance = edit_distance(wanted, name);
    if (distance <= limit) near.emplace_back(distance, name);
  }
  std::sort(near.begin(), near.end());
  if (near.empty()) return "";
  near.resize(std::min(near.size(), kMaxNearest));
  std::string text = " (nearest:";
  for (const auto& [distance, name] : near) {
    text += fmt::format("{} {}", text.back() == ':' ? "" : ",", quote_name(name));
  }
  return text + ")";
}

}  // namespace seer
