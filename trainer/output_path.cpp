#include "trainer/output_path.h"

#include <unistd.h>

#include "src/core/error.h"

namespace seer {

void check_output_path(const char* flag, const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  if (path.empty()) return;
  if (fs::is_directory(path)) fail_usage("{} {} is a folder: a file was expected", flag, path.string());
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (!fs::is_directory(folder))
    fail_usage("{} {}: there is no folder {}", flag, path.string(), folder.string());
  if (::access(folder.c_str(), W_OK) != 0)
    fail_usage("{} {}: nothing can be written into {}", flag, path.string(), folder.string());
}

}  // namespace seer
