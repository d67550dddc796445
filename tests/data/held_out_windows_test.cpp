#include "data/held_out_windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.h"
#include "tests/data/corpus_files.h"
#include "tests/support/fixtures.h"
#include "tests/support/tiny_model.h"

namespace seer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Ids = std::vector<int32_t>;
const std::vector<Ids> kDocuments = {{0, 1, 2, 3, 4, 5, 6, 7, 8}, {10, 11, 12}, {20, 21, 22, 23}, {}};

TEST(CutWindows, OneBehindTheOther) {
  EXPECT_THAT(cut_windows(kDocuments, {.length = 4}), ElementsAre(Ids{0, 1, 2, 3}, Ids{20, 21, 22, 23}));
  EXPECT_THAT(cut_windows(kDocuments, {.length = 4, .per_document = 9}),
              ElementsAre(Ids{0, 1, 2, 3}, Ids{4, 5, 6, 7}, Ids{20, 21, 22, 23}));
  EXPECT_THAT(cut_windows(kDocuments, {.length = 10}), IsEmpty());
}

TEST(CutWindows, TheBosCountsInTheLength) {
  EXPECT_THAT(cut_windows(kDocuments, {.length = 4, .per_document = 2, .bos = 99}),
              ElementsAre(Ids{99, 0, 1, 2}, Ids{99, 3, 4, 5}, Ids{99, 10, 11, 12}, Ids{99, 20, 21, 22}));
}

TEST(CutWindows, AreCounted) {
  const auto counts = [](const WindowOptions& options) {
    std::vector<int64_t> out;
    for (const Ids& document : kDocuments) out.push_back(windows_in(document, options));
    return out;
  };
  EXPECT_THAT(counts({.length = 4, .per_document = 9}), ElementsAre(2, 0, 1, 0));
  EXPECT_THAT(counts({.length = 4, .per_document = 2, .bos = 99}), ElementsAre(2, 1, 1, 0));
  EXPECT_THAT(counts({.length = 9, .bos = 0}), ElementsAre(1, 0, 0, 0));
}

TEST(CutWindows, ADocumentsOwnBosIsReplacedOrKept) {
  const std::vector<Ids> documents = {{99, 1, 2, 3, 4, 5, 6}, {99}, {1, 2, 3, 99}};
  EXPECT_THAT(cut_windows(documents, {.length = 4, .per_document = 2, .bos = 99}),
              ElementsAre(Ids{99, 1, 2, 3}, Ids{99, 4, 5, 6}, Ids{99, 1, 2, 3}));
  EXPECT_THAT(cut_windows(documents, {.length = 4, .per_document = 2, .bos = 99, .keep_document_bos = true}),
              ElementsAre(Ids{99, 99, 1, 2}, Ids{99, 3, 4, 5}, Ids{99, 1, 2, 3}));
}

TEST(JoinDocuments, WithoutTheirBos) {
  EXPECT_THAT(join_documents(kDocuments, std::nullopt),
              ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 20, 21, 22, 23));
  const std::vector<Ids> documents = {{99, 1, 2}, {}, {99}, {3, 99, 4}};
  EXPECT_THAT(join_documents(documents, 99), ElementsAre(1, 2, 3, 99, 4));
}

class ReadDocuments : public testing::Test {
 protected:
  std::vector<Ids> read(const std::vector<std::string>& names, bool with_encoder = true,
                        const ReadLimits& limits = {}) {
    options_.files.clear();
    for (const std::string& name : names) options_.files.push_back((folder_ / name).string());
    return read_documents(options_, with_encoder ? &encoder_ : nullptr, limits);
  }

  test::TempDir folder_;
  LoaderOptions options_;
  test::ByteEncoder encoder_;
};

TEST_F(ReadDocuments, AreThoseOfTheFilesInOrder) {
  test::write_npy(folder_ / "a.npy", {1, 2, 3});
  test::write_documents(folder_ / "b.safetensors", {{4, 5}, {6}});
  test::write_bytes(folder_ / "c.jsonl", test::json_lines({"AB", "C"}));
  options_.separator = 7;  // joins documents in training; here nothing is joined
  const std::vector<std::string> all = {"a.npy", "b.safetensors", "c.jsonl"};
  EXPECT_THAT(read(all), ElementsAre(Ids{1, 2, 3}, Ids{4, 5}, Ids{6}, Ids{65, 66}, Ids{67}));
  EXPECT_THAT(read({"a.npy", "b.safetensors"}, false), ElementsAre(Ids{1, 2, 3}, Ids{4, 5}, Ids{6}));
}

TEST_F(ReadDocuments, NoMoreAreReadThanAreWanted) {
  test::write_bytes(folder_ / "c.jsonl", test::json_lines({"AB", "C"}) + "damaged\n");
  EXPECT_THAT(read({"c.jsonl"}, true, {.documents = 1}), ElementsAre(Ids{65, 66}));
  EXPECT_THAT(read({"c.jsonl"}, true, {.tokens = 1}), ElementsAre(Ids{65, 66})) << "one behind the first";
  EXPECT_THAT(test::error_of([&] { (void)read({"c.jsonl"}); }), HasSubstr("c.jsonl:3"));
}

TEST_F(ReadDocuments, TextWithoutATokenizerIsRefused) {
  test::write_bytes(folder_ / "c.jsonl", test::json_lines({"AB"}));
  EXPECT_THAT(test::error_of([&] { (void)read({"c.jsonl"}, false); }),
              AllOf(HasSubstr("c.jsonl"), HasSubstr("no tokenizer")));
}

TEST_F(ReadDocuments, WhatCannotBeReadIsNamed) {
  test::write_bytes(folder_ / "c.jsonl", test::json_lines({"AB", "please refuse"}));
  EXPECT_THAT(test::error_of([&] { (void)read({"c.jsonl"}); }), HasSubstr("c.jsonl:2"));
  test::write_npy(folder_ / "a.npy", {1, 50, 3});
  options_.vocab_size = 50;
  EXPECT_THAT(test::error_of([&] { (void)read({"a.npy"}); }), AllOf(HasSubstr("a.npy"), HasSubstr("50")));
}

}  // namespace
}  // namespace seer
