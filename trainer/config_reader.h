// Fills a config in memory from a JSON document and from `--set key.path=value` overrides.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "trainer/config_text.h"
#include "trainer/config_tree.h"

namespace seer {

/// Reads values into the members that a tree of keys points at. Every refusal is a usage Error that says
/// where the value was given, its full path, what was found and what is allowed.
class ConfigReader {
 public:
  /// `root` and `origins` must outlive the reader.
  ConfigReader(const ConfigSection& root, ConfigOrigins& origins) : root_(root), origins_(origins) {}

  /// Sets every key the document names. Numbers written 1e3 or 16.0 are integers; null is refused everywhere.
  void read(const nlohmann::ordered_json& document) const { read_object(root_, document, ""); }

  /// Sets one key: `gates[0].block_size=32` or `gates.0.block_size=32`. The value is JSON if it parses, else
  /// a text. A key that holds a text takes the value as it stands, unless it is a quoted JSON text; a list of
  /// texts takes a value that is no JSON list as its only entry. An object sets the keys it names, a list
  /// replaces the whole list.
  void apply_override(const std::string& argument) const;

  /// Refuses texts and lists that are still empty and must not be.
  void check_not_empty() const { check_not_empty(root_, ""); }

 private:
  void read_object(const ConfigSection& section, const nlohmann::ordered_json& object,
                   const std::string& path) const;
  void read_value(const ConfigKey& key, const nlohmann::ordered_json& value, const std::string& path) const;
  void read_list(const ConfigKey& key, const ConfigSectionList& list, const nlohmann::ordered_json& value,
                 const std::string& path) const;
  template <typename Integer>
  Integer read_integer(const ConfigKey& key, const nlohmann::ordered_json& value,
                       const std::string& path) const;
  double read_number(const ConfigRule& rule, const nlohmann::ordered_json& value,
                     const std::string& path) const;
  std::string read_text(const ConfigRule& rule, const nlohmann::ordered_json& value,
                        const std::string& path) const;
  void check_not_empty(const ConfigSection& section, const std::string& path) const;

  [[noreturn]] void refuse(const std::string& path, const nlohmann::ordered_json& found,
                           const std::string& allowed, const std::string& hint = "") const;
  [[noreturn]] void refuse_unknown(const ConfigSection& section, const std::string& parent,
                                   const std::string& name) const;

  const ConfigSection& root_;
  ConfigOrigins& origins_;
};

}  // namespace seer
