// Tokenizers for tests: the fixtures' files, and small ones made on the spot.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "data/tokenizer.h"
#include "tests/support/fixtures.h"

namespace seer::test {

/// tests/data/fixtures/tokenizers
std::filesystem::path tokenizer_fixtures();

/// The content of a file, decompressed if its name ends with .zst.
std::string read_fixture(const std::filesystem::path& path);

/// Puts the files of a fixture's folder into `target`, decompressed and without .zst.
void unpack_fixture(const std::string& name, const std::filesystem::path& target);

struct TokenizerVector {
  std::string name;
  std::string text;
  std::vector<int32_t> ids;
};

/// A .jsonl or .jsonl.zst file of {name, text, ids}; without a name, the line's number is the name.
std::vector<TokenizerVector> read_vectors(const std::filesystem::path& path);

/// A valid tokenizer.json: the 256 bytes (ids 0 to 255 in the order of their values), " t", "he", " the"
/// (256 to 258) with their merges, "xyz" (259, of no merge), the special added tokens <s> (260, put in front
/// by the post-processor) and </s> (261), and the added token <note> (262) that is not special.
nlohmann::json small_tokenizer_json();

/// The message of the Error that `body` throws; "" if it throws none.
std::string message_of(const std::function<void()>& body);

}  // namespace seer::test
