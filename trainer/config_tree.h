// A config described as data: every key once, with its place in memory, its rule and its meaning. Reading,
// overrides, printing, the JSON schema and the reference table all walk this tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace seer {

/// May stand in a config for an editor's sake; not one of its keys.
inline constexpr const char* kSchemaKey = "$schema";

/// What a key allows beyond its type. Fields that do not fit the type are ignored.
struct ConfigRule {
  bool not_empty = false;  ///< A text or list that must hold something; required where its default is empty.
  std::optional<double> at_least, above, at_most, below;
  int64_t multiple_of = 1;
  std::vector<int64_t> integers;   ///< The only integers allowed.
  std::vector<std::string> texts;  ///< The only texts allowed.
  std::string pattern;             ///< ECMAScript regular expression for the whole text, with ^ and $.
  size_t max_length = 4096;        ///< Bytes of a text.
  std::string form;                ///< allowed_in_words(), where the words made from the rest read badly.
  /// The allowed spelling of a refused text that means one of `texts`; empty if there is none.
  std::function<std::string(const std::string&)> respell;
};

/// A text of the struct that is a JSON object in the file.
struct JsonObjectText {
  std::string* text;
};

struct ConfigKey;

/// An object of the file: its keys in the order in which they are printed.
struct ConfigSection {
  std::vector<ConfigKey> keys;
};

/// A list of objects. The sections it hands out point into the list and live as long as its entries.
struct ConfigSectionList {
  std::function<size_t()> size;
  std::function<void(size_t)> assign;  ///< Replaces the list by that many entries with default values.
  std::function<ConfigSection(size_t)> at;
  std::function<ConfigSection()> fresh;  ///< An entry of its own with default values, for describing.
};

using ConfigValue = std::variant<bool*, int64_t*, uint64_t*, double*, std::string*, std::vector<std::string>*,
                                 std::vector<double>*, JsonObjectText, ConfigSection, ConfigSectionList>;

/// One key, bound to the member of one config in memory that it reads and prints. Its default is the value
/// that member has in a default-constructed struct.
struct ConfigKey {
  std::string name;
  ConfigValue value;
  ConfigRule rule;
  std::string doc;  ///< Full sentences: meaning and units.
};

/// A list of structs as a key's value; `describe` gives the section of one entry.
template <typename T>
ConfigSectionList config_list(std::vector<T>& list, ConfigSection (*describe)(T&)) {
  auto entry = std::make_shared<T>();
  return {.size = [&list] { return list.size(); },
          .assign = [&list](size_t count) { list.assign(count, T{}); },
          .at = [&list, describe](size_t index) { return describe(list.at(index)); },
          .fresh = [entry, describe] { return describe(*entry); }};
}

/// The full path of a key: "gates[0]" and "name" give "gates[0].name".
std::string join_config_path(const std::string& parent, const std::string& key);

/// What a key allows, in words that complete "expected ...": "a number > 0", "one of 16, 32, 64, 128".
std::string allowed_in_words(const ConfigKey& key);

/// The same for one entry of a list of texts or of numbers.
std::string text_in_words(const ConfigRule& rule);
std::string number_in_words(const ConfigRule& rule);

/// The key of that name, or null.
const ConfigKey* find_key(const ConfigSection& section, const std::string& name);

/// The candidate with the smallest edit distance to `word` (letter case and '-' against '_' do not count);
/// empty if none is near enough to be what was meant.
std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace seer
