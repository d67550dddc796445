// JSON files read strictly.
#pragma once

#include <exception>
#include <filesystem>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace seer {

/// What an exception of the JSON library says, without its "[json.exception.out_of_range.403] ". Good as long as `error`.
std::string_view json_reason(const std::exception& error);

/// Parses one JSON text. Throws an Error naming `display_name` and the place for a syntax error, a key that
/// occurs twice in one object (common parsers keep the last one silently), a NUL byte, or nesting deeper than
/// 64.
nlohmann::json parse_json(std::string_view text, std::string_view display_name);

/// object[key], an integer; a float like 3.0 is one, 1e300 is none. Throws Error naming `where` and the key if it is anything else or
/// missing. (The JSON library's own conversion of a float is undefined where it does not fit.)
int64_t integer_at(const nlohmann::json& object, const char* key, std::string_view where = {});

/// parse_json() of a whole file.
nlohmann::json read_json_file(const std::filesystem::path& path);

}  // namespace seer
