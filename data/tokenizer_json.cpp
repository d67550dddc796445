#include "data/tokenizer_json.h"

#include <algorithm>
#include <initializer_list>

#include <nlohmann/json.hpp>

#include "data/pretokenizer.h"
#include "data/tokenizer_sax.h"
#include "src/core/error.h"

namespace seer {
namespace {

using nlohmann::json;

// A value of the file with the path that names it in errors ("model.dropout").
class Node {
 public:
  Node(const json& value, std::string where, std::string path)
      : value_(value), where_(std::move(where)), path_(std::move(path)) {}

  const json& value() const { return value_; }
  bool is_null() const { return value_.is_null(); }

  [[noreturn]] void refuse(const std::string& problem) const { fail("{}: {} {}", where_, path_, problem); }

  // The member, or null where the object has none.
  Node operator[](const char* key) const {
    static const json missing;
    const auto found = object().find(key);
    return {found == value_.end() ? missing : *found, where_, path_.empty() ? key : path_ + "." + key};
  }

  void require(const char* expected, bool (json::*is_expected)() const noexcept) const {
    if (value_.is_null()) refuse(fmt::format("is missing or null, expected {}", expected));
    if (!(value_.*is_expected)()) refuse(fmt::format("is {}, expected {}", value_.type_name(), expected));
  }

  std::vector<Node> elements() const {
    require("an array", &json::is_array);
    std::vector<Node> nodes;
    for (const json& element : value_)
      nodes.emplace_back(element, where_, fmt::format("{}[{}]", path_, nodes.size()));
    return nodes;
  }

  std::string text() const {
    require("a string", &json::is_string);
    return value_.get<std::string>();
  }

  int64_t integer() const {
    require("an integer", &json::is_number_integer);
    return value_.get<int64_t>();
  }

  bool flag(bool missing) const {
    if (value_.is_null()) return missing;
    require("true or false", &json::is_boolean);
    return value_.get<bool>();
  }

  // Refuses keys whose meaning we do not know: they could change the ids.
  void allow_only(std::initializer_list<std::string_view> keys) const {
    for (const auto& [key, value] : object().items())
      if (std::find(keys.begin(), keys.end(), key) == keys.end())
        refuse(fmt::format("has the key \"{}\", which is not supported", key));
  }

  void must_be(bool expected, bool actual, const char* why) const {
    if (actual != expected) refuse(fmt::format("is {}, which is not supported: {}", actual, why));
  }

 private:
  const json& object() const {
    require("an object", &json::is_object);
    return value_;
  }

  const json& value_;
  std::string where_;
  std::string path_;
};

void read_model(const Node& model, TokenizerSpec& spec) {
  const Node type = model["type"];
  if (!type.is_null() && type.text() != "BPE")
    type.refuse(fmt::format("is \"{}\"; only BPE over bytes is supported", type.text()));
  model.allow_only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                    "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (!model["dropout"].is_null() && model["dropout"].value() != 0)
    model["dropout"].refuse("is set; encoding by chance is not supported");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const Node affix = model[key]; !affix.is_null() && !affix.text().empty())
      affix.refuse(fmt::format("is \"{}\", which is not supported", affix.text()));
  model["byte_fallback"].must_be(false, model["byte_fallback"].flag(false),
                                 "that is SentencePiece's BPE, and only BPE over bytes is");
  spec.ignore_merges = model["ignore_merges"].flag(false);
  // unk_token and fuse_unk never matter: every byte is a token.
  // Their entries are in `spec` already.
  model["vocab"].require("an object", &json::is_object);
  model["merges"].require("an array", &json::is_array);
  if (spec.vocab.empty()) model["vocab"].refuse("is empty");
}

void read_normalizer(const Node& normalizer, TokenizerSpec& spec) {
  if (normalizer.is_null()) return;
  const std::string type = normalizer["type"].text();
  if (type == "Sequence") {
    for (const Node& step : normalizer["normalizers"].elements()) read_normalizer(step, spec);
  } else if (type == "NFC") {
    spec.nfc = true;
  } else {
    normalizer.refuse(fmt::format("is of type {}; NFC and none are supported", type));
  }
}

// Reads one pre-tokenizer; returns whether it was the ByteLevel that must come last.
bool read_pre_tokenizer(const Node& node, TokenizerSpec& spec) {
  const std::string type = node["type"].text();
  if (type == "Sequence") {
    bool byte_level = false;
    for (const Node& step : node["pretokenizers"].elements()) {
      if (byte_level) step.refuse("comes after ByteLevel, which is not supported");
      byte_level = read_pre_tokenizer(step, spec);
    }
    return byte_level;
  }
  if (type == "Split") {
    node.allow_only({"type", "pattern", "behavior", "invert"});
    node["pattern"].allow_only({"Regex"});
    spec.split_regexes.push_back(node["pattern"]["Regex"].text());
    if (const Node behavior = node["behavior"]; behavior.text() != "Isolated")
      behavior.refuse(fmt::format("is {}; only Isolated is supported", behavior.text()));
    node["invert"].must_be(false, node["invert"].flag(false), "splits are made at matches");
    return false;
  }
  if (type == "ByteLevel") {
    node.allow_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    node["add_prefix_space"].must_be(false, node["add_prefix_space"].flag(true),
                                     "text is encoded as it stands");
    if (node["use_regex"].flag(true)) spec.split_regexes.emplace_back(kGpt2SplitRegex);
    return true;
  }
  node.refuse(fmt::format("is of type {}; Split and ByteLevel are supported", type));
}

void read_template(const Node& node, TokenizerSpec& spec) {
  const std::vector<Node> pieces = node["single"].elements();
  const bool bare = pieces.size() == 1 && !pieces[0]["Sequence"].is_null();
  if (bare) return;
  const bool prefixed =
      pieces.size() == 2 && !pieces[0]["SpecialToken"].is_null() && !pieces[1]["Sequence"].is_null();
  if (!prefixed || spec.bos_id)
    node["single"].refuse("is a template that is not supported; expected at most one token before the text");
  const std::string name = pieces[0]["SpecialToken"]["id"].text();
  const Node ids = node["special_tokens"][name.c_str()]["ids"];
  const std::vector<Node> elements = ids.elements();
  if (elements.size() != 1) ids.refuse(fmt::format("has {} ids, expected 1", elements.size()));
  spec.bos_id = elements[0].integer();
}

void read_post_processor(const Node& node, TokenizerSpec& spec) {
  if (node.is_null()) return;
  const std::string type = node["type"].text();
  if (type == "Sequence") {
    for (const Node& step : node["processors"].elements()) read_post_processor(step, spec);
  } else if (type == "TemplateProcessing") {
    read_template(node, spec);
  } else if (type != "ByteLevel") {  // ByteLevel moves offsets only
    node.refuse(fmt::format("is of type {}; ByteLevel and TemplateProcessing are supported", type));
  }
}

void read_decoder(const Node& node) {
  if (node.is_null()) return;  // byte-level tokens can be joined in one way only
  const std::string type = node["type"].text();
  if (type == "Sequence") {
    for (const Node& step : node["decoders"].elements()) read_decoder(step);
  } else if (type != "ByteLevel") {
    node.refuse(fmt::format("is of type {}; only ByteLevel is supported", type));
  }
}

void read_added_tokens(const Node& tokens, TokenizerSpec& spec) {
  if (tokens.is_null()) return;
  for (const Node& token : tokens.elements()) {
    token.allow_only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    const std::string content = token["content"].text();
    for (const char* key : {"single_word", "lstrip", "rstrip"})
      token[key].must_be(false, token[key].flag(false), fmt::format("added token {}", content).c_str());
    const int64_t id = token["id"].integer();
    if (id < 0 || id > kMaxTokenId)
      token["id"].refuse(fmt::format("is {}, expected 0 to {}", id, kMaxTokenId));
    if (content.empty()) token["content"].refuse("is empty");
    spec.added.push_back(
        {static_cast<int32_t>(id), content, token["normalized"].flag(true), token["special"].flag(false)});
  }
}

}  // namespace

TokenizerSpec parse_tokenizer_json(std::string_view text, const std::string& where) {
  json rest;
  VocabAndMerges tables = parse_tokenizer_document(text, where, rest);
  TokenizerSpec spec;
  spec.where = where;
  spec.vocab = std::move(tables.vocab);
  spec.merges = std::move(tables.merges);
  // truncation and padding are a caller's wishes that the library happens to save; we do neither.
  const Node root(rest, where, "");
  if (!rest.is_object()) fail("{}: expected a JSON object, found {}", where, rest.type_name());
  read_model(root["model"], spec);
  read_normalizer(root["normalizer"], spec);
  if (!read_pre_tokenizer(root["pre_tokenizer"], spec))
    root["pre_tokenizer"].refuse("does not end with ByteLevel");
  read_post_processor(root["post_processor"], spec);
  read_decoder(root["decoder"]);
  read_added_tokens(root["added_tokens"], spec);
  return spec;
}

}  // namespace seer
