#include "tests/trainer/report/browser.h"

#include <sstream>

#include <fmt/format.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"
#include "tests/support/process.h"

namespace seer::test {

std::optional<Browser> Browser::find() {
  std::istringstream folders(environment("PATH").value_or(""));
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::filesystem::path binary = std::filesystem::path(folder) / "chromium";
    if (std::filesystem::exists(binary)) return Browser(binary.string());
  }
  return std::nullopt;
}

std::string Browser::run(const std::filesystem::path& page, const Viewport& viewport,
                         const std::string& what) const {
  const TempDir profile;
  const ProcessResult result =
      run_process({binary_, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                   "--no-first-run", "--disable-background-networking", "--force-device-scale-factor=1",
                   fmt::format("--blink-settings=preferredColorScheme={}", viewport.dark ? 0 : 1),
                   fmt::format("--window-size={},{}", viewport.width, viewport.height),
                   "--user-data-dir=" + profile.path().string(), what, "file://" + page.string()},
                  {.environment = {{"HOME", profile.path().string()}}});
  if (result.exit_code != 0) fail("{} ended with {}: {}", binary_, result.exit_code, result.err);
  return result.out;
}

Picture Browser::screenshot(const std::filesystem::path& page, const std::filesystem::path& png,
                            const Viewport& viewport) const {
  run(page, viewport, "--screenshot=" + png.string());
  return read_png(read_text_file(png));
}

std::string Browser::dump_dom(const std::filesystem::path& page, const Viewport& viewport) const {
  return run(page, viewport, "--dump-dom");
}

}  // namespace seer::test
