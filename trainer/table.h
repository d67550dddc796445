// Small fixed-width tables for the terminal.
#pragma once

#include <string>
#include <vector>

namespace seer {

/// Collects rows of text and lays them out under their headers, two spaces between columns. A column whose
/// cells all start like numbers ("12", "-3.5e-4", "2.1 MB"; empty cells and "-" count as well) is aligned to
/// the right. Widths are counted in bytes: ASCII only.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> headers);

  /// One cell per header.
  void add_row(std::vector<std::string> cells);

  /// A rule across the table before the next row, for totals.
  void add_rule();

  /// The lines, each ended by a newline and without trailing spaces.
  std::string to_string() const;

 private:
  std::vector<std::string> headers_;
  std::vector<std::vector<std::string>> rows_;  ///< An empty row is a rule.
};

}  // namespace seer
