#include "trainer/config_writer.h"

#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

Json write_value(const ConfigValue& value) {
  return std::visit(
      [](const auto& source) -> Json {
        using Source = std::decay_t<decltype(source)>;
        if constexpr (std::is_same_v<Source, ConfigSection>) {
          return write_values(source);
        } else if constexpr (std::is_same_v<Source, ConfigSectionList>) {
          Json list = Json::array();
          for (size_t i = 0; i < source.size(); ++i) list.push_back(write_values(source.at(i)));
          return list;
        } else if constexpr (std::is_same_v<Source, JsonObjectText>) {
          if (source.text->empty()) return Json::object();
          Json object = Json::parse(*source.text, nullptr, /*allow_exceptions=*/false);
          if (!object.is_object()) fail("the config holds '{}' where a JSON object belongs", *source.text);
          return object;
        } else {
          return *source;
        }
      },
      value);
}

/// True if the key has no default: a config that leaves it out is refused.
bool is_required(const ConfigKey& key) {
  if (const auto* section = std::get_if<ConfigSection>(&key.value)) {
    for (const ConfigKey& below : section->keys) {
      if (is_required(below)) return true;
    }
    return false;
  }
  const Json value = write_value(key.value);
  return key.rule.not_empty &&
         (value.is_string() ? value.get_ref<const std::string&>().empty() : value.empty());
}

/// Limits of integers are whole numbers and are written without a point.
Json limit(double value, bool is_integer) {
  return is_integer ? Json(static_cast<int64_t>(value)) : Json(value);
}

void add_number_rule(Json& schema, const ConfigRule& rule, bool is_integer) {
  schema["type"] = is_integer ? "integer" : "number";
  if (rule.at_least) schema["minimum"] = limit(*rule.at_least, is_integer);
  if (rule.above) schema["exclusiveMinimum"] = limit(*rule.above, is_integer);
  if (rule.at_most) schema["maximum"] = limit(*rule.at_most, is_integer);
  if (rule.below) schema["exclusiveMaximum"] = limit(*rule.below, is_integer);
  if (rule.multiple_of != 1) schema["multipleOf"] = rule.multiple_of;
  if (!rule.integers.empty()) schema["enum"] = rule.integers;
}

void add_text_rule(Json& schema, const ConfigRule& rule, bool not_empty) {
  schema["type"] = "string";
  if (not_empty) schema["minLength"] = 1;
  if (rule.texts.empty()) {
    schema["maxLength"] = rule.max_length;
  } else {
    schema["enum"] = rule.texts;
  }
  if (!rule.pattern.empty()) schema["pattern"] = rule.pattern;
}

Json list_schema(const ConfigRule& rule, Json entry) {
  Json schema;
  schema["type"] = "array";
  if (rule.not_empty) schema["minItems"] = 1;
  schema["items"] = std::move(entry);
  return schema;
}

Json section_schema(const ConfigSection& section);

Json value_schema(const ConfigKey& key) {
  return std::visit(
      [&](const auto& target) {
        using Target = std::decay_t<decltype(target)>;
        Json schema = Json::object();
        if constexpr (std::is_same_v<Target, bool*>) {
          schema["type"] = "boolean";
        } else if constexpr (std::is_same_v<Target, int64_t*>) {
          add_number_rule(schema, key.rule, true);
        } else if constexpr (std::is_same_v<Target, uint64_t*>) {
          schema["type"] = "integer";
          schema["minimum"] = 0;
          schema["maximum"] = std::numeric_limits<uint64_t>::max();
        } else if constexpr (std::is_same_v<Target, double*>) {
          add_number_rule(schema, key.rule, false);
        } else if constexpr (std::is_same_v<Target, std::string*>) {
          add_text_rule(schema, key.rule, key.rule.not_empty);
        } else if constexpr (std::is_same_v<Target, std::vector<std::string>*>) {
          add_text_rule(schema, key.rule, true);
          schema = list_schema(key.rule, schema);
        } else if constexpr (std::is_same_v<Target, std::vector<double>*>) {
          add_number_rule(schema, key.rule, false);
          schema = list_schema(key.rule, schema);
        } else if constexpr (std::is_same_v<Target, JsonObjectText>) {
          schema["type"] = "object";
        } else if constexpr (std::is_same_v<Target, ConfigSection>) {
          schema = section_schema(target);
        } else {
          schema = list_schema(key.rule, section_schema(target.fresh()));
        }
        return schema;
      },
      key.value);
}

/// Text as it may stand in a cell of a Markdown table, outside of code.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '<') out += '\\';
    out += c;
  }
  return out;
}

void write_reference_of(const ConfigSection& section, const std::string& path, const std::string& doc,
                        std::string& out) {
  out += fmt::format("{}### {}\n\n{}\n\n", out.empty() ? "" : "\n",
                     path.empty() ? "Top level" : fmt::format("`{}`", path), doc);
  out += "| key | allowed | default | meaning |\n|---|---|---|---|\n";
  std::vector<std::pair<const ConfigKey*, ConfigSection>> below;
  for (const ConfigKey& key : section.keys) {
    if (const auto* object = std::get_if<ConfigSection>(&key.value)) {
      below.emplace_back(&key, *object);
    } else if (const auto* list = std::get_if<ConfigSectionList>(&key.value)) {
      below.emplace_back(&key, list->fresh());
    } else {
      const std::string value =
          is_required(key) ? "required" : fmt::format("`{}`", write_value(key.value).dump());
      out += fmt::format("| `{}` | {} | {} | {} |\n", key.name, escaped(allowed_in_words(key)), value,
                         escaped(key.doc));
    }
  }
  for (const auto& [key, object] : below) {
    const bool is_list = std::holds_alternative<ConfigSectionList>(key->value);
    write_reference_of(object, join_config_path(path, key->name) + (is_list ? "[]" : ""), key->doc, out);
  }
}

}  // namespace

Json write_values(const ConfigSection& section) {
  Json object = Json::object();
  for (const ConfigKey& key : section.keys) object[key.name] = write_value(key.value);
  return object;
}

namespace {

Json section_schema(const ConfigSection& section) {
  Json properties = Json::object();
  Json required = Json::array();
  for (const ConfigKey& key : section.keys) {
    Json property = {{"description", key.doc}};
    property.update(value_schema(key));
    if (is_required(key)) {
      required.push_back(key.name);
    } else if (!std::holds_alternative<ConfigSection>(key.value)) {
      property["default"] = write_value(key.value);
    }
    properties[key.name] = std::move(property);
  }
  Json schema = {{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) schema["required"] = std::move(required);
  schema["additionalProperties"] = false;
  return schema;
}

}  // namespace

Json write_schema(const ConfigSection& section) {
  Json schema = section_schema(section);
  schema["properties"][kSchemaKey] = {{"type", "string"},
                                      {"description", "This schema, for editors. Not read."}};
  return schema;
}

std::string write_reference(const ConfigSection& section) {
  std::string out;
  write_reference_of(section, "", "Sections have tables of their own below.", out);
  return out;
}

}  // namespace seer
