#include "data/tokenizer_sax.h"

#include <algorithm>
#include <limits>

#include <nlohmann/json.hpp>

#include "src/core/error.h"

namespace seer {
namespace {

using nlohmann::json;

// Which part of the document the parser is in. The parts other than kTree store their values directly.
enum class Part { kTree, kVocab, kMerges, kMergePair };

class DocumentReader final : public nlohmann::json_sax<json> {
 public:
  DocumentReader(const std::string& where, json* tree) : where_(where), tree_(tree) {
    if (tree_ != nullptr) *tree_ = nullptr;
  }

  VocabAndMerges take() { return std::move(tables_); }

  bool null() override { return value(json(nullptr)); }
  bool boolean(bool v) override { return value(json(v)); }
  bool number_integer(number_integer_t v) override { return number(v); }
  bool number_unsigned(number_unsigned_t v) override {
    // An id beyond int64 is as wrong as the largest one.
    constexpr auto kMost = static_cast<number_unsigned_t>(std::numeric_limits<int64_t>::max());
    return number(static_cast<int64_t>(std::min(v, kMost)));
  }
  bool number_float(number_float_t v, const string_t& /*text*/) override { return value(json(v)); }
  bool binary(binary_t& /*bytes*/) override { return false; }

  bool string(string_t& v) override {
    if (part_ == Part::kMerges) {
      auto merge = split_merge(v);
      if (!merge) fail("{} is \"{}\", expected two tokens with one space between", merge_place(), v);
      tables_.merges.push_back(std::move(*merge));
    } else if (part_ == Part::kMergePair) {
      pair_.push_back(std::move(v));
    } else {
      value(json(std::move(v)));
    }
    return true;
  }

  bool start_object(size_t /*count*/) override {
    if (part_ == Part::kTree && (tree_ == nullptr ? open_.empty() : at_model_key("vocab"))) {
      if (tree_ != nullptr) value(json::object());
      part_ = Part::kVocab;
      return true;
    }
    return open(json::object());
  }

  bool key(string_t& name) override {
    if (part_ == Part::kVocab) {
      tables_.vocab.push_back({std::move(name), 0});
      return true;
    }
    if (open_.back()->contains(name)) fail("{}: the key \"{}\" stands there twice", where_, name);
    key_ = std::move(name);
    return true;
  }

  bool end_object() override {
    if (part_ == Part::kVocab) {
      part_ = Part::kTree;
    } else {
      open_.pop_back();
    }
    return true;
  }

  bool start_array(size_t /*count*/) override {
    if (part_ == Part::kMerges) {
      part_ = Part::kMergePair;
      pair_.clear();
      return true;
    }
    if (part_ == Part::kTree && at_model_key("merges")) {
      value(json::array());
      part_ = Part::kMerges;
      return true;
    }
    return open(json::array());
  }

  bool end_array() override {
    if (part_ == Part::kMergePair) {
      if (pair_.size() != 2) fail("{} has {} tokens, expected 2", merge_place(), pair_.size());
      tables_.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
      part_ = Part::kMerges;
    } else if (part_ == Part::kMerges) {
      part_ = Part::kTree;
    } else {
      open_.pop_back();
    }
    return true;
  }

  bool parse_error(size_t position, const std::string& /*token*/, const json::exception& error) override {
    fail("{}: invalid JSON at byte {}: {}", where_, position, error.what());
  }

 private:
  static constexpr size_t kMaxDepth = 64;

  std::string merge_place() const {
    return fmt::format("{}: model.merges[{}]", where_, tables_.merges.size());
  }

  bool at_model_key(std::string_view name) const {
    return open_.size() == 2 && open_[0]->is_object() && open_[1]->is_object() && model_ == open_[1] &&
           key_ == name;
  }

  bool number(int64_t v) {
    if (part_ != Part::kVocab) return value(json(v));
    tables_.vocab.back().id = v;
    return true;
  }

  // Puts a value where the tree is open; the other parts hold no such value.
  bool value(json v) {
    place(std::move(v));
    return true;
  }

  bool open(json container) {
    if (open_.size() >= kMaxDepth) fail("{}: nested deeper than {} levels", where_, kMaxDepth);
    json* placed = place(std::move(container));
    if (open_.size() == 1 && open_[0]->is_object() && key_ == "model") model_ = placed;
    open_.push_back(placed);
    return true;
  }

  json* place(json v) {
    if (part_ == Part::kVocab)
      fail("{}: the id of the token \"{}\" is {}, expected an integer", where_, tables_.vocab.back().spelling,
           v.type_name());
    if (part_ != Part::kTree) fail("{} is {}, expected two tokens", merge_place(), v.type_name());
    if (tree_ == nullptr) fail("{}: expected an object from tokens to ids, found {}", where_, v.type_name());
    if (open_.empty()) return &(*tree_ = std::move(v));
    json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(v));
    parent.push_back(std::move(v));
    return &parent.back();
  }

  const std::string& where_;
  json* tree_;  // null: the document is a vocab.json
  VocabAndMerges tables_;
  Part part_ = Part::kTree;
  std::vector<json*> open_;  // containers from the root down; stable, since only the last one grows
  const json* model_ = nullptr;
  std::string key_;
  std::vector<std::string> pair_;
};

// Through the interface, so that the parser is compiled once and without our handlers in each of its places.
void run(nlohmann::json_sax<json>& reader, std::string_view text) {
  json::sax_parse(text, &reader);
}

}  // namespace

VocabAndMerges parse_tokenizer_document(std::string_view text, const std::string& where, json& rest) {
  DocumentReader reader(where, &rest);
  run(reader, text);
  return reader.take();
}

std::vector<VocabEntry> parse_vocab_document(std::string_view text, const std::string& where) {
  DocumentReader reader(where, nullptr);
  run(reader, text);
  return reader.take().vocab;
}

std::optional<std::pair<std::string, std::string>> split_merge(std::string_view merge) {
  const size_t space = merge.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == merge.size() ||
      merge.find(' ', space + 1) != std::string_view::npos)
    return std::nullopt;
  return std::pair{std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))};
}

}  // namespace seer
