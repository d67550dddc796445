// Ids equal to those of the reference implementations (fixtures/tokenizers/SOURCES).
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/tokenizer.h"
#include "data/unicode.h"
#include "src/io/atomic_file.h"
#include "tests/data/tokenizer_files.h"

namespace seer {
namespace {

namespace fs = std::filesystem;
using test::read_vectors;
using test::tokenizer_fixtures;

constexpr EncodeOptions kWithoutBos{.add_special_tokens = false, .parse_special = true};

enum class Text { kAsGiven, kNfc };

void expect_vectors(const Tokenizer& tokenizer, const fs::path& path, Text form) {
  std::string storage;
  for (const auto& [name, text, ids] : read_vectors(path)) {
    const auto actual = tokenizer.encode(text, kWithoutBos);
    EXPECT_EQ(actual, ids) << path.filename() << ": " << name << ": " << text;
    EXPECT_EQ(tokenizer.decode(actual), form == Text::kNfc ? to_nfc(text, storage) : text) << name;
  }
}

// llama.cpp's form: texts joined by a separator, ids one line for each.
void expect_llama_cpp(const Tokenizer& tokenizer, const std::string& out_file) {
  const fs::path folder = tokenizer_fixtures() / "vectors";
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string texts = read_text_file(folder / "llama.cpp-ggml-vocab.inp");
  std::istringstream lines(read_text_file(folder / out_file));
  size_t compared = 0;
  for (size_t at = 0; at <= texts.size(); ++compared) {
    const size_t end = std::min(texts.find(separator, at), texts.size());
    std::string line;
    std::getline(lines, line);
    std::istringstream numbers(line);
    std::vector<int32_t> ids;
    for (int32_t id = 0; numbers >> id;) ids.push_back(id);
    const std::string text = texts.substr(at, end - at);
    EXPECT_EQ(tokenizer.encode(text, kWithoutBos), ids) << out_file << ": " << text;
    at = end == texts.size() ? texts.size() + 1 : end + separator.size();
  }
  EXPECT_EQ(compared, 47U);
}

TEST(TokenizerGolden, Qwen25FromVocabAndMerges) {
  const test::TempDir folder;
  test::unpack_fixture("qwen2.5", folder.path());
  const Tokenizer tokenizer(folder.path());
  EXPECT_EQ(tokenizer.vocab_size(), 151665);
  EXPECT_EQ(tokenizer.bos_id(), std::nullopt);
  EXPECT_EQ(tokenizer.eos_token(), "<|im_end|>");
  expect_vectors(tokenizer, tokenizer_fixtures() / "vectors" / "qwen2.5.jsonl", Text::kNfc);
  expect_vectors(tokenizer, tokenizer_fixtures() / "vectors" / "fuzz-qwen.jsonl.zst", Text::kNfc);
}

TEST(TokenizerGolden, Qwen3FromTokenizerJson) {
  const test::TempDir folder;
  test::unpack_fixture("qwen3", folder.path());
  const Tokenizer tokenizer(folder / "tokenizer.json");
  EXPECT_EQ(tokenizer.vocab_size(), 151669);
  EXPECT_EQ(tokenizer.bos_id(), std::nullopt);
  expect_vectors(tokenizer, tokenizer_fixtures() / "vectors" / "qwen3.jsonl", Text::kNfc);
  expect_vectors(tokenizer, tokenizer_fixtures() / "vectors" / "fuzz-qwen.jsonl.zst", Text::kNfc);
  expect_llama_cpp(tokenizer, "llama.cpp-qwen2.out");
}

TEST(TokenizerGolden, SeerNano) {
  const test::TempDir folder;
  test::unpack_fixture("seer-nano", folder.path());
  const Tokenizer tokenizer(folder.path());
  EXPECT_EQ(tokenizer.vocab_size(), 4096);
  EXPECT_EQ(tokenizer.bos_id(), 4090);
  EXPECT_EQ(tokenizer.eos_token(), "<|end_of_text|>");
  EXPECT_EQ(tokenizer.encode("F"), (std::vector<int32_t>{4090, 37}));
  expect_vectors(tokenizer, tokenizer_fixtures() / "seer-nano.jsonl", Text::kAsGiven);
}

TEST(TokenizerGolden, Llama31) {
  const auto folder = test::environment("SEER_TOKENIZERS");
  if (!folder || !fs::exists(fs::path(*folder) / "llama-3.1"))
    GTEST_SKIP() << "Llama's vocabulary may not be copied: set SEER_TOKENIZERS to a folder with llama-3.1/";
  const Tokenizer tokenizer(fs::path(*folder) / "llama-3.1");
  EXPECT_EQ(tokenizer.vocab_size(), 128256);
  EXPECT_EQ(tokenizer.bos_id(), 128000);
  expect_vectors(tokenizer, tokenizer_fixtures() / "vectors" / "llama-3.1.jsonl", Text::kAsGiven);
  expect_vectors(tokenizer, tokenizer_fixtures() / "vectors" / "fuzz-llama-3.1.jsonl.zst", Text::kAsGiven);
  expect_llama_cpp(tokenizer, "llama.cpp-llama-bpe.out");
}

// Whole books there and back, by a tokenizer without and one with a normaliser.
TEST(TokenizerGolden, HeldOutBooksComeBack) {
  const auto corpus = test::environment("SEER_CORPUS");
  if (!corpus) GTEST_SKIP() << "set SEER_CORPUS to a folder with heldout.jsonl";
  for (const std::string name : {"seer-nano", "qwen3"}) {
    const test::TempDir folder;
    test::unpack_fixture(name, folder.path());
    const Tokenizer tokenizer(folder.path());
    std::istringstream lines(read_text_file(fs::path(*corpus) / "heldout.jsonl"));
    std::string storage;
    size_t books = 0;
    for (std::string line; std::getline(lines, line); ++books) {
      const auto text = nlohmann::json::parse(line).at("text").get<std::string>();
      const std::string_view expected = name == "qwen3" ? to_nfc(text, storage) : std::string_view(text);
      EXPECT_TRUE(tokenizer.decode(tokenizer.encode(text, kWithoutBos)) == expected) << name << " " << books;
    }
    EXPECT_GT(books, 0U);
  }
}

}  // namespace
}  // namespace seer
