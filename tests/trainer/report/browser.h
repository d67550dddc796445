// Chromium without a window: what a page looks like, and what it measures.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "tests/trainer/report/png_reader.h"

namespace seer::test {

struct Viewport {
  int width = 1200;
  int height = 900;
  bool dark = false;  ///< What the page is told of the system's preference
};

class Browser {
 public:
  /// None if chromium is not installed.
  static std::optional<Browser> find();

  /// The top `viewport.height` pixels of the page, also written to `png`.
  Picture screenshot(const std::filesystem::path& page, const std::filesystem::path& png,
                     const Viewport& viewport) const;

  /// The document after its scripts have run, as text.
  std::string dump_dom(const std::filesystem::path& page, const Viewport& viewport) const;

 private:
  explicit Browser(std::string binary) : binary_(std::move(binary)) {}
  std::string run(const std::filesystem::path& page, const Viewport& viewport, const std::string& what) const;

  std::string binary_;
};

}  // namespace seer::test
