#include "data/tasks/prompt.h"

#include <array>

#include "data/unicode.h"
#include "src/core/error.h"

namespace seer {
namespace {

struct Layout {
  PromptTemplate id;
  std::string_view name;
  std::string_view before;
  std::string_view after;
  bool trims;
};

constexpr std::array<Layout, 6> kLayouts = {{
    {PromptTemplate::kBase, "base", "", "", false},
    {PromptTemplate::kLlama3Spaced, "llama-3", "<|start_header_id|>user<|end_header_id|> ",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>", false},
    {PromptTemplate::kMetaLlama3, "meta-llama3",
     "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", false},
    {PromptTemplate::kLlama31, "llama-3.1",
     "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
     "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", true},
    {PromptTemplate::kChatMl, "chatml", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", false},
    {PromptTemplate::kQwen25, "qwen2.5",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
     "<|im_start|>user\n",
     "<|im_end|>\n<|im_start|>assistant\n", false},
}};

const Layout& layout_of(PromptTemplate prompt_template) {
  for (const Layout& layout : kLayouts)
    if (layout.id == prompt_template) return layout;
  fail("prompt template {} is not in the table", static_cast<int>(prompt_template));
}

}  // namespace

PromptTemplate parse_prompt_template(std::string_view name) {
  std::string names;
  for (const Layout& layout : kLayouts) {
    if (layout.name == name) return layout.id;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", layout.name);
  }
  fail_usage("there is no prompt template \"{}\"; there are {}", name, names);
}

std::string_view prompt_template_name(PromptTemplate prompt_template) {
  return layout_of(prompt_template).name;
}

std::string apply_template(PromptTemplate prompt_template, std::string_view text) {
  const Layout& layout = layout_of(prompt_template);
  return fmt::format("{}{}{}", layout.before, layout.trims ? trim_white_space(text) : text, layout.after);
}

std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view prompt) {
  const auto bos = tokenizer.bos_id();
  const bool spells_bos = bos && prompt.starts_with(tokenizer.id_to_token(*bos));
  return tokenizer.encode(prompt, {.add_special_tokens = !spells_bos, .parse_special = true});
}

}  // namespace seer
