// Lines of a text file, numbered from 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/byte_source.h"

namespace seer {

/// Splits a ByteSource at '\n'. A '\r' before it, a UTF-8 byte-order mark at the start of the file and a
/// missing newline at its end make no difference. Memory is bounded by `max_line_bytes`, whatever the file
/// holds.
class LineReader {
 public:
  LineReader(std::unique_ptr<ByteSource> source, size_t max_line_bytes);

  /// Puts the next line into `line`; false at the end. A line longer than the limit is read past and left
  /// empty, and too_long() is true until the next call.
  bool next(std::string& line);

  bool too_long() const { return too_long_; }
  /// Number of the line last read.
  int64_t number() const { return number_; }

 private:
  bool fill();
  void append(std::string& line, const char* bytes, size_t count);

  std::unique_ptr<ByteSource> source_;
  size_t max_line_bytes_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  int64_t number_ = 0;
  bool too_long_ = false;
};

}  // namespace seer
