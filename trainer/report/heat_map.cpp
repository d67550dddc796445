#include "trainer/report/heat_map.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "src/core/error.h"
#include "trainer/report/axis.h"
#include "trainer/report/html.h"

namespace seer::report {
namespace {

// Ramps from transparent to opaque read on a light and on a dark page alike. Blue, orange and grey stay apart for every
// kind of colour blindness.
constexpr Rgba kBlue = {0x1b, 0x6f, 0xd0, 255};
constexpr Rgba kOrange = {0xe0, 0x6c, 0x00, 255};
constexpr Rgba kGrey = {0x80, 0x84, 0x88, 255};

constexpr int kLevels = 100;
constexpr uint8_t kNothing = 0;  ///< Palette entry of pixels that are not drawn

void append_ramp(std::vector<Rgba>& palette, const Rgba& colour, double faintest) {
  for (int level = 0; level < kLevels; ++level) {
    const double alpha = faintest + (1 - faintest) * level / (kLevels - 1);
    palette.push_back({colour[0], colour[1], colour[2], static_cast<uint8_t>(std::lround(255 * alpha))});
  }
}

/// Palette entry of a strength in [0, 1] on the given ramp (0 or 1).
uint8_t entry_of(double strength, int ramp) {
  const double level = std::round(std::clamp(strength, 0.0, 1.0) * (kLevels - 1));
  return static_cast<uint8_t>(1 + ramp * kLevels + static_cast<int>(level));
}

std::string picture(const IndexedImage& image, double x, double y, double width, double height) {
  return fmt::format(
      "<image href=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
      "preserveAspectRatio=\"none\"/>",
      data_uri(image), x, y, width, height);
}

std::string text(double x, double y, const char* anchor, const std::string& content) {
  return fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>", x, y,
                     anchor, escape(content));
}

/// Row by row the largest value at or below the diagonal, which a colour is relative to.
std::vector<float> row_maxima(const BlockMap& map, const std::vector<float>& values) {
  std::vector<float> maxima(static_cast<size_t>(map.blocks), 0.0F);
  for (int64_t row = 0; row < map.blocks; ++row) {
    for (int64_t column = 0; column <= row; ++column) {
      const float value = values[static_cast<size_t>(row * map.blocks + column)];
      if (std::isfinite(value)) maxima[row] = std::max(maxima[row], value);
    }
  }
  return maxima;
}

}  // namespace

std::string render(const HeadMap& map) {
  SEER_CHECK(!map.values.empty() && !map.values.front().empty() && map.high > map.low,
             "{} layers, range {} to {}", map.values.size(), map.low, map.high);
  IndexedImage image{.width = static_cast<int64_t>(map.values.front().size()),
                     .height = static_cast<int64_t>(map.values.size())};
  image.palette.push_back({0, 0, 0, 0});
  append_ramp(image.palette, kBlue, 0);
  for (const std::vector<double>& heads : map.values) {
    for (const double value : heads) {
      image.pixels.push_back(std::isfinite(value) ? entry_of((value - map.low) / (map.high - map.low), 0)
                                                  : kNothing);
    }
  }
  constexpr double kSide = 200;
  constexpr double kLeft = 30;
  constexpr double kTop = 4;
  const double cell_width = kSide / static_cast<double>(image.width);
  const double cell_height = kSide / static_cast<double>(image.height);
  std::string out = fmt::format(
      "<svg class=\"heat\" viewBox=\"0 0 240 236\" role=\"img\" aria-labelledby=\"{}-t\"><title "
      "id=\"{}-t\">{}</title>",
      map.id, map.id, escape(map.title));
  out += picture(image, kLeft, kTop, kSide, kSide);
  out += fmt::format("<path class=\"frame\" d=\"M{},{}h{}v{}h-{}z\"/>", kLeft, kTop, kSide, kSide, kSide);
  // First and last of each, at the middle of their cells.
  out += text(kLeft - 5, kTop + cell_height / 2 + 4, "end", "0");
  if (image.height > 1) {
    out += text(kLeft - 5, kTop + kSide - cell_height / 2 + 4, "end", fmt::format("{}", image.height - 1));
  }
  out += text(kLeft + cell_width / 2, kTop + kSide + 14, "middle", "0");
  if (image.width > 1) {
    out +=
        text(kLeft + kSide - cell_width / 2, kTop + kSide + 14, "middle", fmt::format("{}", image.width - 1));
  }
  out += text(kLeft + kSide / 2, kTop + kSide + 28, "middle", "query head");
  out += fmt::format(
      "<text class=\"tick\" transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">layer</text>",
      kTop + kSide / 2);
  return out + "</svg>\n";
}

std::string head_map_key(double low, double high) {
  return fmt::format("<p class=\"legend key\">{} %<span></span>{} %</p>\n", percent(low, 0),
                     percent(high, 0));
}

int64_t blocks_per_pixel(const BlockMap& map) {
  return (map.blocks + kMaxMapPixels - 1) / kMaxMapPixels;
}

IndexedImage map_image(const BlockMap& map, MapPanel panel) {
  const size_t size = static_cast<size_t>(map.blocks * map.blocks);
  SEER_CHECK(
      map.blocks >= 1 && map.target.size() == size && map.gate.size() == size && map.kept.size() == size,
      "a map of {} blocks with {}, {} and {} values", map.blocks, map.target.size(), map.gate.size(),
      map.kept.size());
  const std::vector<float>& values = panel == MapPanel::kTarget ? map.target : map.gate;
  const std::vector<float> maxima = row_maxima(map, values);
  const int64_t pool = blocks_per_pixel(map);
  const int64_t side = (map.blocks + pool - 1) / pool;

  IndexedImage image{.width = side, .height = side};
  image.palette.push_back({0, 0, 0, 0});
  append_ramp(image.palette, kBlue, panel == MapPanel::kTarget ? 0.04 : 0.30);
  append_ramp(image.palette, panel == MapPanel::kTarget ? kOrange : kGrey, 0.04);
  image.pixels.assign(static_cast<size_t>(side * side), kNothing);
  std::vector<float> strongest(image.pixels.size(), -1.0F);
  for (int64_t row = 0; row < map.blocks; ++row) {
    for (int64_t column = 0; column <= row; ++column) {
      const auto at = static_cast<size_t>(row * map.blocks + column);
      const float value = std::isfinite(values[at]) ? std::max(values[at], 0.0F) : 0.0F;
      const float strength = maxima[row] > 0 ? std::sqrt(value / maxima[row]) : 0.0F;
      const auto pixel = static_cast<size_t>(row / pool * side + column / pool);
      if (strength <= strongest[pixel]) continue;
      strongest[pixel] = strength;
      image.pixels[pixel] = entry_of(strength, map.kept[at] != 0 ? 0 : 1);
    }
  }
  return image;
}

std::string render(const BlockMap& map, MapPanel panel, const std::string& id) {
  constexpr double kSide = 210;
  constexpr double kLeft = 22;
  constexpr double kTop = 4;
  const char* name = panel == MapPanel::kTarget ? "Ground truth" : "Gate";
  std::string out = fmt::format(
      "<svg class=\"map\" viewBox=\"0 0 236 240\" role=\"img\" aria-labelledby=\"{}-t\"><title "
      "id=\"{}-t\">{}, layer {}, head {}: query blocks downwards, key blocks across, kept blocks in "
      "blue</title>",
      id, id, name, map.layer, map.head);
  out += picture(map_image(map, panel), kLeft, kTop, kSide, kSide);
  out += fmt::format("<path class=\"axis\" d=\"M{},{}v{}h{}\"/>", kLeft, kTop, kSide, kSide);
  const std::string tokens = grouped(map.blocks * map.block_size);
  out += text(kLeft, kTop + kSide + 14, "start", "0");
  out += text(kLeft + kSide, kTop + kSide + 14, "end", tokens);
  out += text(kLeft + kSide / 2, kTop + kSide + 14, "middle", "key token");
  out += fmt::format(
      "<text class=\"tick\" transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">query "
      "token</text>",
      kTop + kSide / 2);
  return out + "</svg>\n";
}

}  // namespace seer::report
