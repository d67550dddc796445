#include "trainer/report/svg_chart.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "trainer/report/html.h"

namespace seer::report {
namespace {

// The drawing's own units; the plot lies inside the margins.
constexpr double kWidth = 400;
constexpr double kHeight = 264;
constexpr double kLeft = 46;
constexpr double kRight = 388;
constexpr double kTop = 26;
constexpr double kBottom = 222;

std::string marker_path(Marker marker, double x, double y) {
  const auto at = [&](double dx, double dy) { return fmt::format("{:.1f},{:.1f}", x + dx, y + dy); };
  switch (marker) {
    case Marker::kNone:
      return "";
    case Marker::kDisc:
    case Marker::kRing:
      return fmt::format("M{}a3.6,3.6 0 1 0 7.2,0a3.6,3.6 0 1 0 -7.2,0z", at(-3.6, 0));
    case Marker::kSquare:
      return fmt::format("M{}h6.4v6.4h-6.4z", at(-3.2, -3.2));
    case Marker::kTriangle:
      return fmt::format("M{}L{}L{}z", at(0, -4.4), at(4, 2.8), at(-4, 2.8));
    case Marker::kTriangleDown:
      return fmt::format("M{}L{}L{}z", at(0, 4.4), at(4, -2.8), at(-4, -2.8));
    case Marker::kDiamond:
      return fmt::format("M{}L{}L{}L{}z", at(0, -4.6), at(4.2, 0), at(0, 4.6), at(-4.2, 0));
    case Marker::kPlus:
      return fmt::format("M{}h8M{}v8", at(-4, 0), at(0, -4));
    case Marker::kCross:
      return fmt::format("M{}l6.4,6.4M{}l6.4,-6.4", at(-3.2, -3.2), at(-3.2, 3.2));
  }
  return "";
}

/// Plus and cross have no inside, the ring's is the page.
const char* marker_class(Marker marker) {
  switch (marker) {
    case Marker::kRing:
      return "ring";
    case Marker::kPlus:
    case Marker::kCross:
      return "stroke";
    default:
      return "fill";
  }
}

std::string attributes(const SeriesStyle& style) {
  std::string text = fmt::format(" class=\"{}\"", style.css_class);
  if (style.ramp) text += fmt::format(" style=\"--t:{:.0f}%\"", 100 * *style.ramp);
  return text;
}

std::vector<double> coordinates(const Chart& chart, double Point::*which,
                                const std::vector<double>& include) {
  std::vector<double> values = include;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) values.push_back(point.*which);
  }
  return values;
}

class Plot {
 public:
  explicit Plot(const Chart& chart)
      : chart_(chart),
        x_axis_(make_axis(coordinates(chart, &Point::x, chart.x_include), chart.x_scale, chart.x_integers)) {
    std::vector<double> values = coordinates(chart, &Point::y, chart.y_include);
    if (chart.y_floor) {
      for (double& value : values) value = std::max(value, *chart.y_floor);
      values.push_back(*chart.y_floor);
    }
    y_axis_ = make_axis(values, chart.y_scale);
  }

  std::string draw() {
    draw_axes();
    for (const Series& series : chart_.series) draw_line(series);
    for (const Series& series : chart_.series) draw_points(series);
    return std::move(out_);
  }

 private:
  double x(double value) const { return kLeft + (kRight - kLeft) * x_axis_.position(value); }
  double y(double value) const {
    if (chart_.y_floor) value = std::max(value, *chart_.y_floor);
    return kBottom - (kBottom - kTop) * y_axis_.position(value);
  }
  bool drawable(const Point& point) const {
    return std::isfinite(x(point.x)) && std::isfinite(point.y) && std::isfinite(y(point.y));
  }

  void draw_axes() {
    out_ += "<g class=\"grid\">";
    for (const Tick& tick : y_axis_.ticks) {
      out_ += fmt::format("<path d=\"M{},{:.1f}H{}\"/>", kLeft, y(tick.value), kRight);
    }
    out_ += fmt::format("</g><path class=\"axis\" d=\"M{},{}H{}", kLeft, kBottom, kRight);
    for (const Tick& tick : x_axis_.ticks) out_ += fmt::format("M{:.1f},{}v4", x(tick.value), kBottom);
    out_ += "\"/>";
    for (const Tick& tick : y_axis_.ticks) {
      const bool at_floor = chart_.y_floor && tick.value <= *chart_.y_floor * (1 + 1e-9);
      out_ += fmt::format("<text class=\"tick\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}{}</text>",
                          kLeft - 6, y(tick.value) + 4, at_floor ? "≤" : "", escape(tick.label));
    }
    for (const Tick& tick : x_axis_.ticks) {
      out_ += fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                          x(tick.value), kBottom + 18, escape(tick.label));
    }
    out_ += fmt::format("<text x=\"2\" y=\"12\">{}</text>", escape(chart_.y_label));
    out_ += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", kRight, kHeight - 5,
                        escape(chart_.x_label));
  }

  void draw_line(const Series& series) {
    std::string path;
    bool open = false;
    size_t drawn = 0;
    for (const Point& point : series.points) {
      if (!drawable(point)) {
        open = false;
        continue;
      }
      path += fmt::format("{}{:.1f},{:.1f}", open ? 'L' : 'M', x(point.x), y(point.y));
      open = true;
      ++drawn;
    }
    if (drawn < 2) return;
    out_ += fmt::format("<g{}><path class=\"line\" d=\"{}\"><title>{}</title></path></g>",
                        attributes(series.style), path, escape(series.name));
  }

  void draw_points(const Series& series) {
    if (series.style.marker == Marker::kNone) return;
    out_ += fmt::format("<g{}>", attributes(series.style));
    for (const Point& point : series.points) {
      if (!drawable(point)) continue;
      out_ += fmt::format("<path class=\"{}\" d=\"{}\"><title>{}</title></path>",
                          marker_class(series.style.marker),
                          marker_path(series.style.marker, x(point.x), y(point.y)),
                          escape(point.tip.empty() ? series.name : point.tip));
      if (!point.label.empty()) draw_label(point);
    }
    out_ += "</g>";
  }

  /// Below and to the right, where a falling or rising line of the lowest series leaves room, but inside the plot.
  void draw_label(const Point& point) {
    const bool left = x(point.x) > kRight - 40;
    const bool above = y(point.y) > kBottom - 18;
    out_ += fmt::format("<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>",
                        x(point.x) + (left ? 3 : 5), y(point.y) + (above ? -8 : 15), left ? "end" : "start",
                        escape(point.label));
  }

  const Chart& chart_;
  Axis x_axis_;
  Axis y_axis_;
  std::string out_;
};

}  // namespace

std::string render(const Chart& chart) {
  return fmt::format(
             "<svg class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{}-t {}-d\">"
             "<title id=\"{}-t\">{}</title><desc id=\"{}-d\">{}</desc>",
             kWidth, kHeight, chart.id, chart.id, chart.id, escape(chart.title), chart.id,
             escape(chart.description)) +
         Plot(chart).draw() + "</svg>\n";
}

std::string legend(const std::vector<Series>& series) {
  std::string out = "<ul class=\"legend\">";
  for (const Series& entry : series) {
    const std::string marker = marker_path(entry.style.marker, 14, 6);
    out += fmt::format(
        "<li><svg viewBox=\"0 0 28 12\" aria-hidden=\"true\"><g{}><path class=\"line\" d=\"M0,6H28\"/>",
        attributes(entry.style));
    if (!marker.empty()) {
      out += fmt::format("<path class=\"{}\" d=\"{}\"/>", marker_class(entry.style.marker), marker);
    }
    out += fmt::format("</g></svg>{}", escape(entry.name));
  }
  return out + "</ul>\n";
}

std::string ramp_legend(const std::string& first, const std::string& last) {
  return fmt::format("<p class=\"legend ramp\">{}<span></span>{}</p>\n", escape(first), escape(last));
}

}  // namespace seer::report
