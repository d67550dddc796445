#include <fmt/format.h>

#include "trainer/report/heat_map.h"
#include "trainer/report/html.h"
#include "trainer/report/sections.h"

namespace seer::report {

std::string maps_section(const Report& report) {
  if (report.maps.empty()) return "";
  std::string out =
      "<section id=\"maps\"><h2>Ground truth and gate</h2>\n<p>One head's attention on one text, block by "
      "block: "
      "query blocks downwards, key blocks across. Left, where the attention mass really lies: <b "
      "class=\"kept\">blue</b> on blocks the gate keeps, <b class=\"missed\">orange</b> on blocks it leaves "
      "out. "
      "Right, what the gate says: <b class=\"kept\">blue</b> is kept, <b class=\"left-out\">grey</b> is not. "
      "Good: hardly any strong orange on the left, and the same shapes on both sides. Colours are relative "
      "to "
      "the strongest block of their row.</p>\n<div class=\"maps\">\n";
  Table table{.summary = "Numbers: density and recall of these heads",
              .headers = {"layer", "head", "blocks", "block size", "density, %", "recall, %"}};
  for (size_t i = 0; i < report.maps.size(); ++i) {
    const BlockMap& map = report.maps[i];
    std::string note = fmt::format("Keeps {} % of its blocks, with {} % of the attention mass.",
                                   percent(map.density), percent(map.recall));
    if (const int64_t pool = blocks_per_pixel(map); pool > 1) {
      note += fmt::format(" Each pixel is the strongest of {} × {} blocks of {} tokens.", pool, pool,
                          map.block_size);
    }
    out += figure(fmt::format("Layer {}, head {}", map.layer, map.head), note,
                  "<div class=\"pair\">" + render(map, MapPanel::kTarget, fmt::format("m{}-truth", i)) +
                      render(map, MapPanel::kGate, fmt::format("m{}-gate", i)) + "</div>");
    table.rows.push_back({fmt::format("{}", map.layer), fmt::format("{}", map.head), grouped(map.blocks),
                          grouped(map.block_size), percent(map.density), percent(map.recall)});
  }
  return out + "</div>\n" + to_html(table) + "</section>\n";
}

}  // namespace seer::report
