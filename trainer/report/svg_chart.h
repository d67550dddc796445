// Line charts and scatter plots as inline SVG. Colours, dashes and widths are classes of the page's style sheet, so that
// one drawing serves light and dark; a series also differs in dash and marker, for eyes that see fewer hues.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trainer/report/axis.h"

namespace seer::report {

enum class Marker { kNone, kDisc, kRing, kSquare, kTriangle, kTriangleDown, kDiamond, kPlus, kCross };

/// How a series looks: a class of the style sheet ("s-gate") with its marker.
struct SeriesStyle {
  std::string css_class;
  Marker marker = Marker::kNone;
  /// In [0, 1] the place on the ramp from the first layer to the last, which then gives the colour.
  std::optional<double> ramp;
};

struct Point {
  double x = 0;
  double y = 0;
  std::string tip;    ///< Shown under the pointer, and read out; empty: none
  std::string label;  ///< Written beside the point
};

struct Series {
  std::string name;
  SeriesStyle style;
  /// In drawing order; a point that is not finite (or not positive on a log axis) interrupts the line.
  std::vector<Point> points;
};

struct Chart {
  std::string id;     ///< Unique on the page
  std::string title;  ///< For readers that hear the page, with `description`
  std::string description;
  std::string x_label;
  std::string y_label;
  Scale x_scale = Scale::kLinear;
  Scale y_scale = Scale::kLinear;
  bool x_integers = false;        ///< Of steps and layers: no tick between two
  std::vector<double> x_include;  ///< Values the axis must reach besides the points'
  std::vector<double> y_include;
  /// On a log axis smaller values are drawn on this edge.
  std::optional<double> y_floor;
  std::vector<Series> series;
};

/// The <svg> element. Its text is 12 px high where it is shown at its natural width of 400 px.
std::string render(const Chart& chart);

/// A sample of line and marker beside each series' name, as wrapping text.
std::string legend(const std::vector<Series>& series);

/// The legend of many layers: a ramp between the names of the first and the last.
std::string ramp_legend(const std::string& first, const std::string& last);

}  // namespace seer::report
