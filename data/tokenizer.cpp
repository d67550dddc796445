#include "data/tokenizer.h"

#include <limits>

#include <nlohmann/json.hpp>

#include "data/pretokenizer.h"
#include "data/tokenizer_added.h"
#include "data/tokenizer_json.h"
#include "data/tokenizer_tables.h"
#include "data/tokenizer_vocab_merges.h"
#include "data/unicode.h"
#include "src/core/error.h"
#include "src/io/atomic_file.h"

namespace seer {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// tokenizer_config.json's eos_token: a string, an object with "content", or null.
std::optional<std::string> read_eos_token(const fs::path& folder) {
  const fs::path path = folder / "tokenizer_config.json";
  if (!fs::exists(path)) return std::nullopt;
  const json config = json::parse(read_text_file(path), nullptr, false);
  if (!config.is_object()) fail("{}: not a JSON object", path.string());
  json eos = config.value("eos_token", json());
  if (eos.is_object()) eos = eos.value("content", json());
  if (eos.is_null()) return std::nullopt;
  if (!eos.is_string())
    fail("{}: eos_token is {}, expected a string, an object with a content, or null", path.string(),
         eos.type_name());
  return eos.get<std::string>();
}

TokenizerSpec read_spec(const fs::path& path) {
  if (!fs::is_directory(path)) return parse_tokenizer_json(read_text_file(path), path.string());
  const fs::path file = path / "tokenizer.json";
  if (fs::exists(file)) return parse_tokenizer_json(read_text_file(file), file.string());
  if (fs::exists(path / "vocab.json") && fs::exists(path / "merges.txt")) return read_vocab_and_merges(path);
  fail("{}: no tokenizer there; expected tokenizer.json, or vocab.json with merges.txt", path.string());
}

// Encodes one text: the state that its stretches share.
class Encoding {
 public:
  Encoding(const Tokenizer::Tables& tables, bool parse_special, std::vector<int32_t>& out)
      : tables_(tables), parse_special_(parse_special), scanner_(*tables.pre_tokenizer), out_(out) {}

  void add_text(std::string_view text) {
    split_at_added(tables_.in_given_text, text, [this](std::string_view between) { add_given(between); });
  }

 private:
  template <typename AddBetween>
  void split_at_added(const AddedTokenFinder& finder, std::string_view text, AddBetween add_between) {
    size_t at = 0;
    if (parse_special_) {
      while (const auto found = finder.find(text, at)) {
        add_between(text.substr(at, found->begin - at));
        out_.push_back(found->id);
        at = found->begin + found->length;
      }
    }
    add_between(text.substr(at));
  }

  void add_given(std::string_view text) {
    while (!text.empty()) {
      const size_t valid = valid_utf8_prefix(text);
      add_normalized(tables_.nfc ? to_nfc(text.substr(0, valid), normal_) : text.substr(0, valid));
      text.remove_prefix(valid);
      const size_t invalid = invalid_utf8_prefix(text);
      if (invalid > 0) tables_.bpe->apply(text.substr(0, invalid), out_);
      text.remove_prefix(invalid);
    }
  }

  void add_normalized(std::string_view text) {
    split_at_added(tables_.in_normalized_text, text,
                   [this](std::string_view between) { add_plain(between); });
  }

  void add_plain(std::string_view text) {
    scanner_.start(text);
    for (std::string_view piece; scanner_.next(piece);) tables_.bpe->apply(piece, out_);
  }

  const Tokenizer::Tables& tables_;
  bool parse_special_;
  PreTokenizer::Scanner scanner_;
  std::string normal_;
  std::vector<int32_t>& out_;
};

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const Tables> tables) : tables_(std::move(tables)) {}

Tokenizer::Tokenizer(const fs::path& folder_or_file) {
  auto tables = std::make_shared<Tables>(read_spec(folder_or_file));
  tables->eos =
      read_eos_token(fs::is_directory(folder_or_file) ? folder_or_file : folder_or_file.parent_path());
  tables_ = std::move(tables);
}

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, const std::string& where) {
  return Tokenizer(std::make_shared<const Tables>(parse_tokenizer_json(tokenizer_json, where)));
}

void Tokenizer::encode(std::string_view text, const EncodeOptions& options, std::vector<int32_t>& out) const {
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    fail("cannot encode a text of {} bytes at once; the limit is 2 GiB", text.size());
  if (options.add_special_tokens && tables_->bos) out.push_back(*tables_->bos);
  Encoding(*tables_, options.parse_special, out).add_text(text);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> out;
  out.reserve(text.size() / 3 + 2);
  encode(text, options, out);
  return out;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string text;
  text.reserve(4 * ids.size());
  for (const int32_t id : ids) {
    const std::string_view token = tables_->token(id);
    if (!skip_special || !tables_->special[static_cast<size_t>(id)]) text.append(token);
  }
  return text;
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  if (const auto found = tables_->added.find(token); found != tables_->added.end()) return found->second;
  return tables_->words.find(token);
}

std::string_view Tokenizer::id_to_token(int32_t id) const {
  return tables_->token(id);
}

int64_t Tokenizer::vocab_size() const {
  return static_cast<int64_t>(tables_->tokens.size());
}

std::optional<int32_t> Tokenizer::bos_id() const {
  return tables_->bos;
}

std::optional<std::string> Tokenizer::eos_token() const {
  return tables_->eos;
}

}  // namespace seer
