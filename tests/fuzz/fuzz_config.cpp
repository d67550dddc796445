// Arbitrary config text, with arbitrary --set overrides: the lines after a line "--set" are one override
// each.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "src/core/error.h"
#include "trainer/run_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> overrides;
  if (const size_t split = text.find("\n--set\n"); split != std::string::npos) {
    std::string lines = text.substr(split + 7);
    text.resize(split);
    while (!lines.empty()) {
      const size_t end = lines.find('\n');
      overrides.push_back(lines.substr(0, end));
      lines.erase(0, end == std::string::npos ? end : end + 1);
    }
  }
  try {
    const seer::RunConfig config = seer::parse_run_config(text, "fuzz.json", overrides);
    // What is accepted must survive the trip through the run folder.
    if (!(seer::parse_run_config(seer::to_json(config), "effective.json") == config)) std::abort();
  } catch (const seer::Error&) {
  }
  return 0;
}
