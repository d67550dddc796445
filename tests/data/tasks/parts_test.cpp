// The parts that tasks are made of: words, random strings, fitting, templates, text.
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/chat_template.h"
#include "data/tasks/fit.h"
#include "data/tasks/prompt.h"
#include "data/tasks/random_text.h"
#include "data/tasks/text.h"
#include "data/tasks/words.h"
#include "src/io/atomic_file.h"
#include "tests/data/tasks/task_files.h"
#include "tests/support/fixtures.h"

namespace seer::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Words, AreTheListsOfWonderwords) {
  EXPECT_EQ(nouns().size(), 6782U);
  EXPECT_EQ(adjectives().size(), 910U);  // 912 lines, two of them twice
  EXPECT_TRUE(std::is_sorted(all_words().begin(), all_words().end()));
  for (const char* word : {"contact lens", "jalape\u00f1o", "nasty", "abide"})
    EXPECT_TRUE(std::binary_search(all_words().begin(), all_words().end(), std::string_view(word))) << word;
  Rng rng(1);
  std::set<std::string> pairs;
  for (int i = 0; i < 1000; ++i) pairs.insert(random_word_pair(rng));
  EXPECT_GT(pairs.size(), 995U);
}

TEST(RandomText, HasTheFormsThatItShould) {
  Rng rng(2);
  std::set<char> first, last, letters, variants;
  for (int i = 0; i < 500; ++i) {
    const std::string number = random_number(rng, 7);
    EXPECT_EQ(number.size(), 7U);
    first.insert(number.front());
    last.insert(number.back());
    const std::string uuid = random_uuid(rng);
    EXPECT_FALSE(
        find_all(uuid, "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").empty())
        << uuid;
    variants.insert(uuid[19]);
    for (const char c : random_letters(rng, 5, 'A')) letters.insert(c);
  }
  EXPECT_EQ(first.size(), 9U);
  EXPECT_EQ(last.size(), 10U);
  EXPECT_EQ(variants.size(), 4U);
  EXPECT_EQ(letters.size(), 26U);
  EXPECT_EQ(*letters.begin(), 'A');
}

TEST(RandomText, ChoosesDifferentOnes) {
  Rng rng(3);
  std::vector<int> first(5, 0);
  for (int i = 0; i < 1000; ++i) {
    const std::vector<int64_t> chosen = choose(rng, 3, 5);
    EXPECT_EQ(std::set<int64_t>(chosen.begin(), chosen.end()).size(), 3U);
    ++first[static_cast<size_t>(chosen[0])];
  }
  for (const int count : first) EXPECT_NEAR(count, 200, 60);  // 4.7 standard deviations
  EXPECT_EQ(choose(rng, 5, 5).size(), 5U);
}

TEST(Fit, FindsTheLargest) {
  for (const int64_t limit : {int64_t{100}, int64_t{101}, int64_t{4096}, int64_t{100000}}) {
    int calls = 0;
    const auto tokens = [&](int64_t size) {
      ++calls;
      return 60 + 25 * size + static_cast<int64_t>(std::sqrt(static_cast<double>(size)));
    };
    const Fit fit = largest_that_fits(1, 1'000'000, limit, tokens);
    EXPECT_EQ(fit.tokens, tokens(fit.size));
    EXPECT_LE(fit.tokens, limit);
    EXPECT_TRUE(tokens(fit.size + 1) > limit || (limit - fit.tokens) * 512 < limit) << fit.size;
    EXPECT_LE(calls, 22);
  }
}

TEST(Fit, StopsAtTheEnds) {
  const auto tokens = [](int64_t size) { return 10 * size; };
  EXPECT_EQ(largest_that_fits(3, 7, 1000, tokens).size, 7);
  const Fit nothing = largest_that_fits(3, 7, 20, tokens);
  EXPECT_EQ(nothing.size, 3);
  EXPECT_EQ(nothing.tokens, 30);
}

TEST(Fit, FitsWhereTheCountIsNotMonotone) {
  const auto tokens = [](int64_t size) { return 3 * size + (size * 7919 % 13); };
  for (int64_t limit = 20; limit < 400; ++limit) {
    const Fit fit = largest_that_fits(1, 1000, limit, tokens);
    EXPECT_LE(fit.tokens, limit);
    EXPECT_GE(fit.tokens, limit - 20);
  }
}

TEST(Prompt, TemplatesEqualTheChatTemplates) {
  const std::vector<ChatMessage> user = {{"user", "What?"}};
  EXPECT_EQ(apply_template(PromptTemplate::kMetaLlama3, "What?"),
            render_chat(ChatFormat::kLlama3, user, true));
  EXPECT_EQ(apply_template(PromptTemplate::kChatMl, "What?"), render_chat(ChatFormat::kChatMl, user, true));
  const std::vector<ChatMessage> dated = {
      {"system", "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"}, {"user", "What?"}};
  // The published template writes the system message itself, with the empty lines that ours trims.
  std::string llama31 = render_chat(ChatFormat::kLlama3, dated, true);
  llama31.insert(llama31.find("<|eot_id|>"), "\n\n");
  EXPECT_EQ(apply_template(PromptTemplate::kLlama31, " What?\n"), llama31);
  const std::vector<ChatMessage> qwen = {
      {"system", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."}, {"user", "What?"}};
  EXPECT_EQ(apply_template(PromptTemplate::kQwen25, "What?"), render_chat(ChatFormat::kChatMl, qwen, true));
  EXPECT_EQ(apply_template(PromptTemplate::kBase, " What?\n"), " What?\n");
}

TEST(Prompt, SystemMessages) {
  const std::vector<ChatMessage> both = {{"system", "Be brief."}, {"user", "What?"}};
  EXPECT_EQ(apply_template(PromptTemplate::kMetaLlama3, "What?", "Be brief."),
            render_chat(ChatFormat::kLlama3, both, true));
  for (const auto ml : {PromptTemplate::kChatMl, PromptTemplate::kQwen25})
    EXPECT_EQ(apply_template(ml, "What?", "Be brief."), render_chat(ChatFormat::kChatMl, both, true));
  EXPECT_EQ(apply_template(PromptTemplate::kQwen3, "What?"),
            apply_template(PromptTemplate::kChatMl, "What?") + "<think>\n\n</think>\n\n");
  const std::vector<ChatMessage> dated = {
      {"system", "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\nBe brief."},
      {"user", "What?"}};
  EXPECT_EQ(apply_template(PromptTemplate::kLlama31, "What?", " Be brief."),
            render_chat(ChatFormat::kLlama3, dated, true));
  EXPECT_THAT(error_of([] { (void)apply_template(PromptTemplate::kDeepSeekR1, "What?", "Be brief."); }),
              HasSubstr("no room"));
}

TEST(Prompt, AModelsOwnTemplateIsRecognised) {
  using enum PromptTemplate;
  const auto of = [](std::string_view text) { return recognise_template(text); };
  EXPECT_EQ(of("<|start_header_id|>...<|eot_id|>"), kMetaLlama3);
  EXPECT_EQ(of("<|start_header_id|>Cutting Knowledge Date: December 2023<|eot_id|>"), kLlama31);
  EXPECT_EQ(of("<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. ..<|im_end|>"), kQwen25);
  EXPECT_EQ(of("<|im_start|>{%- if enable_thinking is defined %}<|im_end|>"), kQwen3);
  EXPECT_EQ(of("<|im_start|>..<|im_end|>"), kChatMl);
  EXPECT_EQ(of("<\uff5cUser\uff5c>..<\uff5cAssistant\uff5c>"), kDeepSeekR1);
  EXPECT_EQ(of("[INST]"), std::nullopt);

  const test::TempDir folder;
  EXPECT_EQ(read_chat_template(folder.path()), std::nullopt);
  const auto config = folder / "tokenizer_config.json";
  write_file_atomically(config, R"({"chat_template": null})");
  EXPECT_EQ(read_chat_template(folder.path()), std::nullopt);
  write_file_atomically(config, R"({"chat_template": "one"})");
  EXPECT_EQ(read_chat_template(folder.path()), "one");
  write_file_atomically(
      config,
      R"({"chat_template": [{"name":"tool_use","template":"t"},{"name":"default","template":"two"}]})");
  EXPECT_EQ(read_chat_template(folder.path()), "two");
  write_file_atomically(folder / "chat_template.jinja", "three");
  EXPECT_EQ(read_chat_template(folder.path()), "three");
}

TEST(Prompt, NamesGoBothWays) {
  for (const char* name :
       {"base", "llama-3", "meta-llama3", "llama-3.1", "chatml", "qwen2.5", "qwen3", "deepseek-r1"})
    EXPECT_EQ(prompt_template_name(parse_prompt_template(name)), name);
  EXPECT_THAT(error_of([] { (void)parse_prompt_template("llama3"); }),
              HasSubstr("no prompt template \"llama3\"; there are base, llama-3, meta-llama3"));
}

TEST(Prompt, HasOneBosOnly) {
  const auto bos = nano_tokenizer().bos_id();
  ASSERT_TRUE(bos.has_value());
  for (const auto prompt_template :
       {PromptTemplate::kBase, PromptTemplate::kLlama3Spaced, PromptTemplate::kMetaLlama3}) {
    const auto ids = encode_prompt(nano_tokenizer(), apply_template(prompt_template, "What?"));
    EXPECT_EQ(ids[0], *bos);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), *bos), 1);
  }
}

TEST(Text, SplitsAndLowersAsPython) {
  EXPECT_THAT(split_white_space("\u3000a\tb\u2003 c\x1f"), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(split_white_space(" \n").empty());
  EXPECT_EQ(lower_case("\u00c4B\u03a3 \u1e9e"), "\u00e4b\u03c3 \u00df");
}

TEST(Text, ReplacesWhatIsNoCharacter) {
  EXPECT_EQ(valid_text("a\xe2\x82"), "a\ufffd");                  // cut off: one
  EXPECT_EQ(valid_text("\x98\x80z"), "\ufffd\ufffdz");            // left over: one each
  EXPECT_EQ(valid_text("\xf0\x9f\x98\xf0\x9f"), "\ufffd\ufffd");  // two cut off
  EXPECT_EQ(valid_text("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");    // a surrogate is no character's beginning
  EXPECT_EQ(valid_text("\xc0\xaf\xff"), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(valid_text("gut \u00e9"), "gut \u00e9");
}

}  // namespace
}  // namespace seer::test
