#include "trainer/config_reader.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <regex>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

/// The value as an integer if it is exactly one, however it is written.
template <typename Integer>
std::optional<Integer> exact_integer(const Json& value) {
  constexpr double kExactDoubles = 9007199254740992.0;  // 2^53: above, 1e17 written out is not what was read
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (std::in_range<Integer>(number)) return static_cast<Integer>(number);
  } else if (value.is_number_integer()) {
    const auto number = value.get<int64_t>();
    if (std::in_range<Integer>(number)) return static_cast<Integer>(number);
  } else if (value.is_number_float()) {
    const auto number = value.get<double>();
    const bool exact = number == std::trunc(number) && std::abs(number) <= kExactDoubles;
    if (exact && (std::is_signed_v<Integer> || number >= 0)) return static_cast<Integer>(number);
  }
  return std::nullopt;
}

bool in_range(const ConfigRule& rule, double value) {
  return (!rule.at_least || value >= *rule.at_least) && (!rule.above || value > *rule.above) &&
         (!rule.at_most || value <= *rule.at_most) && (!rule.below || value < *rule.below);
}

template <typename T>
bool contains(const std::vector<T>& list, const T& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

std::vector<std::string> names_of(const ConfigSection& section) {
  std::vector<std::string> names;
  for (const ConfigKey& key : section.keys) names.push_back(key.name);
  return names;
}

/// Full paths of all keys called `name`, wherever they are.
void find_everywhere(const ConfigSection& section, const std::string& parent, const std::string& name,
                     std::vector<std::string>& found) {
  for (const ConfigKey& key : section.keys) {
    const std::string path = join_config_path(parent, key.name);
    if (key.name == name) found.push_back(path);
    if (const auto* below = std::get_if<ConfigSection>(&key.value))
      find_everywhere(*below, path, name, found);
    if (const auto* list = std::get_if<ConfigSectionList>(&key.value)) {
      find_everywhere(list->fresh(), path + "[]", name, found);
    }
  }
}

/// "gates[0].name" and "gates.0.name" as {"gates", "0", "name"}; nothing if a step is missing or malformed.
std::optional<std::vector<std::string>> split_path(const std::string& path) {
  std::vector<std::string> steps(1);
  bool closed = false;  // after "]" only "." or "[" may follow
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '.' || path[i] == '[') {
      if (steps.back().empty()) return std::nullopt;
      steps.emplace_back();
      closed = false;
      if (path[i] == '.') continue;
      const size_t end = path.find(']', i);
      if (end == std::string::npos) return std::nullopt;
      steps.back() = path.substr(i + 1, end - i - 1);
      if (steps.back().find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
      i = end;
      closed = true;
    } else {
      if (closed) return std::nullopt;
      steps.back() += path[i];
    }
  }
  if (steps.back().empty()) return std::nullopt;
  return steps;
}

/// The value of an override as the JSON it stands for, given what its key holds.
Json override_value(const ConfigValue* target, const std::string& text, const std::string& place) {
  const bool is_json = Json::accept(text, /*ignore_comments=*/true);
  Json value = is_json ? parse_config_text(text, place) : Json(text);
  if (target == nullptr) return value;
  if (std::holds_alternative<std::string*>(*target)) return value.is_string() ? value : Json(text);
  if (std::holds_alternative<std::vector<std::string>*>(*target) && !value.is_structured()) {
    if (text.starts_with('[')) fail_usage("{}: the list is not valid JSON; write '[\"a\",\"b\"]'", place);
    return Json::array({value.is_string() ? value : Json(text)});
  }
  return value;
}

}  // namespace

void ConfigReader::refuse(const std::string& path, const Json& found, const std::string& allowed,
                          const std::string& hint) const {
  const std::string advice = found.is_null() ? "; leave the key out for its default" : hint;
  fail_usage("{}: {}found {}, expected {}{}", origins_.of(path), path.empty() ? "" : path + ": ",
             quote_json(found), allowed, advice);
}

void ConfigReader::refuse_unknown(const ConfigSection& section, const std::string& parent,
                                  const std::string& name) const {
  const std::string path = join_config_path(parent, name);
  const std::vector<std::string> names = names_of(section);
  std::string help;
  std::vector<std::string> elsewhere;
  if (const std::string near = nearest_word(name, names); !near.empty()) {
    help = fmt::format("did you mean {}?", join_config_path(parent, near));
  } else if (find_everywhere(root_, "", name, elsewhere); !elsewhere.empty()) {
    help = fmt::format("did you mean {}?", fmt::join(elsewhere, " or "));
  } else {
    help = fmt::format("the keys {} are {}", parent.empty() ? "of a config" : "of " + parent,
                       fmt::join(names, ", "));
  }
  fail_usage("{}: {}: unknown key; {}", origins_.of(path), path, help);
}

void ConfigReader::read_object(const ConfigSection& section, const Json& object,
                               const std::string& path) const {
  if (!object.is_object()) {
    refuse(path, object, fmt::format("an object with keys among {}", fmt::join(names_of(section), ", ")));
  }
  for (const auto& [name, value] : object.items()) {
    if (path.empty() && name == kSchemaKey && value.is_string()) continue;  // an editor's
    const ConfigKey* key = find_key(section, name);
    if (key == nullptr) refuse_unknown(section, path, name);
    read_value(*key, value, join_config_path(path, name));
  }
}

template <typename Integer>
Integer ConfigReader::read_integer(const ConfigKey& key, const Json& value, const std::string& path) const {
  const std::optional<Integer> number = exact_integer<Integer>(value);
  if (!number || !in_range(key.rule, static_cast<double>(*number)) ||
      *number % static_cast<Integer>(key.rule.multiple_of) != 0 ||
      (!key.rule.integers.empty() && !contains(key.rule.integers, static_cast<int64_t>(*number)))) {
    refuse(path, value, allowed_in_words(key));
  }
  return *number;
}

double ConfigReader::read_number(const ConfigRule& rule, const Json& value, const std::string& path) const {
  if (!value.is_number() || !in_range(rule, value.get<double>())) refuse(path, value, number_in_words(rule));
  return value.get<double>();
}

std::string ConfigReader::read_text(const ConfigRule& rule, const Json& value,
                                    const std::string& path) const {
  if (!value.is_string()) refuse(path, value, text_in_words(rule));
  auto text = value.get<std::string>();
  if (text.size() > rule.max_length) {
    refuse(path, value, text_in_words(rule), fmt::format(" of at most {} bytes", rule.max_length));
  }
  if (text.find('\0') != std::string::npos)
    refuse(path, value, text_in_words(rule), " without NUL characters");
  if (!rule.texts.empty() && !contains(rule.texts, text)) {
    std::string meant = rule.respell ? rule.respell(text) : "";
    if (meant.empty()) meant = nearest_word(text, rule.texts);
    refuse(path, value, text_in_words(rule),
           meant.empty() ? "" : fmt::format("; did you mean \"{}\"?", meant));
  }
  if (!rule.pattern.empty() && !std::regex_match(text, std::regex(rule.pattern))) {
    refuse(path, value, text_in_words(rule));
  }
  return text;
}

void ConfigReader::read_list(const ConfigKey& key, const ConfigSectionList& list, const Json& value,
                             const std::string& path) const {
  if (!value.is_array()) refuse(path, value, allowed_in_words(key));
  list.assign(value.size());
  for (size_t i = 0; i < value.size(); ++i) read_object(list.at(i), value[i], fmt::format("{}[{}]", path, i));
}

void ConfigReader::read_value(const ConfigKey& key, const Json& value, const std::string& path) const {
  const auto read = [&](const auto& target) {
    using Target = std::decay_t<decltype(target)>;
    if constexpr (std::is_same_v<Target, bool*>) {
      if (!value.is_boolean()) refuse(path, value, allowed_in_words(key));
      *target = value.get<bool>();
    } else if constexpr (std::is_same_v<Target, int64_t*> || std::is_same_v<Target, uint64_t*>) {
      *target = read_integer<std::remove_pointer_t<Target>>(key, value, path);
    } else if constexpr (std::is_same_v<Target, double*>) {
      *target = read_number(key.rule, value, path);
    } else if constexpr (std::is_same_v<Target, std::string*>) {
      *target = read_text(key.rule, value, path);
    } else if constexpr (std::is_pointer_v<Target>) {  // a list of texts or of numbers
      if (!value.is_array()) refuse(path, value, allowed_in_words(key));
      std::remove_pointer_t<Target> list;
      for (size_t i = 0; i < value.size(); ++i) {
        const std::string entry = fmt::format("{}[{}]", path, i);
        if constexpr (std::is_same_v<Target, std::vector<double>*>) {
          list.push_back(read_number(key.rule, value[i], entry));
        } else {
          list.push_back(read_text(key.rule, value[i], entry));
          if (list.back().empty()) refuse(entry, value[i], "a text that is not empty");
        }
      }
      *target = std::move(list);
    } else if constexpr (std::is_same_v<Target, JsonObjectText>) {
      if (!value.is_object()) refuse(path, value, allowed_in_words(key));
      *target.text = value.empty() ? "" : value.dump();
    } else if constexpr (std::is_same_v<Target, ConfigSection>) {
      read_object(target, value, path);
    } else {
      read_list(key, target, value, path);
    }
  };
  std::visit(read, key.value);
}

void ConfigReader::apply_override(const std::string& argument) const {
  const std::string place = "--set " + argument;
  try {
    static_cast<void>(Json(argument).dump());
  } catch (const Json::type_error&) {
    fail_usage("--set {}: not valid UTF-8", quote_json(argument));
  }
  const size_t equals = argument.find('=');
  if (equals == std::string::npos) fail_usage("{}: no '='; write --set key.path=value", place);
  const std::optional<std::vector<std::string>> steps = split_path(argument.substr(0, equals));
  if (!steps) fail_usage("{}: not a key path; write it like gates[0].optimizer.learning_rate", place);
  const std::string text = argument.substr(equals + 1);

  ConfigSection section = root_;
  std::string path;
  for (size_t i = 0; i < steps->size(); ++i) {
    const std::string& step = (*steps)[i];
    const std::string parent = std::exchange(path, join_config_path(path, step));
    const ConfigKey* key = find_key(section, step);
    if (key == nullptr) {
      origins_.set(path, place);
      refuse_unknown(section, parent, step);
    }
    if (i + 1 == steps->size()) {
      origins_.set(path, place);
      read_value(*key, override_value(&key->value, text, place), path);
      return;
    }
    if (const auto* below = std::get_if<ConfigSection>(&key->value)) {
      section = ConfigSection(*below);
      continue;
    }
    const auto* list = std::get_if<ConfigSectionList>(&key->value);
    if (list == nullptr) fail_usage("{}: {} is {}: set it as a whole", place, path, allowed_in_words(*key));
    const std::string& index = (*steps)[++i];
    const bool is_number = index.find_first_not_of("0123456789") == std::string::npos && index.size() <= 9;
    if (!is_number || std::stoul(index) >= list->size()) {
      fail_usage("{}: {}[{}]: there is no such entry; the list has {}, counted from 0", place, path, index,
                 list->size());
    }
    path = fmt::format("{}[{}]", path, std::stoul(index));
    section = list->at(std::stoul(index));
    if (i + 1 == steps->size()) {
      origins_.set(path, place);
      read_object(section, override_value(nullptr, text, place), path);
    }
  }
}

void ConfigReader::check_not_empty(const ConfigSection& section, const std::string& parent) const {
  for (const ConfigKey& key : section.keys) {
    const std::string path = join_config_path(parent, key.name);
    const auto is_empty = [](const auto& value) {
      using Value = std::decay_t<decltype(value)>;
      if constexpr (std::is_same_v<Value, std::string*> || std::is_same_v<Value, std::vector<std::string>*> ||
                    std::is_same_v<Value, std::vector<double>*>) {
        return value->empty();
      } else if constexpr (std::is_same_v<Value, ConfigSectionList>) {
        return value.size() == 0;
      } else {
        return false;
      }
    };
    if (key.rule.not_empty && std::visit(is_empty, key.value)) {
      fail_usage("{}: {}: missing or empty, expected {} ({})", origins_.of(path), path, allowed_in_words(key),
                 key.doc);
    }
    if (const auto* below = std::get_if<ConfigSection>(&key.value)) check_not_empty(*below, path);
    if (const auto* list = std::get_if<ConfigSectionList>(&key.value)) {
      for (size_t i = 0; i < list->size(); ++i) check_not_empty(list->at(i), fmt::format("{}[{}]", path, i));
    }
  }
}

}  // namespace seer
