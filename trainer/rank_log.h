// What a rank that has no terminal prints: <run folder>/logs/rank-N.log, and its last words for the launcher's message.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "src/ranks/fd.h"

namespace seer {

class RankLog {
 public:
  /// `echo`: every line also goes to standard error, behind "[rank N] ".
  RankLog(int rank, bool echo) : rank_(rank), echo_(echo) {}
  ~RankLog();
  RankLog(RankLog&&) = default;

  /// Text as it comes; lines are put together.
  void add(std::string_view text);
  /// From here on lines go to the end of logs/rank-N.log in `run_folder`, those kept so far first. A folder that cannot be
  /// written is a warning, and the lines stay in memory.
  void open(const std::filesystem::path& run_folder);
  bool opened() const { return file_.valid(); }
  const std::filesystem::path& path() const { return path_; }

  /// The last line by which the program said what went wrong; empty if there is none.
  const std::string& last_error() const { return last_error_; }
  /// Lines that are in no file (the newest, if there were very many).
  const std::string& kept() const { return kept_; }

 private:
  void add_line(std::string_view line);
  void write(std::string_view text);

  int rank_;
  bool echo_;
  bool warned_ = false;
  std::filesystem::path path_;
  Fd file_;
  std::string partial_;  ///< A line whose end has not come
  std::string kept_;
  std::string last_error_;
};

}  // namespace seer
