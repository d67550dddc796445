// From the nested dicts of a checkpoint to one list of named tensors.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "src/io/pickle.h"

namespace seer {

struct FlatPickle {
  /// Names, and positions in PickleGraph::tensors.
  std::vector<std::pair<std::string, size_t>> tensors;
  /// Names of the other leaves.
  std::vector<std::string> skipped;
};

/// Walks the dict at the root in the order of the pickle; names are keys (strings or integers) and positions
/// in lists and tuples, joined by '.'. Throws an Error naming `file` if the root is no dict, if nesting goes
/// deeper than 64 (or in circles), if values shared by many containers unfold to more than a million, or if a
/// name is longer than 4096 bytes.
FlatPickle flatten_pickle(const PickleGraph& graph, const std::string& file);

}  // namespace seer
