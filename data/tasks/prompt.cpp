#include "data/tasks/prompt.h"

#include <array>

#include <nlohmann/json.hpp>

#include "data/unicode.h"
#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "src/io/json_file.h"

namespace seer {
namespace {

/// start [before_system system after_system] before text after
struct Layout {
  PromptTemplate id;
  std::string_view name;
  std::string_view start = {};
  std::string_view before_system = {};
  std::string_view after_system = {};  ///< Empty: no room for a system message
  std::optional<std::string_view> own_system = std::nullopt;
  std::string_view before = {};
  std::string_view after = {};
  bool trims = false;
};

constexpr std::string_view kLlamaStart = "<|begin_of_text|>";
constexpr std::string_view kLlamaSystem = "<|start_header_id|>system<|end_header_id|>\n\n";
constexpr std::string_view kLlamaUser = "<|start_header_id|>user<|end_header_id|>\n\n";
constexpr std::string_view kLlamaEnd = "<|eot_id|>";
constexpr std::string_view kLlamaAnswer = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";
constexpr std::string_view kChatMlSystem = "<|im_start|>system\n";
constexpr std::string_view kChatMlUser = "<|im_start|>user\n";
constexpr std::string_view kChatMlEnd = "<|im_end|>\n";
constexpr std::string_view kChatMlAnswer = "<|im_end|>\n<|im_start|>assistant\n";

constexpr std::array<Layout, 8> kLayouts = {{
    {.id = PromptTemplate::kBase, .name = "base"},
    {.id = PromptTemplate::kLlama3Spaced,
     .name = "llama-3",
     .before = "<|start_header_id|>user<|end_header_id|> ",
     .after = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>"},
    {.id = PromptTemplate::kMetaLlama3,
     .name = "meta-llama3",
     .start = kLlamaStart,
     .before_system = kLlamaSystem,
     .after_system = kLlamaEnd,
     .before = kLlamaUser,
     .after = kLlamaAnswer},
    {.id = PromptTemplate::kLlama31,
     .name = "llama-3.1",
     .start = kLlamaStart,
     .before_system = "<|start_header_id|>system<|end_header_id|>\n\n"
                      "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
     .after_system = kLlamaEnd,
     .own_system = "",
     .before = kLlamaUser,
     .after = kLlamaAnswer,
     .trims = true},
    {.id = PromptTemplate::kChatMl,
     .name = "chatml",
     .before_system = kChatMlSystem,
     .after_system = kChatMlEnd,
     .before = kChatMlUser,
     .after = kChatMlAnswer},
    {.id = PromptTemplate::kQwen25,
     .name = "qwen2.5",
     .before_system = kChatMlSystem,
     .after_system = kChatMlEnd,
     .own_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
     .before = kChatMlUser,
     .after = kChatMlAnswer},
    {.id = PromptTemplate::kQwen3,
     .name = "qwen3",
     .before_system = kChatMlSystem,
     .after_system = kChatMlEnd,
     .before = kChatMlUser,
     .after = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"},
    // U+FF5C and U+2581, as its tokens are spelled.
    {.id = PromptTemplate::kDeepSeekR1,
     .name = "deepseek-r1",
     .start = "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
     .before = "<\uff5cUser\uff5c>",
     .after = "<\uff5cAssistant\uff5c><think>\n"},
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

std::string apply_template(PromptTemplate prompt_template, std::string_view text,
                           std::optional<std::string_view> system) {
  const Layout& layout = layout_of(prompt_template);
  if (system && layout.after_system.empty())
    fail_usage("prompt template \"{}\" has no room for a system message", layout.name);
  const auto trimmed = [&](std::string_view part) { return layout.trims ? trim_white_space(part) : part; };
  std::string out(layout.start);
  if (system || layout.own_system) {
    out += fmt::format("{}{}{}", layout.before_system, trimmed(system ? *system : *layout.own_system),
                       layout.after_system);
  }
  return out + fmt::format("{}{}{}", layout.before, trimmed(text), layout.after);
}

std::optional<std::string> read_chat_template(const std::filesystem::path& folder) {
  if (const auto file = folder / "chat_template.jinja"; std::filesystem::exists(file))
    return read_text_file(file);
  const auto file = folder / "tokenizer_config.json";
  if (!std::filesystem::exists(file)) return std::nullopt;
  const nlohmann::json config = read_json_file(file);
  const auto found = config.is_object() ? config.find("chat_template") : config.end();
  if (found == config.end() || found->is_null()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array()) {  // several by name
    for (const nlohmann::json& one : *found) {
      if (one.is_object() && one.value("name", "") == "default" && one.contains("template") &&
          one["template"].is_string())
        return one["template"].get<std::string>();
    }
  }
  fail("{}: chat_template is neither a text nor a list with one named \"default\"", file.string());
}

std::optional<PromptTemplate> recognise_template(std::string_view chat_template) {
  const auto has = [&](std::string_view text) { return chat_template.find(text) != std::string_view::npos; };
  if (has("<|start_header_id|>") && has("<|eot_id|>"))
    return has("Cutting Knowledge Date") ? PromptTemplate::kLlama31 : PromptTemplate::kMetaLlama3;
  if (has("<\uff5cUser\uff5c>") && has("<\uff5cAssistant\uff5c>")) return PromptTemplate::kDeepSeekR1;
  if (!has("<|im_start|>") || !has("<|im_end|>")) return std::nullopt;
  if (has("You are Qwen, created by Alibaba Cloud.")) return PromptTemplate::kQwen25;
  return has("enable_thinking") ? PromptTemplate::kQwen3 : PromptTemplate::kChatMl;
}

std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view prompt) {
  const auto bos = tokenizer.bos_id();
  const bool spells_bos = bos && prompt.starts_with(tokenizer.id_to_token(*bos));
  return tokenizer.encode(prompt, {.add_special_tokens = !spells_bos, .parse_special = true});
}

}  // namespace seer
