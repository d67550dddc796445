// How fast a model's files can be read, by the reader that streams weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace seer {

struct ReadSpeed {
  int64_t bytes = 0;      ///< Read in each pass
  double cached = 0;      ///< Bytes/s from the page cache
  double cold = 0;        ///< Bytes/s after the kernel was asked to forget the files
  double past_cache = 0;  ///< Of the cold pass, the share that did not go through the page cache
};

/// Reads the beginnings of the files, together at most `most_bytes`, with `threads` readers: once to bring them into the
/// page cache, once from there, once cold. Leaves them out of the page cache.
ReadSpeed measure_read_speed(const std::vector<std::filesystem::path>& files, int threads,
                             int64_t most_bytes);

}  // namespace seer
