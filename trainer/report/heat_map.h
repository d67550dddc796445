// Pictures of numbers on a grid: a value for each layer and head, and the block maps of one head's attention.
#pragma once

#include <string>
#include <vector>

#include "trainer/report/png.h"
#include "trainer/report/report_data.h"

namespace seer::report {

/// A value of every layer (downwards) and head (across). Stronger colour is more, from `low` (the page's own
/// colour) to `high`.
struct HeadMap {
  std::string id;                           ///< Unique on the page
  std::string title;                        ///< Over the picture, and for readers that hear the page
  std::vector<std::vector<double>> values;  ///< [layers][heads]
  double low = 0;
  double high = 1;
};
std::string render(const HeadMap& map);

/// The key of HeadMaps that share a range: its ends are per cent.
std::string head_map_key(double low, double high);

/// The largest side a block map is drawn with; of larger ones each pixel stands for several blocks.
constexpr int64_t kMaxMapPixels = 256;

/// Blocks that one pixel stands for on each side.
int64_t blocks_per_pixel(const BlockMap& map);

/// Which of the two maps a panel shows; both mark what the gate keeps.
enum class MapPanel { kTarget, kGate };

/// The panel's pixels. Colour is the root of a value's share of its row's largest; the hue says whether the gate keeps the
/// block. A pixel of several blocks shows the one with the largest colour. Above the diagonal nothing is drawn.
IndexedImage map_image(const BlockMap& map, MapPanel panel);

std::string render(const BlockMap& map, MapPanel panel, const std::string& id);

}  // namespace seer::report
