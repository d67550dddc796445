#include "data/data_cursor.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"

namespace seer {
namespace {

using Json = nlohmann::json;

constexpr int64_t kVersion = 1;

Json stats_json(const DataStats& stats) {
  return {{"documents", stats.documents},
          {"tokens", stats.tokens},
          {"bad_lines", stats.bad_lines},
          {"cut_documents", stats.cut_documents},
          {"short_documents", stats.short_documents},
          {"dropped_tokens", stats.dropped_tokens}};
}

/// Reads the keys of one object; `path` names it in errors.
class Fields {
 public:
  Fields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
    if (!object_.is_object()) fail("data cursor: `{}` is not an object", path_);
  }

  const Json& at(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) fail("data cursor: `{}` is missing", name(key));
    return *found;
  }

  int64_t count(const char* key) const {
    const Json& value = at(key);
    if (!value.is_number_integer() || value.get<int64_t>() < 0)
      fail("data cursor: `{}` is {}, a number from 0 was expected", name(key), value.dump());
    return value.get<int64_t>();
  }

  template <typename T>
  std::vector<T> counts(const char* key) const {
    const Json& value = at(key);
    if (!value.is_array()) fail("data cursor: `{}` is not a list", name(key));
    std::vector<T> values;
    values.reserve(value.size());
    for (const Json& element : value) {
      if (!element.is_number_integer() || element.get<int64_t>() < 0 ||
          element.get<int64_t>() > std::numeric_limits<T>::max())
        fail("data cursor: `{}` holds {}, a number from 0 to {} was expected", name(key), element.dump(),
             std::numeric_limits<T>::max());
      values.push_back(static_cast<T>(element.get<int64_t>()));
    }
    return values;
  }

  std::string name(const char* key) const { return path_.empty() ? key : fmt::format("{}.{}", path_, key); }

  DataStats stats(const char* key) const {
    const Fields fields(at(key), name(key));
    return DataStats{.documents = fields.count("documents"),
                     .tokens = fields.count("tokens"),
                     .bad_lines = fields.count("bad_lines"),
                     .cut_documents = fields.count("cut_documents"),
                     .short_documents = fields.count("short_documents"),
                     .dropped_tokens = fields.count("dropped_tokens")};
  }

 private:
  const Json& object_;
  std::string path_;
};

}  // namespace

std::string to_json(const DataCursor& cursor) {
  const RestartPoint& restart = cursor.restart;
  const Json json = {{"version", kVersion},
                     {"fingerprint", cursor.fingerprint},
                     {"next_sequence", cursor.next_sequence},
                     {"stats", stats_json(cursor.stats)},
                     {"restart",
                      {{"epoch", restart.epoch},
                       {"file", restart.file},
                       {"record", restart.record},
                       {"first_sequence", restart.first_sequence},
                       {"epoch_bad_lines", restart.epoch_bad_lines},
                       {"carry", restart.carry},
                       {"carry_boundaries", restart.carry_boundaries},
                       {"stats", stats_json(restart.stats)}}}};
  // Paths need not be UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

DataCursor data_cursor_from_json(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) fail("data cursor: not valid JSON");
  const Fields fields(json, "");
  if (const int64_t version = fields.count("version"); version != kVersion)
    fail("data cursor: version {}, {} was expected", version, kVersion);
  const Fields restart(fields.at("restart"), "restart");
  const Json& fingerprint = fields.at("fingerprint");
  if (!fingerprint.is_string()) fail("data cursor: `fingerprint` is not a string");
  return DataCursor{.fingerprint = fingerprint.get<std::string>(),
                    .next_sequence = fields.count("next_sequence"),
                    .restart = {.epoch = restart.count("epoch"),
                                .file = restart.count("file"),
                                .record = restart.count("record"),
                                .first_sequence = restart.count("first_sequence"),
                                .epoch_bad_lines = restart.count("epoch_bad_lines"),
                                .carry = restart.counts<int32_t>("carry"),
                                .carry_boundaries = restart.counts<int64_t>("carry_boundaries"),
                                .stats = restart.stats("stats")},
                    .stats = fields.stats("stats")};
}

}  // namespace seer
