#include "tests/support/fixtures.h"

#include <algorithm>
#include <cstdlib>

#include "src/core/error.h"

namespace seer::test {
namespace fs = std::filesystem;

fs::path source_dir() {
  const auto set = environment("SEER_SOURCE");
  return set ? fs::path(*set) : fs::path(SEER_SOURCE_DIR);
}

fs::path goldens_dir() {
  const auto set = environment("SEER_GOLDENS");
  return set ? fs::path(*set) : source_dir() / "tests" / "golden";
}

std::vector<fs::path> golden_cases(const std::string& group) {
  std::vector<fs::path> cases;
  const fs::path folder = goldens_dir() / group;
  if (fs::is_directory(folder)) {
    for (const auto& entry : fs::directory_iterator(folder)) cases.push_back(entry.path());
  }
  if (cases.empty())
    fail("no golden cases in {}: set SEER_GOLDENS to a folder that holds some", folder.string());
  std::sort(cases.begin(), cases.end());
  return cases;
}

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "seer-test-XXXXXX").string();
  SEER_CHECK(::mkdtemp(pattern.data()) != nullptr, "mkdtemp {}", pattern);
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace seer::test
