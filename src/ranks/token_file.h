// Where rank 0 listens and the start's secret, for ranks that share nothing but a folder.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "src/ranks/join.h"

namespace seer {

/// Rank 0's file, readable by its owner alone, while it lives: written whole or not at all, in place of a file that a killed
/// start of the same name may have left. The destructor removes it, and the folders that had to be made for it if nothing
/// else is in them.
class TokenFile {
 public:
  TokenFile(const std::filesystem::path& path, const HeadAddress& head);
  ~TokenFile();
  TokenFile(const TokenFile&) = delete;
  TokenFile& operator=(const TokenFile&) = delete;

  /// Name of the file for a start (RankInfo::job) in a run folder.
  static std::filesystem::path path(const std::filesystem::path& run_folder, const std::string& job);

  /// What the file says; none if it is not there (yet) or is no token file. Whether rank 0 still lives shows when it is
  /// connected to.
  static std::optional<HeadAddress> read(const std::filesystem::path& path);

 private:
  void remove_made_folders();

  std::filesystem::path path_;
  std::string text_;
  std::vector<std::filesystem::path> made_;  ///< Outermost first
};

}  // namespace seer
