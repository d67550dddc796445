// Finds added tokens that are spelled out in a text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace seer {

/// A set of strings with ids, as a trie over bytes. Immutable after the last add().
class AddedTokenFinder {
 public:
  struct Found {
    size_t begin;
    size_t length;
    int32_t id;
  };

  /// `content` must not be empty; the id of a content that is there already is replaced.
  void add(std::string_view content, int32_t id);
  bool empty() const { return nodes_.size() == 1; }

  /// The leftmost occurrence at or after `from`; of several that start there, the longest.
  std::optional<Found> find(std::string_view text, size_t from) const;

 private:
  struct Edge {
    uint8_t byte;
    uint32_t target;
  };
  struct Node {
    std::vector<Edge> edges;
    int32_t id = -1;
  };
  const Edge* edge(uint32_t node, char byte) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<bool, 256> starts_{};  ///< Bytes with which a token starts.
};

}  // namespace seer
