#include "data/tokenizer_added.h"

#include <algorithm>

namespace seer {

const AddedTokenFinder::Edge* AddedTokenFinder::edge(uint32_t node, char byte) const {
  const auto& edges = nodes_[node].edges;
  const auto found = std::find_if(edges.begin(), edges.end(),
                                  [&](const Edge& e) { return e.byte == static_cast<uint8_t>(byte); });
  return found == edges.end() ? nullptr : &*found;
}

void AddedTokenFinder::add(std::string_view content, int32_t id) {
  uint32_t node = 0;
  for (const char byte : content) {
    if (const Edge* existing = edge(node, byte)) {
      node = existing->target;
      continue;
    }
    const auto created = static_cast<uint32_t>(nodes_.size());
    nodes_[node].edges.push_back({static_cast<uint8_t>(byte), created});
    nodes_.emplace_back();
    node = created;
  }
  nodes_[node].id = id;
  starts_[static_cast<uint8_t>(content.front())] = true;
}

std::optional<AddedTokenFinder::Found> AddedTokenFinder::find(std::string_view text, size_t from) const {
  if (empty()) return std::nullopt;
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<uint8_t>(text[begin])]) continue;
    std::optional<Found> longest;
    uint32_t node = 0;
    for (size_t at = begin; at < text.size(); ++at) {
      const Edge* next = edge(node, text[at]);
      if (next == nullptr) break;
      node = next->target;
      if (nodes_[node].id >= 0) longest = Found{begin, at + 1 - begin, nodes_[node].id};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace seer
