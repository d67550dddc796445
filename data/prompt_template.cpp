#include "data/prompt_template.h"

#include <array>
#include <cctype>

#include <nlohmann/json.hpp>

#include "data/chat_template.h"
#include "data/unicode.h"
#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "src/io/json_file.h"

namespace seer {
namespace {

/// Of a chat format: start [system message] user's message, the assistant's opened; `answer` behind it.
/// Of none: before [system] text after.
struct Layout {
  PromptTemplate id;
  std::string_view name;
  std::optional<ChatFormat> format = std::nullopt;
  std::string_view system_begins = {};  ///< Put in front of every system message
  std::optional<std::string_view> own_system = std::nullopt;
  std::string_view answer = {};
  bool trims = false;

  std::string_view before = {};
  std::string_view between = {};  ///< Empty: no room for a system message
  std::string_view after = {};
};

constexpr auto kLlama = ChatFormat::kLlama3;
constexpr auto kMl = ChatFormat::kChatMl;

constexpr std::array<Layout, 8> kLayouts = {{
    {.id = PromptTemplate::kBase, .name = "base"},
    {.id = PromptTemplate::kLlama3Spaced,
     .name = "llama-3",
     .before = "<|start_header_id|>user<|end_header_id|> ",
     .after = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>"},
    {.id = PromptTemplate::kMetaLlama3, .name = "meta-llama3", .format = kLlama},
    {.id = PromptTemplate::kLlama31,
     .name = "llama-3.1",
     .format = kLlama,
     .system_begins = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
     .own_system = "",
     .trims = true},
    {.id = PromptTemplate::kChatMl, .name = "chatml", .format = kMl},
    {.id = PromptTemplate::kQwen25,
     .name = "qwen2.5",
     .format = kMl,
     .own_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
    {.id = PromptTemplate::kQwen3, .name = "qwen3", .format = kMl, .answer = "<think>\n\n</think>\n\n"},
    // U+FF5C and U+2581, as its tokens are spelled. A system message stands there as it is.
    {.id = PromptTemplate::kDeepSeekR1,
     .name = "deepseek-r1",
     .before = "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
     .between = "<\uff5cUser\uff5c>",
     .after = "<\uff5cAssistant\uff5c><think>\n"},
}};

const Layout& layout_of(PromptTemplate prompt_template) {
  for (const Layout& layout : kLayouts)
    if (layout.id == prompt_template) return layout;
  fail("prompt template {} is not in the table", static_cast<int>(prompt_template));
}

/// Whether words begin here, of any language.
bool begins_with_words(std::string_view text) {
  if (text.empty()) return false;
  const auto first = static_cast<unsigned char>(text.front());
  return first >= 0x80 || std::isalnum(first) != 0;
}

/// Whether a template spells out a message of its own: words right behind its opening, or behind line breaks there, which are
/// written as such or as \n.
bool has_own_system(std::string_view chat_template, std::string_view opening) {
  for (size_t at = 0; (at = chat_template.find(opening, at)) != std::string_view::npos;) {
    at += opening.size();
    std::string_view rest = chat_template.substr(at);
    while (rest.starts_with("\\n") || rest.starts_with('\n'))
      rest.remove_prefix(rest.front() == '\n' ? 1 : 2);
    if (begins_with_words(rest)) return true;
  }
  return false;
}

}  // namespace

std::string prompt_template_names() {
  std::string names;
  for (const Layout& layout : kLayouts) names += fmt::format("{}{}", names.empty() ? "" : ", ", layout.name);
  return names;
}

PromptTemplate parse_prompt_template(std::string_view name) {
  for (const Layout& layout : kLayouts)
    if (layout.name == name) return layout.id;
  fail_usage("there is no prompt template \"{}\"; there are {}", name, prompt_template_names());
}

std::string_view prompt_template_name(PromptTemplate prompt_template) {
  return layout_of(prompt_template).name;
}

std::string apply_template(PromptTemplate prompt_template, std::string_view text,
                           std::optional<std::string_view> system) {
  const Layout& layout = layout_of(prompt_template);
  if (system && !layout.format && layout.between.empty())
    fail_usage("prompt template \"{}\" has no room for a system message", layout.name);
  const auto trimmed = [&](std::string_view part) { return layout.trims ? trim_white_space(part) : part; };
  if (!layout.format)
    return fmt::format("{}{}{}{}{}", layout.before, system.value_or(""), layout.between, text, layout.after);
  const ChatFormat format = *layout.format;
  std::string out(chat_start(format));
  if (!system) system = layout.own_system;
  if (system) {
    out += fmt::format("{}{}{}{}", open_message(format, "system"), layout.system_begins, trimmed(*system),
                       close_message(format));
  }
  return out + fmt::format("{}{}{}{}{}", open_message(format, "user"), trimmed(text), close_message(format),
                           open_message(format, "assistant"), layout.answer);
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
  if (has("<|start_header_id|>") && has("<|eot_id|>")) {
    const bool dated = has("Cutting Knowledge Date");
    // Llama-3.1's opens with its dates, and sets an empty message where the user gives none.
    const bool own = has_own_system(chat_template, "set system_message = \"") ||
                     has_own_system(chat_template, "set system_message = '") ||
                     (!dated && has_own_system(chat_template, "<|start_header_id|>system<|end_header_id|>"));
    if (own) return std::nullopt;
    return dated ? PromptTemplate::kLlama31 : PromptTemplate::kMetaLlama3;
  }
  if (has("<\uff5cUser\uff5c>") && has("<\uff5cAssistant\uff5c>")) return PromptTemplate::kDeepSeekR1;
  if (!has("<|im_start|>") || !has("<|im_end|>")) return std::nullopt;
  if (has("You are Qwen, created by Alibaba Cloud.")) return PromptTemplate::kQwen25;
  if (has_own_system(chat_template, "<|im_start|>system")) return std::nullopt;
  return has("enable_thinking") ? PromptTemplate::kQwen3 : PromptTemplate::kChatMl;
}

std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view prompt) {
  const auto bos = tokenizer.bos_id();
  const bool spells_bos = bos && prompt.starts_with(tokenizer.id_to_token(*bos));
  return tokenizer.encode(prompt, {.add_special_tokens = !spells_bos, .parse_special = true});
}

}  // namespace seer
