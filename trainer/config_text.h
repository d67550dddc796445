// JSON text of a config, read strictly: comments allowed, duplicate keys refused, every key with its line.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace seer {

/// Where each value of a config was given ("run.json:7", "--set seed=1"), by full key path.
class ConfigOrigins {
 public:
  /// `where` is the answer for what was given nowhere.
  explicit ConfigOrigins(std::string where) : where_(std::move(where)) {}

  const std::string& where() const { return where_; }

  /// Says that `path` and all below it came from `place`.
  void set(const std::string& path, const std::string& place);

  /// The place `path`, or else the nearest object or list around it, was given.
  const std::string& of(const std::string& path) const;

 private:
  std::string where_;
  std::map<std::string, std::string> places_;
};

/// Parses JSON text with // and /* */ comments, keys in their order. Throws a usage Error that names `where`,
/// line and column for bad syntax, a duplicate key, nesting deeper than 32 and numbers out of range.
/// `origins` (may be null) is told the line of every key, as "where:line".
nlohmann::ordered_json parse_config_text(const std::string& text, const std::string& where,
                                         ConfigOrigins* origins = nullptr);

/// A value as errors quote it: one line of JSON, shortened.
std::string quote_json(const nlohmann::ordered_json& value);

}  // namespace seer
