// Folders are layers: every #include of the tree follows the arrows of README.md, "The house".
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/fixtures.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;

/// What each layer may include besides itself.
const std::map<std::string, std::set<std::string>> kArrows = {
    {"src/core", {}},
    {"src/io", {"src/core"}},
    {"src/ops", {"src/core"}},
    {"src/cpu", {"src/ops", "src/core"}},
    {"cuda", {"src/ops", "src/core"}},
    {"src/ranks", {"src/io", "src/core"}},
    {"src/model", {"src/io", "src/ops", "src/core"}},
    {"src/gate", {"src/ops", "src/core"}},
    {"src/sparse", {"src/gate", "src/model", "src/ops", "src/core"}},
    {"data", {"src/core", "src/io"}},
    {"trainer",
     {"data", "src/core", "src/io", "src/ranks", "src/ops", "src/cpu", "cuda", "src/model", "src/gate",
      "src/sparse"}},
};

std::string layer_of(const std::string& path) {
  for (const auto& [layer, allowed] : kArrows) {
    if (path.starts_with(layer + "/")) return layer;
  }
  return "";
}

TEST(House, IncludesFollowTheArrows) {
  int includes = 0;
  for (const auto& [layer, allowed] : kArrows) {
    for (const auto& entry : fs::recursive_directory_iterator(source_dir() / layer)) {
      const std::string extension = entry.path().extension().string();
      if (!std::set<std::string>{".h", ".cpp", ".cu", ".cuh"}.contains(extension)) continue;
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) {
        if (!line.starts_with("#include \"")) continue;
        const std::string included = line.substr(10, line.rfind('"') - 10);
        const std::string target = layer_of(included);
        ++includes;
        EXPECT_FALSE(target.empty()) << entry.path() << " includes " << included << ", which is in no layer";
        EXPECT_TRUE(target == layer || allowed.contains(target)) << entry.path() << " includes " << included;
      }
    }
  }
  EXPECT_GT(includes, 100);
}

}  // namespace
}  // namespace seer::test
