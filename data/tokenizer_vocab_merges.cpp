#include "data/tokenizer_vocab_merges.h"

#include <algorithm>
#include <charconv>

#include <nlohmann/json.hpp>

#include "data/pretokenizer.h"
#include "data/tokenizer_sax.h"
#include "src/core/error.h"
#include "src/io/atomic_file.h"

namespace seer {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::vector<std::pair<std::string, std::string>> read_merges(const fs::path& path) {
  const std::string text = read_text_file(path);
  std::vector<std::pair<std::string, std::string>> merges;
  size_t line_number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) continue;
    auto merge = split_merge(line);
    if (!merge)
      fail("{}: line {} is \"{}\", expected two tokens with one space between", path.string(), line_number,
           line);
    merges.push_back(std::move(*merge));
  }
  return merges;
}

bool read_flag(const json& token, const char* key, bool missing, const std::string& place) {
  const auto found = token.find(key);
  if (found == token.end()) return missing;
  if (!found->is_boolean()) fail("{}.{} is {}, expected true or false", place, key, found->type_name());
  return found->get<bool>();
}

AddedToken read_added_token(const std::string& id_text, const json& token, const std::string& where) {
  const std::string place = fmt::format("{}: added_tokens_decoder.{}", where, id_text);
  int32_t id = -1;
  const auto [end, error] = std::from_chars(id_text.data(), id_text.data() + id_text.size(), id);
  if (error != std::errc{} || end != id_text.data() + id_text.size() || id < 0 || id > kMaxTokenId)
    fail("{}: the key is no id from 0 to {}", place, kMaxTokenId);
  if (!token.is_object() || !token.contains("content") || !token["content"].is_string() ||
      token["content"].get_ref<const std::string&>().empty())
    fail("{} has no content", place);
  for (const char* key : {"single_word", "lstrip", "rstrip"})
    if (read_flag(token, key, false, place)) fail("{}.{} is true, which is not supported", place, key);
  return {id, token["content"].get<std::string>(), read_flag(token, "normalized", true, place),
          read_flag(token, "special", false, place)};
}

}  // namespace

TokenizerSpec read_vocab_and_merges(const fs::path& folder) {
  TokenizerSpec spec;
  spec.where = folder.string();
  const std::string config_path = (folder / "tokenizer_config.json").string();
  const json config = json::parse(read_text_file(config_path), nullptr, false);
  if (!config.is_object()) fail("{}: not a JSON object", config_path);
  const auto name = config.find("tokenizer_class");
  if (name == config.end() || (*name != "Qwen2Tokenizer" && *name != "Qwen2TokenizerFast"))
    fail(
        "{}: tokenizer_class is {}; of vocab.json and merges.txt only Qwen2Tokenizer's can be read. Save the "
        "tokenizer as tokenizer.json (transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...))",
        config_path,
        name == config.end() ? "missing" : name->dump(-1, ' ', false, json::error_handler_t::replace));
  if (const auto added = config.find("added_tokens_decoder"); added != config.end()) {
    if (!added->is_object()) fail("{}: added_tokens_decoder is no object", config_path);
    for (const auto& [id, token] : added->items())
      spec.added.push_back(read_added_token(id, token, config_path));
  }
  const std::string vocab_path = (folder / "vocab.json").string();
  spec.vocab = parse_vocab_document(read_text_file(vocab_path), vocab_path);
  if (spec.vocab.empty()) fail("{}: the vocabulary is empty", vocab_path);
  spec.merges = read_merges(folder / "merges.txt");
  spec.split_regexes.emplace_back(kQwen2SplitRegex);
  spec.nfc = true;
  return spec;
}

}  // namespace seer
