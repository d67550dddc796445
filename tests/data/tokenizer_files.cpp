#include "tests/data/tokenizer_files.h"

#include <sstream>

#include <nlohmann/json.hpp>
#include <zstd.h>

#include "data/byte_level.h"
#include "data/pretokenizer.h"
#include "src/core/error.h"
#include "src/io/atomic_file.h"

namespace seer::test {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::string decompress(const std::string& compressed, const fs::path& path) {
  std::string text(ZSTD_getFrameContentSize(compressed.data(), compressed.size()), '\0');
  const size_t size = ZSTD_decompress(text.data(), text.size(), compressed.data(), compressed.size());
  SEER_CHECK(size == text.size(), "{}: {}", path.string(), ZSTD_getErrorName(size));
  return text;
}

// In UTF-8; the byte-level alphabet needs two bytes at most.
std::string spelling_of(unsigned char byte) {
  const char32_t c = byte_level_alphabet()[byte];
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xc0U | (c >> 6U)), static_cast<char>(0x80U | (c & 0x3fU))};
}

json added_token(int id, const char* content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

}  // namespace

fs::path tokenizer_fixtures() {
  return source_dir() / "tests" / "data" / "fixtures" / "tokenizers";
}

std::string read_fixture(const fs::path& path) {
  std::string bytes = read_text_file(path);
  return path.extension() == ".zst" ? decompress(bytes, path) : bytes;
}

void unpack_fixture(const std::string& name, const fs::path& target) {
  for (const auto& entry : fs::directory_iterator(tokenizer_fixtures() / name)) {
    const fs::path file = entry.path().filename();
    write_file_atomically(target / (file.extension() == ".zst" ? file.stem() : file),
                          read_fixture(entry.path()));
  }
}

std::vector<TokenizerVector> read_vectors(const fs::path& path) {
  std::vector<TokenizerVector> vectors;
  std::istringstream lines(read_fixture(path));
  for (std::string line; std::getline(lines, line);) {
    const json parsed = json::parse(line);
    vectors.push_back({parsed.value("name", std::to_string(vectors.size())),
                       parsed.at("text").get<std::string>(), parsed.at("ids").get<std::vector<int32_t>>()});
  }
  SEER_CHECK(!vectors.empty(), "no vectors in {}", path.string());
  return vectors;
}

json small_tokenizer_json() {
  json vocab;
  for (int byte = 0; byte < 256; ++byte) vocab[spelling_of(static_cast<unsigned char>(byte))] = byte;
  vocab["Ġt"] = 256;
  vocab["he"] = 257;
  vocab["Ġthe"] = 258;
  vocab["xyz"] = 259;
  const json split = {{"type", "Split"},
                      {"pattern", {{"Regex", kQwen2SplitRegex}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  const json start = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  return {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens",
       {added_token(260, "<s>", true), added_token(261, "</s>", true), added_token(262, "<note>", false)}},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}}},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single", {start, text}},
        {"pair", json::array()},
        {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {260}}, {"tokens", {"<s>"}}}}}}}},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", false},
        {"vocab", vocab},
        {"merges", {"Ġ t", "h e", "Ġt he"}}}}};
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace seer::test
