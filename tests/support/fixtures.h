// Where tests find their files, and scratch folders for what they write.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace seer::test {

/// The project's source folder; SEER_SOURCE says where it is on a machine that did not build the tests.
std::filesystem::path source_dir();

/// The folder of reference values: $SEER_GOLDENS, or the project's own tests/golden.
std::filesystem::path goldens_dir();

/// Sorted entries (files or folders) of goldens_dir()/group; fails the test run with an Error if there are
/// none.
std::vector<std::filesystem::path> golden_cases(const std::string& group);

/// Value of an environment variable, if set and not empty.
std::optional<std::string> environment(const char* name);

/// A fresh empty folder that is removed with the object.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace seer::test
