#include "data/chat_template.h"

#include <algorithm>
#include <array>

#include "data/unicode.h"
#include "src/core/error.h"

namespace seer {
namespace {

bool has_tokens(const Tokenizer& tokenizer, std::initializer_list<std::string_view> tokens) {
  return std::all_of(tokens.begin(), tokens.end(),
                     [&](std::string_view token) { return tokenizer.token_to_id(token).has_value(); });
}

void check_roles(std::span<const ChatMessage> messages) {
  constexpr std::array<std::string_view, 3> kRoles = {"system", "user", "assistant"};
  for (size_t i = 0; i < messages.size(); ++i)
    if (std::find(kRoles.begin(), kRoles.end(), messages[i].role) == kRoles.end())
      fail("messages[{}].role is \"{}\", expected system, user or assistant", i, messages[i].role);
}

}  // namespace

std::string_view chat_start(ChatFormat format) {
  return format == ChatFormat::kLlama3 ? "<|begin_of_text|>" : "";
}

std::string open_message(ChatFormat format, std::string_view role) {
  return format == ChatFormat::kLlama3 ? fmt::format("<|start_header_id|>{}<|end_header_id|>\n\n", role)
                                       : fmt::format("<|im_start|>{}\n", role);
}

std::string_view close_message(ChatFormat format) {
  return format == ChatFormat::kLlama3 ? "<|eot_id|>" : "<|im_end|>\n";
}

std::string render_chat(ChatFormat format, std::span<const ChatMessage> messages,
                        bool add_generation_prompt) {
  check_roles(messages);
  const bool llama = format == ChatFormat::kLlama3;
  std::string text(chat_start(format));
  for (const ChatMessage& message : messages) {
    text += open_message(format, message.role);
    text += llama ? trim_white_space(message.content) : std::string_view(message.content);
    text += close_message(format);
  }
  if (add_generation_prompt) text += open_message(format, "assistant");
  return text;
}

std::optional<ChatFormat> detect_chat_format(const Tokenizer& tokenizer) {
  if (has_tokens(tokenizer, {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}))
    return ChatFormat::kLlama3;
  if (has_tokens(tokenizer, {"<|im_start|>", "<|im_end|>"})) return ChatFormat::kChatMl;
  return std::nullopt;
}

}  // namespace seer
