// The two chat formats that are built in: Llama-3's headers and ChatML.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "data/tokenizer.h"

namespace seer {

enum class ChatFormat {
  kLlama3,  ///< <|begin_of_text|>, then <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|> each.
  kChatMl,  ///< <|im_start|>role\ncontent<|im_end|>\n for each message.
};

struct ChatMessage {
  std::string role;  ///< "system", "user" or "assistant".
  std::string content;
};

/// The conversation as text. Special tokens are spelled out, Llama-3's <|begin_of_text|> included, so encode
/// it with add_special_tokens = false and parse_special = true. `add_generation_prompt` ends the text with
/// the opening of an assistant message. Throws Error on another role (tool calls are not supported), naming
/// the message's index.
///
/// Nothing is invented: a conversation without a system message is rendered without one. That is how Qwen3
/// and Llama-3 do it, but two models' own templates add text here:
/// - Qwen2.5 puts "You are Qwen, created by Alibaba Cloud. You are a helpful assistant." as system message in
///   front of a conversation that has none; with a system message ours equals it.
/// - Llama-3.1 always writes a system message and starts it with "Cutting Knowledge Date: December 2023\n"
///   "Today Date: 26 Jul 2024\n\n"; put these lines in front of the system message's content to equal it.
/// Assistant messages keep their <think> parts in every turn, as SeerAttention-R trains; Qwen3's own template
/// drops them from earlier turns and puts an empty one into a last answer that has none.
/// Llama-3 trims white space around the content (as Python's str.strip), ChatML keeps it.
std::string render_chat(ChatFormat format, std::span<const ChatMessage> messages, bool add_generation_prompt);

/// What a text of the format begins with; how a message begins and ends.
std::string_view chat_start(ChatFormat format);
std::string open_message(ChatFormat format, std::string_view role);
std::string_view close_message(ChatFormat format);

/// The format whose special tokens the tokenizer has; none if it has neither's. If it has both, Llama-3.
std::optional<ChatFormat> detect_chat_format(const Tokenizer& tokenizer);

}  // namespace seer
