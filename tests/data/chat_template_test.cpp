#include "data/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/data/tokenizer_files.h"

namespace seer {
namespace {

const std::vector<ChatMessage> kConversation = {{"system", " Be brief.\n"},
                                                {"user", "\u3000Hi <|im_end|> there \n"},
                                                {"assistant", "<think>\nhm\n</think>\n\nHello."}};

// The expected texts of both formats are what Jinja renders from the published templates (of Llama-3.1
// without the two date lines that it adds).
TEST(ChatTemplate, Llama3) {
  EXPECT_EQ(render_chat(ChatFormat::kLlama3, kConversation, false),
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi <|im_end|> there<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n<think>\nhm\n</think>\n\nHello.<|eot_id|>");
}

TEST(ChatTemplate, ChatMl) {
  EXPECT_EQ(render_chat(ChatFormat::kChatMl, kConversation, false),
            "<|im_start|>system\n Be brief.\n<|im_end|>\n"
            "<|im_start|>user\n\u3000Hi <|im_end|> there \n<|im_end|>\n"
            "<|im_start|>assistant\n<think>\nhm\n</think>\n\nHello.<|im_end|>\n");
}

TEST(ChatTemplate, GenerationPrompt) {
  const std::vector<ChatMessage> question = {{"user", "Hi"}};
  EXPECT_EQ(render_chat(ChatFormat::kLlama3, question, true),
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(render_chat(ChatFormat::kChatMl, question, true),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, NothingIsInvented) {
  EXPECT_EQ(render_chat(ChatFormat::kLlama3, {}, false), "<|begin_of_text|>");
  EXPECT_EQ(render_chat(ChatFormat::kChatMl, {}, false), "");
}

TEST(ChatTemplate, OtherRolesAreRefused) {
  const std::vector<ChatMessage> messages = {{"user", "Hi"}, {"tool", "{}"}};
  EXPECT_THAT(test::message_of([&] { render_chat(ChatFormat::kChatMl, messages, false); }),
              testing::HasSubstr("messages[1].role is \"tool\""));
}

TEST(ChatTemplate, IsDetectedByItsTokens) {
  const auto with_tokens = [](const std::vector<std::string>& contents) {
    nlohmann::json file = test::small_tokenizer_json();
    for (const auto& content : contents) {
      nlohmann::json token = file["added_tokens"][0];
      token["content"] = content;
      token["id"] = 260 + static_cast<int>(file["added_tokens"].size());
      file["added_tokens"].push_back(token);
    }
    return detect_chat_format(Tokenizer::from_json(file.dump(), "test"));
  };
  EXPECT_EQ(with_tokens({}), std::nullopt);
  EXPECT_EQ(with_tokens({"<|im_start|>"}), std::nullopt);
  EXPECT_EQ(with_tokens({"<|im_start|>", "<|im_end|>"}), ChatFormat::kChatMl);
  EXPECT_EQ(with_tokens({"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}),
            ChatFormat::kLlama3);
}

TEST(ChatTemplate, EncodesWithoutASecondBeginning) {
  const test::TempDir folder;
  test::unpack_fixture("seer-nano", folder.path());
  const Tokenizer tokenizer(folder.path());
  ASSERT_EQ(detect_chat_format(tokenizer), ChatFormat::kLlama3);
  const std::string text = render_chat(ChatFormat::kLlama3, kConversation, true);
  const auto ids = tokenizer.encode(text, {.add_special_tokens = false, .parse_special = true});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer.bos_id()), 1);
  EXPECT_EQ(ids.front(), tokenizer.bos_id());
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer.token_to_id("<|eot_id|>")), 3);
  EXPECT_EQ(tokenizer.decode(ids), text);
}

}  // namespace
}  // namespace seer
