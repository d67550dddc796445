// Text for an HTML page: escaping, numbers as a reader wants them, collapsible tables.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace seer::report {

/// Makes any bytes safe as text and inside a quoted attribute: markup characters become entities, control characters
/// (which HTML does not allow) the replacement character.
std::string escape(std::string_view text);

/// What stands for a value that was not measured (NaN).
constexpr const char* kNoValue = "–";

/// "12,345".
std::string grouped(int64_t value);
/// `digits` significant digits, never in exponent notation above 1e-4: "0.00571", "20.9", "1,234".
std::string significant(double value, int digits);
/// A fixed number of decimals: "20.94".
std::string fixed(double value, int decimals);
/// A share as per cent, without the sign: 0.1003 is "10.0".
std::string percent(double share, int decimals = 1);

/// A table of numbers that opens on a click; the first column heads its rows.
struct Table {
  std::string summary;  ///< What the closed table says of itself
  std::vector<std::string> headers;
  std::vector<std::vector<std::string>> rows;
};
std::string to_html(const Table& table);

}  // namespace seer::report
