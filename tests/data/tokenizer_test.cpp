#include "data/tokenizer.h"

#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "tests/data/tokenizer_files.h"

namespace seer {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

constexpr EncodeOptions kPlain{.add_special_tokens = false, .parse_special = false};

Tokenizer load(const json& file) {
  return Tokenizer::from_json(file.dump(), "test.json");
}

Tokenizer small() {
  return load(test::small_tokenizer_json());
}

TEST(Tokenizer, MergesInsidePreTokens) {
  EXPECT_EQ(small().encode("he the", kPlain), (Ids{257, 258}));
  EXPECT_EQ(small().encode("xyz", kPlain), (Ids{'x', 'y', 'z'})) << "no merge makes it";
}

TEST(Tokenizer, IgnoreMergesTakesWholeWords) {
  json file = test::small_tokenizer_json();
  file["model"]["ignore_merges"] = true;
  EXPECT_EQ(load(file).encode("xyz xyz", kPlain), (Ids{259, ' ', 'x', 'y', 'z'}));
}

TEST(Tokenizer, MergesAreReadInBothSpellings) {
  json file = test::small_tokenizer_json();
  file["model"]["merges"] = json::parse(R"([["Ġ", "t"], ["h", "e"], ["Ġt", "he"]])");
  EXPECT_EQ(load(file).encode("he the", kPlain), (Ids{257, 258}));
}

TEST(Tokenizer, AddedTokensAndBeginning) {
  const Tokenizer tokenizer = small();
  EXPECT_EQ(tokenizer.bos_id(), 260);
  EXPECT_EQ(tokenizer.encode(""), (Ids{260}));
  EXPECT_EQ(tokenizer.encode("he</s><note>"), (Ids{260, 257, 261, 262}));
  EXPECT_EQ(tokenizer.encode("<s>", kPlain), (Ids{'<', 's', '>'}));
  Ids appended{7};
  tokenizer.encode("he", kPlain, appended);
  EXPECT_EQ(appended, (Ids{7, 257}));
}

TEST(Tokenizer, TheLongestAddedTokenWins) {
  json file = test::small_tokenizer_json();
  json longer = file["added_tokens"][0];
  longer["content"] = "<s><s>";
  longer["id"] = 263;
  file["added_tokens"].push_back(longer);
  const EncodeOptions parse{.add_special_tokens = false, .parse_special = true};
  EXPECT_EQ(load(file).encode("<s><s><s><", parse), (Ids{263, 260, '<'}));
}

// The Ohm sign normalises to the letter Omega: a `normalized` token is found after that, another
// only as it is written.
TEST(Tokenizer, NormalizedAddedTokensAreFoundInNormalizedText) {
  json file = test::small_tokenizer_json();
  file["normalizer"] = {{"type", "NFC"}};
  json token = file["added_tokens"][2];
  token["content"] = "\u03a9";
  token["id"] = 263;
  token["normalized"] = true;
  file["added_tokens"].push_back(token);
  const EncodeOptions parse{.add_special_tokens = false, .parse_special = true};
  EXPECT_EQ(load(file).encode("\u2126", parse), (Ids{263}));
  file["added_tokens"][3]["normalized"] = false;
  EXPECT_EQ(load(file).encode("\u2126", parse), (Ids{0xce, 0xa9}));
  EXPECT_EQ(load(file).encode("\u03a9", parse), (Ids{263}));
}

TEST(Tokenizer, DecodesAndNamesTokens) {
  const Tokenizer tokenizer = small();
  const Ids ids{260, 257, 262, 258, 261};
  EXPECT_EQ(tokenizer.decode(ids), "<s>he<note> the</s>");
  EXPECT_EQ(tokenizer.decode(ids, true), "he<note> the");
  EXPECT_EQ(tokenizer.token_to_id(" the"), 258);
  EXPECT_EQ(tokenizer.token_to_id("<note>"), 262);
  EXPECT_EQ(tokenizer.token_to_id("Ġthe"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(258), " the");
  EXPECT_EQ(tokenizer.id_to_token(0xff), "\xff");
  EXPECT_EQ(tokenizer.vocab_size(), 263);
}

TEST(Tokenizer, IdsWithoutATokenAreErrors) {
  json file = test::small_tokenizer_json();
  file["added_tokens"][2]["id"] = 300;
  const Tokenizer tokenizer = load(file);
  EXPECT_EQ(tokenizer.vocab_size(), 301);
  for (const int32_t id : {-1, 262, 299, 301}) {
    EXPECT_THAT(test::message_of([&] { (void)tokenizer.decode(Ids{id}); }), HasSubstr(std::to_string(id)));
    EXPECT_THROW((void)tokenizer.id_to_token(id), Error);
  }
}

TEST(Tokenizer, BytesThatAreNoTextComeBack) {
  json file = test::small_tokenizer_json();
  file["normalizer"] = {{"type", "NFC"}};
  const Tokenizer tokenizer = load(file);
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 24, ' ');
    // Characters, and stray parts of some, that NFC leaves as they are.
    for (char& byte : bytes) byte = "he t\x80\xbf\xc3\xe1\xf0\xff\xa9"[random() % 11];
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(bytes, kPlain)), bytes);
  }
  EXPECT_EQ(tokenizer.encode("he\xff the", kPlain), (Ids{257, 0xff, 258}));
}

// Long pre-tokens are merged with a heap, short ones by looking through the pairs; "aba..." has many equal
// pairs whose order matters.
TEST(Tokenizer, LongPreTokensMergeAsShortOnes) {
  json file = test::small_tokenizer_json();
  auto& vocab = file["model"]["vocab"];
  auto& merges = file["model"]["merges"];
  merges = json::array();
  file["added_tokens"] = json::array();
  file["post_processor"] = nullptr;
  std::mt19937 random(11);
  std::vector<std::string> tokens{"a", "b"};
  for (int id = 260; tokens.size() < 40;) {
    const std::string left = tokens[random() % tokens.size()];
    const std::string right = tokens[random() % tokens.size()];
    if (vocab.contains(left + right)) continue;
    vocab[left + right] = id++;
    merges.push_back(json::array({left, right}));
    tokens.push_back(left + right);
  }
  const Tokenizer tokenizer = load(file);
  // By the definition: the earliest merge, leftmost first, until there is none.
  const auto merge_slowly = [&](const std::string& word) {
    std::vector<std::string> parts;
    for (const char c : word) parts.emplace_back(1, c);
    for (;;) {
      size_t best_rank = merges.size();
      size_t best = 0;
      for (size_t i = 0; i + 1 < parts.size(); ++i)
        for (size_t rank = 0; rank < best_rank; ++rank)
          if (merges[rank] == json::array({parts[i], parts[i + 1]})) {
            best_rank = rank;
            best = i;
          }
      if (best_rank == merges.size()) break;
      parts[best] += parts[best + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    Ids ids;
    for (const auto& part : parts) ids.push_back(vocab[part]);
    return ids;
  };
  for (const size_t length : {2U, 9U, 30U, 47U, 48U, 49U, 60U, 90U}) {
    std::string word(length, 'a');
    for (char& c : word) c = random() % 2 == 0 ? 'a' : 'b';
    EXPECT_EQ(tokenizer.encode(word, kPlain), merge_slowly(word)) << word;
    EXPECT_EQ(tokenizer.encode(word, kPlain), merge_slowly(word)) << "from the cache: " << word;
  }
}

// Quadratic work on any of these would take minutes.
TEST(Tokenizer, LongRunsTakeLinearTime) {
  json file = test::small_tokenizer_json();
  file["normalizer"] = {{"type", "NFC"}};
  const Tokenizer tokenizer = load(file);
  const size_t length = 1'000'000;
  std::string marks = "a";
  while (marks.size() < length) marks += "\u0316\u0301";
  std::string mixed;
  while (mixed.size() < length) mixed += " \n  \t";
  for (const std::string& text :
       {std::string(length, 'a'), std::string(length, ' ') + "x", std::string(length, '\n'),
        std::string(length, '!'), std::string(length, '<'), std::string(length, '\xff'), mixed})
    EXPECT_TRUE(tokenizer.decode(tokenizer.encode(text)) == "<s>" + text) << text.substr(0, 8);
  std::string ordered = "\u00e1";
  for (size_t at = 1; at < marks.size(); at += 4) ordered += "\u0316";
  for (size_t at = 5; at < marks.size(); at += 4) ordered += "\u0301";
  EXPECT_TRUE(tokenizer.decode(tokenizer.encode(marks, kPlain)) == ordered);
}

// Two tokenizers share each thread's word cache.
TEST(Tokenizer, ThreadsAndTokenizersDoNotDisturbEachOther) {
  const Tokenizer first = small();
  json file = test::small_tokenizer_json();
  file["model"]["merges"] = {"h e", "Ġ t"};
  const Tokenizer second = load(file);
  std::vector<std::thread> threads;
  std::array<bool, 4> right{};
  for (bool& all_right : right)
    threads.emplace_back([&] {
      all_right = true;
      for (int round = 0; round < 5000; ++round) {
        all_right = all_right && first.encode("he the", kPlain) == Ids{257, 258};
        all_right = all_right && second.encode("he the", kPlain) == Ids{257, 256, 257};
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(right, testing::Each(true));
}

TEST(Tokenizer, CopiesShareTheirTables) {
  std::optional<Tokenizer> original = small();
  const Tokenizer copy = *original;
  const std::string_view token = copy.id_to_token(258);
  original.reset();
  EXPECT_EQ(token, " the");
}

TEST(Tokenizer, EosTokenIsReadFromTheConfigBeside) {
  const test::TempDir folder;
  write_file_atomically(folder / "tokenizer.json", test::small_tokenizer_json().dump());
  EXPECT_EQ(Tokenizer(folder.path()).eos_token(), std::nullopt);
  const auto with_config = [&](const std::string& config) {
    write_file_atomically(folder / "tokenizer_config.json", config);
    return Tokenizer(folder / "tokenizer.json").eos_token();
  };
  EXPECT_EQ(with_config(R"({"eos_token": "</s>"})"), "</s>");
  EXPECT_EQ(with_config(R"({"eos_token": {"content": "</s>"}})"), "</s>");
  EXPECT_EQ(with_config(R"({"eos_token": null})"), std::nullopt);
  EXPECT_EQ(with_config("{}"), std::nullopt);
  EXPECT_THAT(test::message_of([&] { with_config(R"({"eos_token": 3})"); }), HasSubstr("eos_token"));
  EXPECT_THAT(test::message_of([&] { with_config("{"); }), HasSubstr("tokenizer_config.json"));
}

class VocabAndMerges : public testing::Test {
 protected:
  VocabAndMerges() {
    write_file_atomically(folder_ / "vocab.json", test::small_tokenizer_json()["model"]["vocab"].dump());
    write_file_atomically(folder_ / "merges.txt", "Ġ t\nh e\nĠt he\n");
    write_config({{"tokenizer_class", "Qwen2Tokenizer"},
                  {"added_tokens_decoder",
                   {{"260", {{"content", "<s>"}, {"special", true}, {"normalized", false}}}}}});
  }
  void write_config(const json& config) {
    write_file_atomically(folder_ / "tokenizer_config.json", config.dump());
  }
  std::string error() const {
    return test::message_of([&] { Tokenizer{folder_.path()}; });
  }

  test::TempDir folder_;
};

TEST_F(VocabAndMerges, AreReadWithAndWithoutVersionLineAndCarriageReturns) {
  for (const char* merges :
       {"Ġ t\nh e\nĠt he\n", "#version: 0.2\nĠ t\nh e\nĠt he", "#version: 0.2\r\nĠ t\r\nh e\r\nĠt he\r\n"}) {
    write_file_atomically(folder_ / "merges.txt", merges);
    const Tokenizer tokenizer(folder_.path());
    EXPECT_EQ(tokenizer.bos_id(), std::nullopt);
    EXPECT_EQ(tokenizer.encode("<s>he the"), (Ids{260, 257, 258}));
    EXPECT_EQ(tokenizer.encode("\u2126"), (Ids{0xce, 0xa9})) << "Qwen2's normaliser is NFC";
  }
}

TEST_F(VocabAndMerges, NeedAKnownClass) {
  write_config({{"tokenizer_class", "GPT2Tokenizer"}});
  EXPECT_THAT(error(), HasSubstr("GPT2Tokenizer"));
  write_config(json::object());
  EXPECT_THAT(error(), HasSubstr("tokenizer_class is missing"));
  std::filesystem::remove(folder_ / "tokenizer_config.json");
  EXPECT_THAT(error(), HasSubstr("tokenizer_config.json"));
}

TEST_F(VocabAndMerges, DamageIsNamed) {
  write_file_atomically(folder_ / "merges.txt", "Ġ t\nhe\n");
  EXPECT_THAT(error(), HasSubstr("merges.txt: line 2"));
  write_file_atomically(folder_ / "merges.txt", "Ġ t\nz q\n");
  EXPECT_THAT(error(), HasSubstr("model.merges[1] makes \"zq\""));
  write_file_atomically(folder_ / "vocab.json", "[1]");
  EXPECT_THAT(error(), HasSubstr("vocab.json: expected an object"));
  write_file_atomically(folder_ / "vocab.json", R"({"a": 0, "a": 1})");
  EXPECT_THAT(error(), HasSubstr("\"a\" stands in model.vocab twice"));
  std::filesystem::remove(folder_ / "vocab.json");
  EXPECT_THAT(error(), HasSubstr("no tokenizer there"));
}

}  // namespace
}  // namespace seer
