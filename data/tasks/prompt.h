// What surrounds a task's text on its way into a model: chat templates as the benchmarks write them.
#pragma once

#include <cstdint>
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
  kChatMl,        ///< "chatml": Qwen3 and others, no system message.
  kQwen25,        ///< "qwen2.5": ChatML with the system message that Qwen2.5's own template puts in.
};

/// The template of a name as spelled above; a usage Error that lists the names for any other.
PromptTemplate parse_prompt_template(std::string_view name);
std::string_view prompt_template_name(PromptTemplate prompt_template);

/// `text` as the user's only message, up to where the assistant's answer begins. Special tokens are spelled
/// out. kLlama31 trims white space around the text, as that template does.
std::string apply_template(PromptTemplate prompt_template, std::string_view text);

/// A prompt's ids as the benchmarks' scripts get them from the Hugging Face tokenizer: special tokens spelled
/// in the text are recognised, and BOS is put in front where the tokenizer does that. A prompt that spells its
/// BOS does not get another one (those scripts add a second).
std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view prompt);

}  // namespace seer
