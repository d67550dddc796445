// The page in a real browser: drawn in light and dark, wide and as narrow as a phone, with nothing sticking out.
// SEER_SCREENSHOTS=FOLDER keeps the pictures, to be looked at.
#include "tests/trainer/report/browser.h"

#include <map>
#include <regex>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/io/atomic_file.h"
#include "tests/trainer/report/sample_report.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/report/html.h"
#include "trainer/report/page.h"
#include "trainer/report/report_files.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;

constexpr Viewport kDesktop = {.width = 1200, .height = 5200};
constexpr Viewport kPhone = {.width = 390, .height = 9000};

/// Put at the end of a copy of the page: opens every table and writes what it measures to attributes of the outermost
/// <html>. smallest-text is what a reader sees of the charts' labels, in CSS pixels.
constexpr const char* kMeasure = R"(<script>
const root = document.documentElement, top_root = top.document.documentElement;
const set = (name, value) => top_root.setAttribute('data-' + name, value);
const background = () => getComputedStyle(document.body).backgroundColor;
set('page', background());
document.getElementById('theme-light').checked = true;
set('page-light', background());
document.getElementById('theme-dark').checked = true;
set('page-dark', background());
let smallest = 1000;
for (const text of document.querySelectorAll('svg text'))
  smallest = Math.min(smallest, parseFloat(getComputedStyle(text).fontSize) * text.closest('svg').getScreenCTM().a);
set('smallest-text', smallest);
for (const details of document.querySelectorAll('details')) details.open = true;
set('width', innerWidth);
set('scroll-width', root.scrollWidth);
let out = 0;
for (const element of document.querySelectorAll('body *'))
  if (!element.closest('.scroll') && !element.closest('.theme') && element.getBoundingClientRect().right > innerWidth + 1) ++out;
set('sticking-out', out);
</script>)";

/// Chromium lays out a document that it does not draw in a window at least this wide.
constexpr int kNarrowestWindow = 500;

/// A page that shows `html` in a frame of the viewport's size, of the same origin.
std::string in_frame(const std::string& html, const Viewport& viewport) {
  return fmt::format(
      "<!doctype html><html><head></head><body><iframe style=\"width:{}px;height:{}px;border:0\" "
      "srcdoc=\"{}\"></iframe></body></html>",
      viewport.width, viewport.height, report::escape(html));
}

class BrowserTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    browser_ = Browser::find();
    if (!browser_) return;
    run_ = std::make_unique<TinyRun>();
    expect_success(run_->train("run"));
    write_file_atomically(run_->path("run/gates/fine/eval-ppl.json"), sample_perplexity_json().dump());
    // All of the page: what the command finds, and maps.
    report::Report report = report::collect_report(run_->path("run"));
    report.maps = {sample_map(0, 3, 128), sample_map(5, 7, 300)};
    write_file_atomically(page(), report::render_page(report));
  }
  static void TearDownTestSuite() { run_.reset(); }
  void SetUp() override {
    if (!browser_) GTEST_SKIP() << "SKIPPED: chromium is not installed (apt-get install chromium)";
  }

  static fs::path page() { return run_->path("page.html"); }

  /// data-NAME attributes that kMeasure leaves.
  static std::map<std::string, std::string> measure(const Viewport& viewport) {
    std::string html = read_text_file(page());
    // The page's policy forbids scripts: the copy does without it.
    html = std::regex_replace(html, std::regex("<meta http-equiv=[^>]*>"), "");
    html.insert(html.rfind("</body>"), kMeasure);
    if (viewport.width < kNarrowestWindow) html = in_frame(html, viewport);
    const fs::path copy = run_->path("measured.html");
    write_file_atomically(copy, html);
    const std::string dom = browser_->dump_dom(copy, viewport);
    std::map<std::string, std::string> values;
    const std::string tag = dom.substr(0, dom.find("<head>"));
    const std::regex attribute("data-([a-z-]+)=\"([^\"]*)\"");
    for (std::sregex_iterator it(tag.begin(), tag.end(), attribute), end; it != end; ++it) {
      values[(*it)[1]] = (*it)[2];
    }
    return values;
  }

  static Picture shoot(const Viewport& viewport, const std::string& name) {
    const fs::path kept = environment("SEER_SCREENSHOTS").value_or("");
    if (!kept.empty()) fs::create_directories(kept);
    const fs::path folder = kept.empty() ? run_->path("") : fs::absolute(kept);
    return browser_->screenshot(page(), folder / (name + ".png"), viewport);
  }

  static inline std::optional<Browser> browser_;
  static inline std::unique_ptr<TinyRun> run_;
};

/// Pixels of exactly this colour.
int64_t count(const Picture& picture, int red, int green, int blue) {
  int64_t found = 0;
  for (const auto& pixel : picture.pixels)
    found += pixel[0] == red && pixel[1] == green && pixel[2] == blue ? 1 : 0;
  return found;
}

struct Look {
  const char* name;
  Viewport viewport;
  std::array<int, 3> page;
  std::array<int, 3> gate;  ///< The colour of the gate's lines
};

TEST_F(BrowserTest, DrawsLightAndDarkWideAndNarrow) {
  const std::array<int, 3> white = {255, 255, 255};
  const std::array<int, 3> night = {0x14, 0x17, 0x1a};
  const std::array<int, 3> blue = {0x0b, 0x5c, 0xad};
  const std::array<int, 3> sky = {0x58, 0xa6, 0xf2};
  for (const Look& look : {Look{"desktop-light", {1200, kDesktop.height, false}, white, blue},
                           Look{"desktop-dark", {1200, kDesktop.height, true}, night, sky},
                           Look{"phone-light", {390, kPhone.height, false}, white, blue},
                           Look{"phone-dark", {390, kPhone.height, true}, night, sky}}) {
    SCOPED_TRACE(look.name);
    const Picture picture = shoot(look.viewport, look.name);
    ASSERT_EQ(picture.width, look.viewport.width);
    ASSERT_EQ(picture.height, look.viewport.height);
    const auto pixels = static_cast<int64_t>(picture.pixels.size());
    const int64_t empty = count(picture, look.page[0], look.page[1], look.page[2]);
    EXPECT_GT(empty, pixels / 2);
    EXPECT_LT(empty, pixels * 95 / 100);
    EXPECT_GT(count(picture, look.gate[0], look.gate[1], look.gate[2]), 1000);
    // In every stretch of the page that is as high as a screen something is drawn.
    constexpr int64_t kScreen = 600;
    for (int64_t top = 0; top + kScreen <= picture.height; top += kScreen) {
      int64_t drawn = 0;
      for (int64_t y = top; y < top + kScreen; ++y) {
        for (int64_t x = 0; x < picture.width; ++x) drawn += picture.at(x, y) == picture.at(0, 0) ? 0 : 1;
      }
      EXPECT_GT(drawn, kScreen) << "nothing between " << top << " and " << top + kScreen;
    }
  }
}

TEST_F(BrowserTest, FitsAPhoneAndStaysLegible) {
  const auto phone = measure(kPhone);
  ASSERT_EQ(phone.at("width"), "390");
  EXPECT_EQ(phone.at("scroll-width"), "390");
  EXPECT_EQ(phone.at("sticking-out"), "0");
  EXPECT_GE(std::stod(phone.at("smallest-text")), 9.5);
  const auto desktop = measure(kDesktop);
  EXPECT_EQ(desktop.at("scroll-width"), "1200");
  EXPECT_EQ(desktop.at("sticking-out"), "0");
  EXPECT_GE(std::stod(desktop.at("smallest-text")), 10);
}

TEST_F(BrowserTest, TheReadersChoiceOfColoursWins) {
  const std::string white = "rgb(255, 255, 255)";
  const std::string night = "rgb(20, 23, 26)";
  for (const bool dark : {false, true}) {
    const auto page = measure({.width = 1200, .height = 900, .dark = dark});
    EXPECT_EQ(page.at("page"), dark ? night : white);
    EXPECT_EQ(page.at("page-light"), white);
    EXPECT_EQ(page.at("page-dark"), night);
  }
}

}  // namespace
}  // namespace seer::test
