#include "src/io/json_file.h"

#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "src/io/tensor_name.h"

namespace seer {

using nlohmann::json;

std::string_view json_reason(const std::exception& error) {
  const std::string_view text = error.what();
  const size_t end = text.find("] ");
  return end == std::string_view::npos ? text : text.substr(end + 2);
}

json parse_json(std::string_view text, std::string_view display_name) {
  constexpr int kMaxDepth = 64;
  // nlohmann's lexer takes a NUL byte for the end of the text and would ignore what follows.
  if (text.find('\0') != std::string_view::npos) {
    fail("{}: not JSON: NUL byte at offset {}", display_name, text.find('\0'));
  }
  std::vector<std::set<std::string, std::less<>>> keys;  // one set for each object that is open
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        if (depth >= kMaxDepth) fail("{}: JSON nested deeper than {} levels", display_name, kMaxDepth);
        if (event == json::parse_event_t::object_start) keys.emplace_back();
        break;
      case json::parse_event_t::object_end:
        keys.pop_back();
        break;
      case json::parse_event_t::key:
        if (!keys.back().insert(value.get_ref<const std::string&>()).second) {
          fail("{}: the key {} occurs twice in one object", display_name,
               quote_name(value.get_ref<const std::string&>()));
        }
        break;
      default:
        break;
    }
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::exception& e) {
    fail("{}: not valid JSON: {}", display_name, json_reason(e));
  }
}

int64_t integer_at(const nlohmann::json& object, const char* key, std::string_view where) {
  const std::string name = where.empty() ? key : fmt::format("{}: {}", where, key);
  const auto found = object.find(key);
  if (found == object.end()) fail("{} is missing", name);
  constexpr double kTwoTo63 = 9223372036854775808.0;
  if (found->is_number_unsigned() && found->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX))
    return static_cast<int64_t>(found->get<uint64_t>());
  if (found->is_number_integer() && !found->is_number_unsigned()) return found->get<int64_t>();
  if (found->is_number_float()) {
    const auto value = found->get<double>();
    if (value >= -kTwoTo63 && value < kTwoTo63 && value == std::trunc(value))
      return static_cast<int64_t>(value);
  }
  fail("{} is {}: an integer was expected", name,
       found->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).substr(0, 80));
}

json read_json_file(const std::filesystem::path& path) {
  return parse_json(read_text_file(path), path.string());
}

}  // namespace seer
