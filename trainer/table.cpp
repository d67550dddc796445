#include "trainer/table.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "src/core/error.h"

namespace seer {
namespace {

constexpr size_t kGap = 2;

bool reads_as_number(std::string_view cell) {
  if (cell.empty() || cell == "-") return true;
  if (cell[0] == '-' || cell[0] == '+') cell.remove_prefix(1);
  return !cell.empty() && cell[0] >= '0' && cell[0] <= '9';
}

struct Column {
  size_t width;
  bool right;
};

void append_row(std::string& out, const std::vector<std::string>& cells, const std::vector<Column>& columns) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string padding(columns[i].width - cells[i].size(), ' ');
    if (i > 0) line.append(kGap, ' ');
    line += columns[i].right ? padding + cells[i] : cells[i] + padding;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  out += line + "\n";
}

}  // namespace

TextTable::TextTable(std::vector<std::string> headers) : headers_(std::move(headers)) {
  SEER_CHECK(!headers_.empty(), "a table without columns");
}

void TextTable::add_row(std::vector<std::string> cells) {
  SEER_CHECK(cells.size() == headers_.size(), "{} cells under {} headers", cells.size(), headers_.size());
  rows_.push_back(std::move(cells));
}

void TextTable::add_rule() {
  rows_.emplace_back();
}

std::string TextTable::to_string() const {
  std::vector<Column> columns;
  size_t width = kGap * (headers_.size() - 1);
  for (size_t i = 0; i < headers_.size(); ++i) {
    Column column{headers_[i].size(), true};
    for (const std::vector<std::string>& row : rows_) {
      if (row.empty()) continue;
      column.width = std::max(column.width, row[i].size());
      column.right = column.right && reads_as_number(row[i]);
    }
    columns.push_back(column);
    width += column.width;
  }
  const std::string rule = std::string(width, '-') + "\n";
  std::string out;
  append_row(out, headers_, columns);
  out += rule;
  for (const std::vector<std::string>& row : rows_) {
    if (row.empty()) {
      out += rule;
    } else {
      append_row(out, row, columns);
    }
  }
  return out;
}

}  // namespace seer
