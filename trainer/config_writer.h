// What a tree of config keys looks like from outside: its values, its JSON schema and its reference table.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "trainer/config_tree.h"

namespace seer {

/// The values of a section as a JSON object, keys in the order they are declared.
nlohmann::ordered_json write_values(const ConfigSection& section);

/// JSON Schema (draft 2020-12) of a section. The values it holds are taken for the defaults. Rules between
/// keys are not part of it.
nlohmann::ordered_json write_schema(const ConfigSection& section);

/// Markdown: one heading with a table of keys for each section.
std::string write_reference(const ConfigSection& section);

}  // namespace seer
