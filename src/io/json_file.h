// JSON files read strictly.
#pragma once

#include <filesystem>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace seer {

/// Parses one JSON text. Throws an Error naming `display_name` and the place for a syntax error, a key that
/// occurs twice in one object (common parsers keep the last one silently), a NUL byte, or nesting deeper than
/// 64.
nlohmann::json parse_json(std::string_view text, std::string_view display_name);

/// parse_json() of a whole file.
nlohmann::json read_json_file(const std::filesystem::path& path);

}  // namespace seer
