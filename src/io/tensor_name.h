// Names from files inside error messages: quoted, shortened, and with the nearest known ones.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace seer {

/// 'name' in quotes; control characters become '?' and long names are cut, since files may hold anything.
std::string quote_name(std::string_view name);

/// " (nearest: 'a', 'b')": up to three of `known` within a small edit distance of `wanted`, best first; an
/// empty string if none is near.
std::string nearest_names(std::string_view wanted, std::span<const std::string_view> known);

}  // namespace seer
