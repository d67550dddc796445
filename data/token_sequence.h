// What the data pipeline hands to the trainer.
#pragma once

#include <cstdint>
#include <vector>

namespace seer {

/// How documents become sequences (SEMANTICS section 5).
enum class DataLayout {
  kJoined,  ///< Documents joined and cut into sequences of exactly S tokens; the tail of an epoch is dropped.
  kPacked,  ///< Whole documents, next-fit into packs of at most S tokens, with boundaries.
};

/// One micro-batch of token ids.
struct TokenSequence {
  std::vector<int32_t> ids;
  std::vector<int64_t>
      cu_seqlens;      ///< Document d is ids[cu_seqlens[d] .. cu_seqlens[d+1]); {0, S} when joined.
  int64_t number = 0;  ///< Place in the run's global order, from 0, running on across epochs.
  int64_t epoch = 0;   ///< The pass over the data, from 0, that its last token is of.

  bool operator==(const TokenSequence&) const = default;
};

}  // namespace seer
