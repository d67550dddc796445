#include "data/tokenizer_tables.h"

#include <nlohmann/json.hpp>

#include "data/byte_level.h"
#include "data/unicode.h"
#include "src/core/error.h"

namespace seer {
namespace {

// Tokens may hold any bytes; errors show them as JSON would.
std::string show(std::string_view text) {
  using nlohmann::json;
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

size_t total_size(const TokenizerSpec& spec) {
  size_t total = 0;
  for (const VocabEntry& entry : spec.vocab) total += entry.spelling.size();
  for (const AddedToken& token : spec.added) total += token.content.size();
  return total;
}

}  // namespace

Tokenizer::Tables::Tables(const TokenizerSpec& spec)
    : where(spec.where), words(spec.vocab.size()), nfc(spec.nfc) {
  bytes.reserve(total_size(spec));  // views into it must stay
  add_vocab(spec);
  add_added(spec);
  special.resize(tokens.size());
  if (spec.bos_id) {
    token(*spec.bos_id);
    bos = static_cast<int32_t>(*spec.bos_id);
  }
  pre_tokenizer.emplace(spec.split_regexes, where);
  bpe.emplace(words, resolve_merges(spec), spec.ignore_merges, where);
}

std::string_view Tokenizer::Tables::keep(std::string_view token) {
  const size_t begin = bytes.size();
  bytes.append(token);
  return std::string_view(bytes).substr(begin);
}

void Tokenizer::Tables::name_id(int64_t id, std::string_view token) {
  if (id < 0 || id > kMaxTokenId)
    fail("{}: the id of the token {} is {}, expected 0 to {}", where, show(token), id, kMaxTokenId);
  const auto at = static_cast<size_t>(id);
  if (at >= tokens.size()) tokens.resize(at + 1);
  if (!tokens[at].empty())
    fail("{}: the id {} belongs to two tokens, {} and {}", where, id, show(tokens[at]), show(token));
  tokens[at] = token;
}

// An added token may stand in the vocabulary as well, under the same id; add_added() names that id.
void Tokenizer::Tables::add_vocab(const TokenizerSpec& spec) {
  std::unordered_map<std::string_view, int32_t> added_ids;
  for (const AddedToken& token : spec.added)
    if (!added_ids.emplace(token.content, token.id).second)
      fail("{}: the added token {} stands there twice", where, show(token.content));
  std::string spelled;
  for (const auto& [spelling, id] : spec.vocab) {
    if (spelling.empty()) fail("{}: model.vocab has an empty token", where);
    const auto as_added = added_ids.find(spelling);
    const bool is_added = as_added != added_ids.end();
    if (is_added && as_added->second != id)
      fail("{}: the added token {} has the id {}, but {} in model.vocab", where, show(spelling),
           as_added->second, id);
    spelled.clear();
    if (!append_spelled_bytes(spelling, spelled)) {
      if (is_added) continue;  // it can never come of bytes and merges
      fail("{}: the token {} of model.vocab is not written in the byte-level alphabet", where,
           show(spelling));
    }
    const std::string_view token = keep(spelled);
    if (!is_added) name_id(id, token);
    if (!words.insert(token, static_cast<int32_t>(id)))
      fail("{}: the token {} stands in model.vocab twice", where, show(spelling));
  }
}

void Tokenizer::Tables::add_added(const TokenizerSpec& spec) {
  std::string normal;
  for (const AddedToken& token : spec.added) {
    const std::string_view content = keep(token.content);
    name_id(token.id, content);
    added.emplace(content, token.id);
    special.resize(tokens.size());
    special[static_cast<size_t>(token.id)] = token.special;
    if (token.normalized) {
      in_normalized_text.add(nfc ? to_nfc(content, normal) : content, token.id);
    } else {
      in_given_text.add(content, token.id);
    }
  }
}

std::vector<Bpe::Merge> Tokenizer::Tables::resolve_merges(const TokenizerSpec& spec) const {
  std::vector<Bpe::Merge> merges;
  merges.reserve(spec.merges.size());
  const auto look_up = [&](std::string_view token, const char* role) {
    const auto found = words.find(token);
    if (!found)
      fail("{}: model.merges[{}] {} {}, which is not in model.vocab", where, merges.size(), role,
           show(token));
    return *found;
  };
  std::string both;
  for (const auto& [left, right] : spec.merges) {
    both.clear();
    const bool left_spelled = append_spelled_bytes(left, both);
    const size_t middle = both.size();
    if (!left_spelled || !append_spelled_bytes(right, both))
      fail("{}: model.merges[{}] is not written in the byte-level alphabet", where, merges.size());
    const std::string_view merged = both;
    merges.push_back({look_up(merged.substr(0, middle), "joins"), look_up(merged.substr(middle), "joins"),
                      look_up(merged, "makes")});
  }
  return merges;
}

std::string_view Tokenizer::Tables::token(int64_t id) const {
  if (id < 0 || id >= static_cast<int64_t>(tokens.size()))
    fail("{}: the token id {} is out of range, expected 0 to {}", where, id, tokens.size() - 1);
  const std::string_view found = tokens[static_cast<size_t>(id)];
  if (found.empty()) fail("{}: no token has the id {}", where, id);
  return found;
}

}  // namespace seer
