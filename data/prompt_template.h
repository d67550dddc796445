// What surrounds a text on its way into a model: chat templates by name, as the benchmarks and the models write them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"

namespace seer {

enum class PromptTemplate {
  kBase,          ///< "base": the text alone, for models without chat training.
  kLlama3Spaced,  ///< "llama-3": published SeerAttention RULER figures: no BOS in the text, single spaces.
  kMetaLlama3,    ///< "meta-llama3": NVIDIA's RULER: BOS and Llama-3's own layout, no system message.
  kLlama31,       ///< "llama-3.1": Llama-3.1's own template, its system message with dates included.
  kChatMl,        ///< "chatml": Qwen3, which then thinks first, and others; no system message.
  kQwen25,        ///< "qwen2.5": ChatML with the system message that Qwen2.5's own template puts in.
  kQwen3,         ///< "qwen3": ChatML, the answer begun with an empty thought (enable_thinking = False).
  kDeepSeekR1,    ///< "deepseek-r1": of the DeepSeek-R1 distillations; the answer begins with a thought.
};

/// All names, for messages and help.
std::string prompt_template_names();
/// The template of a name as spelled above; a usage Error that lists the names for any other.
PromptTemplate parse_prompt_template(std::string_view name);
std::string_view prompt_template_name(PromptTemplate prompt_template);

/// `text` as the user's only message, up to where the assistant's answer begins. Special tokens are spelled
/// out. kLlama31 trims white space around the text, as that template does. `system` is a system message, in place of the
/// template's own if it has one; a usage Error where the template has no room for one.
std::string apply_template(PromptTemplate prompt_template, std::string_view text,
                           std::optional<std::string_view> system = std::nullopt);

/// The text of a model folder's own chat template: chat_template.jinja, or "chat_template" of tokenizer_config.json. None if
/// it has neither, as base models have not.
std::optional<std::string> read_chat_template(const std::filesystem::path& folder);

/// Which of those above a model's own chat template is, by what it is known by; a template that belongs to none of them, or
/// writes a system message that they do not, is none. Of Qwen3's, kQwen3; of Llama-3's, kLlama31 or kMetaLlama3.
std::optional<PromptTemplate> recognise_template(std::string_view chat_template);

/// A prompt's ids as the benchmarks' scripts get them from the Hugging Face tokenizer: special tokens spelled
/// in the text are recognised, and BOS is put in front where the tokenizer does that. A prompt that spells its
/// BOS does not get another one (those scripts add a second).
std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view prompt);

}  // namespace seer
