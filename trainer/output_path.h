// Files that commands write when their work is done.
#pragma once

#include <filesystem>
#include <string>

namespace seer {

/// Throws a usage Error naming the flag if `path` cannot be a file's: before the work, not after it. Empty paths are none.
void check_output_path(const char* flag, const std::filesystem::path& path);

}  // namespace seer
