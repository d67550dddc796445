#include "trainer/report/html.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace seer::report {

std::string escape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if ((static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
          out += "\xEF\xBF\xBD";
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string grouped(int64_t value) {
  std::string digits = fmt::format("{}", value);
  const size_t first = value < 0 ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3;) {
    i -= 3;
    digits.insert(i, 1, ',');
  }
  return digits;
}

std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return kNoValue;
  std::string text = fmt::format("{:.{}f}", value, decimals);
  // "-0.00" is a zero that lost its digits.
  if (text.front() == '-' && text.find_first_not_of("-0.") == std::string::npos) text.erase(0, 1);
  return text;
}

std::string significant(double value, int digits) {
  if (!std::isfinite(value)) return kNoValue;
  if (value == 0) return "0";
  const double magnitude = std::abs(value);
  if (magnitude < 1e-4 || magnitude >= 1e15) return fmt::format("{:.{}g}", value, digits);
  const int decimals = digits - 1 - static_cast<int>(std::floor(std::log10(magnitude)));
  if (decimals <= 0) return grouped(std::llround(value));
  return fixed(value, decimals);
}

std::string percent(double share, int decimals) {
  return fixed(100 * share, decimals);
}

std::string to_html(const Table& table) {
  std::string out = fmt::format(
      "<details><summary>{}</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" "
      "aria-label=\"{}\"><table>\n<thead><tr>",
      escape(table.summary), escape(table.summary));
  for (const std::string& header : table.headers) {
    out += fmt::format("<th scope=\"col\">{}", escape(header));
  }
  out += "\n<tbody>\n";
  for (const std::vector<std::string>& row : table.rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      out += i == 0 ? "<tr><th scope=\"row\">" : "<td>";
      out += escape(row[i]);
    }
    out += '\n';
  }
  return out + "</table></div></details>\n";
}

}  // namespace seer::report
