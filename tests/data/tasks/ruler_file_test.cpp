// RULER's jsonl: ours is read back, its own is read, bad lines are named.
#include "data/tasks/ruler_file.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tasks/ruler.h"
#include "data/tasks/scoring.h"
#include "src/io/atomic_file.h"
#include "tests/data/tasks/task_files.h"

namespace seer::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(RulerFile, ReadsWhatItWrote) {
  const TempDir folder;
  for (const char* task : {"niah_single_2", "cwe", "qa_1"}) {
    const auto samples = make_ruler_samples(ruler_options(folder, task, 4096), nano_tokenizer(), 3);
    write_ruler_file(folder / "samples.jsonl", samples);
    const auto read = read_ruler_file(folder / "samples.jsonl", task);
    ASSERT_EQ(read.size(), samples.size());
    for (size_t i = 0; i < read.size(); ++i) {
      EXPECT_EQ(read[i].task, samples[i].task);
      EXPECT_EQ(read[i].index, samples[i].index);
      EXPECT_EQ(read[i].input, samples[i].input);
      EXPECT_EQ(read[i].answer_prefix, samples[i].answer_prefix);
      EXPECT_EQ(read[i].outputs, samples[i].outputs);
      EXPECT_EQ(read[i].metric, samples[i].metric);
      EXPECT_EQ(read[i].tokens_to_generate, samples[i].tokens_to_generate);
      EXPECT_EQ(read[i].length, samples[i].length);
      EXPECT_EQ(read[i].haystack, samples[i].haystack);
    }
  }
}

TEST(RulerFile, ReadsFilesOfItsOwnScripts) {
  const TempDir folder;
  // Of NVIDIA's prepare.py: `index` is a place in the text there. Of the fork: no prefix apart.
  write_text(
      folder / "vt/validation.jsonl",
      "{\"index\": 4711, \"input\": \"Memorize\\u2026\", \"outputs\": [\"ABCDE\", \"FGHIJ\"], \"length\": "
      "4090, "
      "\"length_w_model_temp\": 4090, \"answer_prefix\": \" Answer: \", \"token_position_answer\": 7}\r\n"
      "\n"
      "{\"index\": 4711, \"input\": \"x Answer:\", \"outputs\": [\"KLMNO\"]}");
  EXPECT_EQ(find_ruler_file(folder.path(), "vt"), folder / "vt/validation.jsonl");
  const auto samples = read_ruler_file(folder / "vt/validation.jsonl", "vt");
  ASSERT_EQ(samples.size(), 2U);
  EXPECT_EQ(samples[0].prompt(), "Memorize\u2026 Answer: ");
  EXPECT_EQ(samples[0].length, 4090);
  EXPECT_EQ(samples[1].prompt(), "x Answer:");
  EXPECT_EQ(samples[1].index, 1);
  EXPECT_EQ(samples[1].tokens_to_generate, 30);
  EXPECT_EQ(score(samples[0], "fghij"), 0.5);
}

TEST(RulerFile, FindsPlainFiles) {
  const TempDir folder;
  write_text(folder / "vt.jsonl", "");
  EXPECT_EQ(find_ruler_file(folder.path(), "vt"), folder / "vt.jsonl");
  EXPECT_THAT(error_of([&] { (void)find_ruler_file(folder.path(), "cwe"); }),
              HasSubstr("cwe/validation.jsonl nor "));
}

TEST(RulerFile, NamesBadLines) {
  const TempDir folder;
  const auto refuse = [&](const std::string& lines) {
    write_text(folder / "f.jsonl", lines);
    return error_of([&] { (void)read_ruler_file(folder / "f.jsonl", "vt"); });
  };
  const std::string good = "{\"input\": \"x\", \"outputs\": [\"y\"]}\n";
  EXPECT_EQ(refuse(good), "");
  EXPECT_THAT(refuse(good + "{\"outputs\": [\"y\"]}\n"), HasSubstr("f.jsonl:2: key 'input' not found"));
  EXPECT_THAT(refuse(good + good + "nonsense\n"), HasSubstr("f.jsonl:3: "));
  EXPECT_THAT(refuse("{\"input\": \"x\", \"outputs\": []}\n"), HasSubstr("f.jsonl:1: `outputs` is empty"));
  EXPECT_THAT(refuse("{\"input\": \"x\", \"outputs\": [3]}\n"), HasSubstr("f.jsonl:1: type must be string"));
  EXPECT_THAT(refuse("{\"input\": \"x\", \"outputs\": [\"y\"], \"length\": \"z\"}\n"),
              HasSubstr("f.jsonl:1: length is"));
  EXPECT_THAT(refuse("7\n"), HasSubstr("f.jsonl:1: expected an object, found number"));
  EXPECT_THAT(refuse(""), HasSubstr("there is no sample"));
  EXPECT_THAT(error_of([&] { (void)read_ruler_file(folder / "absent.jsonl", "vt"); }),
              HasSubstr("absent.jsonl"));
  EXPECT_THAT(error_of([&] { (void)read_ruler_file(folder / "f.jsonl", "vtt"); }),
              HasSubstr("no RULER task \"vtt\""));
}

}  // namespace
}  // namespace seer::test
