// Small corpora for tests of the data pipeline, and an encoder simple enough to predict.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/token_encoder.h"

namespace seer::test {

void write_bytes(const std::filesystem::path& path, std::string_view bytes);
/// Several calls' results, joined, are a valid file too (members, frames).
std::string gzip(std::string_view bytes);
std::string zstd(std::string_view bytes);

/// {"text": ...} and a newline for each text.
std::string json_lines(const std::vector<std::string>& texts);

/// A version 1.0 .npy file of int32 ids.
std::string npy(const std::vector<int64_t>& shape, const std::vector<int32_t>& ids);

/// Texts of seeded lengths from `shortest` to `longest` whose bytes say which document they come from.
std::vector<std::string> random_texts(uint64_t seed, int64_t count, int64_t shortest, int64_t longest);

/// An id for each byte of text, or of the roles and contents of a conversation. A text that contains "refuse"
/// throws.
class ByteEncoder : public TokenEncoder {
 public:
  void encode(const Document& document, std::vector<int32_t>& ids) const override;
  std::string fingerprint() const override { return "bytes"; }
};

/// The message of the Error that `body` throws; fails the test if it throws none.
std::string error_of(const std::function<void()>& body);

}  // namespace seer::test
