// Prompts by name: against the chat formats, and what a model's own template is recognised by.
#include "data/prompt_template.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/chat_template.h"
#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using ::testing::HasSubstr;

template <typename Body>
std::string error_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
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
  EXPECT_EQ(apply_template(PromptTemplate::kDeepSeekR1, "What?", "Be brief."),
            "<\uff5cbegin\u2581of\u2581sentence\uff5c>Be "
            "brief.<\uff5cUser\uff5c>What?<\uff5cAssistant\uff5c><think>\n");
  for (const auto none : {PromptTemplate::kBase, PromptTemplate::kLlama3Spaced})
    EXPECT_THAT(error_of([&] { (void)apply_template(none, "What?", "Be brief."); }), HasSubstr("no room"));
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
  // A system message that none of ours has; one that the user's takes the place of is none.
  for (const char* own : {"<|im_start|>system\nYou are a helpful assistant.<|im_end|>",
                          R"(<|im_start|>system\nYou are a helpful assistant.<|im_end|>)"})
    EXPECT_EQ(of(own), std::nullopt) << own;
  for (
      const char* own :
      {"<|im_start|>system\n你是一个有用的助手。<|im_end|>",
       R"({%- set system_message = "You are a pirate." %}<|start_header_id|>Cutting Knowledge Date<|eot_id|>)",
       "<|start_header_id|>system<|end_header_id|>\n\nYou are a pirate.<|eot_id|>",
       R"({{- '<|start_header_id|>system<|end_header_id|>\n\nYou are a pirate.<|eot_id|>' }})"})
    EXPECT_EQ(of(own), std::nullopt) << own;
  EXPECT_EQ(of(R"({{- '<|start_header_id|>system<|end_header_id|>\n\n' + content + '<|eot_id|>' }})"),
            kMetaLlama3);
  EXPECT_EQ(of(R"({%- set system_message = messages[0]['content']|trim %}{%- set system_message = "" %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}{{- "Cutting Knowledge Date: December 2023\n" }}<|eot_id|>)"),
            kLlama31);
  EXPECT_EQ(of(R"({{- '<|im_start|>system\n' }} {{ content + '<|im_end|>' }})"), kChatMl);

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
  const Tokenizer tokenizer(test::source_dir() / "configs/quickstart/seer-nano");
  const auto bos = tokenizer.bos_id();
  ASSERT_TRUE(bos.has_value());
  for (const auto prompt_template :
       {PromptTemplate::kBase, PromptTemplate::kLlama3Spaced, PromptTemplate::kMetaLlama3}) {
    const auto ids = encode_prompt(tokenizer, apply_template(prompt_template, "What?"));
    EXPECT_EQ(ids[0], *bos);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), *bos), 1);
  }
}

}  // namespace
}  // namespace seer
