// LongBench-E: the published prompts, the user's files, and what is cut from long prompts.
#include "data/tasks/longbench.h"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/tasks/scoring.h"
#include "data/unicode.h"
#include "tests/data/tasks/task_files.h"

namespace seer::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

struct Published {
  std::string_view name;
  uint64_t prompt_fnv1a;
  int64_t tokens_to_generate;
};

// From THUDM/LongBench 2e00731, LongBench/config/dataset2prompt.json and dataset2maxlen.json.
const std::vector<Published> kPublished = {
    {"qasper", 0xe0bbe61b9cc50aa0, 128},
    {"multifieldqa_en", 0x21a552b1c54137ef, 64},
    {"hotpotqa", 0x3d89cf4beb38cf14, 32},
    {"2wikimqa", 0x3d89cf4beb38cf14, 32},
    {"gov_report", 0x6da71a89083bcdb7, 512},
    {"multi_news", 0x369529e042466304, 512},
    {"trec", 0x1f912dcf0e42e076, 64},
    {"triviaqa", 0x09e8fec6928e0dbf, 32},
    {"samsum", 0x358daffee1841a64, 128},
    {"passage_count", 0xd1c215a163713511, 32},
    {"passage_retrieval_en", 0xf231df536a3fd1d8, 32},
    {"lcc", 0x62330c8d81c725fc, 64},
    {"repobench-p", 0xb4adffb9b130f528, 64},
};

/// A line of a set, with `changes` made to it.
std::string line_of(const Json& changes = Json::object()) {
  Json line = {
      {"input", "What is {x}?"}, {"context", "Some text."}, {"answers", {"x"}},       {"length", 1234},
      {"dataset", "qasper"},     {"language", "en"},        {"all_classes", nullptr}, {"_id", "0"}};
  line.update(changes);
  return line.dump() + "\n";
}

class LongBench : public ::testing::Test {
 protected:
  std::vector<TaskSample> read(const std::string& name, int64_t max_prompt_tokens = 4000) const {
    return read_longbench({.folder = folder_.path(),
                           .prompt_template = PromptTemplate::kMetaLlama3,
                           .max_prompt_tokens = max_prompt_tokens},
                          name, nano_tokenizer());
  }

  TempDir folder_;
};

TEST_F(LongBench, PromptsAreThePublishedOnes) {
  ASSERT_EQ(longbench_tasks().size(), kPublished.size());
  for (size_t i = 0; i < kPublished.size(); ++i) {
    const LongBenchTask& task = longbench_tasks()[i];
    EXPECT_EQ(task.name, kPublished[i].name);
    EXPECT_EQ(fnv1a(task.prompt), kPublished[i].prompt_fnv1a) << task.name;
    EXPECT_EQ(task.tokens_to_generate, kPublished[i].tokens_to_generate) << task.name;
  }
}

TEST_F(LongBench, FillsThePromptAndTheTemplate) {
  write_text(folder_ / "multifieldqa_en_e.jsonl",
             line_of() + "\n" + line_of({{"context", "Other {input}."}}));
  const auto samples = read("multifieldqa_en");
  ASSERT_EQ(samples.size(), 2U);
  EXPECT_EQ(samples[1].index, 1);
  EXPECT_EQ(samples[1].input,
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nRead the following text and answer "
            "briefly.\n\nOther {input}.\n\nNow, answer the following question based on the above text, only "
            "give me "
            "the answer and do not output any other words.\n\nQuestion: What is {x}?\nAnswer:<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_THAT(samples[0].outputs, ElementsAre("x"));
  EXPECT_EQ(samples[0].length, 1234);
  EXPECT_EQ(score(samples[0], "the x"), 1.0);
}

TEST_F(LongBench, FewShotAndCodeSetsHaveNoTemplate) {
  for (const char* name : {"trec", "triviaqa", "samsum", "lcc", "repobench-p"}) {
    write_text(folder_ / fmt::format("{}_e.jsonl", name), line_of({{"all_classes", {"x", "y"}}}));
    const TaskSample sample = read(name)[0];
    EXPECT_EQ(sample.input.find("<|"), std::string::npos) << name;
    EXPECT_EQ(sample.stop_at_newline, std::string_view(name) == "samsum");
    const bool code = std::string_view(name) == "lcc" || std::string_view(name) == "repobench-p";
    EXPECT_EQ(sample.first_line_only, !code);
  }
  EXPECT_THAT(read("trec")[0].all_classes, ElementsAre("x", "y"));
  EXPECT_EQ(score(read("trec")[0], "x\ny"), 1.0);
}

TEST_F(LongBench, FindsSetsWithAndWithoutE) {
  EXPECT_THAT(error_of([&] { (void)find_longbench_sets(folder_.path()); }), HasSubstr("unpack data.zip"));
  write_text(folder_ / "lcc.jsonl", line_of({{"context", "plain"}}));
  write_text(folder_ / "qasper.jsonl", line_of());
  write_text(folder_ / "lcc_e.jsonl", line_of({{"context", "balanced"}}));
  write_text(folder_ / "narrativeqa.jsonl", line_of());
  EXPECT_THAT(find_longbench_sets(folder_.path()), ElementsAre("qasper", "lcc"));
  EXPECT_THAT(read("lcc")[0].input, HasSubstr("balanced"));
}

TEST_F(LongBench, CutsTheMiddleOfLongPrompts) {
  std::string context;
  for (int i = 0; i < 2000; ++i) context += fmt::format("w{} ", i);
  write_text(folder_ / "lcc.jsonl", line_of({{"context", context}}));
  const std::string prompt = read("lcc", 1000)[0].input;
  const auto ids =
      nano_tokenizer().encode("Please complete the code given below. \n" + context + "Next line of code:\n");
  const std::span<const int32_t> all(ids);
  ASSERT_EQ(ids[0], nano_tokenizer().bos_id());  // counts in the first half and is not decoded
  EXPECT_EQ(prompt, nano_tokenizer().decode(all.subspan(1, 499)) + nano_tokenizer().decode(all.last(500)));
  EXPECT_TRUE(prompt.ends_with(" w1999 Next line of code:\n"));
  // A prompt of just the limit stays whole.
  const auto whole = static_cast<int64_t>(ids.size());
  EXPECT_THAT(read("lcc", whole)[0].input, HasSubstr("w999 w1000 w1001"));
  EXPECT_NE(read("lcc", whole - 1)[0].input, read("lcc", whole)[0].input);
}

TEST_F(LongBench, ACutThroughACharacterLeavesValidText) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "\U0001f600";  // of several tokens each
  for (int64_t most = 20; most < 28; ++most) {
    const std::string cut = cut_middle(nano_tokenizer(), text, most);
    EXPECT_EQ(valid_utf8_prefix(cut), cut.size());
    EXPECT_LT(cut.size(), text.size());
  }
}

TEST_F(LongBench, RefusesBadLines) {
  const auto refuse = [&](const std::string& name, const std::string& lines) {
    write_text(folder_ / (name + "_e.jsonl"), lines);
    return error_of([&] { (void)read(name); });
  };
  EXPECT_THAT(refuse("qasper", line_of() + "{\"input\": \"x\"}\n"),
              HasSubstr("qasper_e.jsonl:2: key 'answers' not found"));
  EXPECT_THAT(refuse("qasper", line_of({{"answers", "x"}})),
              HasSubstr("qasper_e.jsonl:1: type must be array"));
  EXPECT_THAT(refuse("qasper", line_of({{"answers", Json::array()}})), HasSubstr("1: `answers` is empty"));
  EXPECT_THAT(refuse("qasper", line_of({{"length", "long"}})),
              HasSubstr("1: length is \"long\": an integer was expected"));
  EXPECT_THAT(refuse("qasper", "[]\n"), HasSubstr("1: expected an object, found array"));
  EXPECT_THAT(refuse("qasper", "{\n"), HasSubstr("qasper_e.jsonl:1: "));
  EXPECT_THAT(refuse("qasper", "\n"), HasSubstr("there is no sample in it"));
  EXPECT_THAT(refuse("trec", line_of()), HasSubstr("trec_e.jsonl:1: `all_classes` is missing"));
  EXPECT_THAT(refuse("passage_retrieval_en", line_of()),
              HasSubstr("en_e.jsonl:1: the answer \"x\" names no paragraph"));
  EXPECT_THAT(error_of([&] { (void)read("lcc"); }), HasSubstr("neither lcc_e.jsonl nor lcc.jsonl"));
  EXPECT_THAT(error_of([&] { (void)read("dureader"); }), HasSubstr("no LongBench-E set \"dureader\""));
  EXPECT_THAT(error_of([&] { (void)read("lcc", 0); }), HasSubstr("max_prompt_tokens is 0"));
}

}  // namespace
}  // namespace seer::test
