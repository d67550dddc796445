#include "trainer/report/svg_chart.h"

#include <limits>
#include <regex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace seer::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

Chart chart_of(std::vector<Point> points) {
  return {.id = "c",
          .title = "T<",
          .description = "D",
          .x_label = "x & y",
          .y_label = "loss",
          .series = {{"<gate>", {"s-gate", Marker::kDisc, {}}, std::move(points)}}};
}

TEST(SvgChart, HasAxesLabelsAndAnAccessibleTitle) {
  const std::string svg = render(chart_of({{0, 0, "tip <1>", "here"}, {10, 5, "", ""}}));
  EXPECT_THAT(svg, HasSubstr("role=\"img\" aria-labelledby=\"c-t c-d\"><title id=\"c-t\">T&lt;</title><desc "
                             "id=\"c-d\">D</desc>"));
  EXPECT_THAT(svg, HasSubstr(">x &amp; y</text>"));
  EXPECT_THAT(svg, HasSubstr(">loss</text>"));
  EXPECT_THAT(svg, HasSubstr(">10</text>"));
  EXPECT_THAT(svg, HasSubstr("<title>tip &lt;1&gt;</title>"));
  EXPECT_THAT(svg, HasSubstr("<title>&lt;gate&gt;</title>"));
  EXPECT_THAT(svg, HasSubstr(">here</text>"));
  // From the lower left corner of the plot to the upper right.
  EXPECT_THAT(svg, HasSubstr("d=\"M46.0,222.0L388.0,26.0\""));
}

TEST(SvgChart, GapsWhereNothingCanBeDrawn) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = render(chart_of({{0, 0}, {1, nan}, {2, 2}, {nan, 1}, {4, 4}}));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_EQ(count(svg, "class=\"fill\""), 3U);
  std::smatch line;
  ASSERT_TRUE(std::regex_search(svg, line, std::regex("class=\"line\" d=\"([^\"]*)\"")));
  EXPECT_EQ(count(line[1], "M"), 3U);
  EXPECT_EQ(count(line[1], "L"), 0U);
  EXPECT_THAT(render(chart_of({{nan, nan}})), Not(HasSubstr("nan")));
}

TEST(SvgChart, ALogAxisHasAFloor) {
  Chart chart = chart_of({{1, 10}, {2, 0.01}, {3, -5}});
  chart.y_scale = Scale::kLog;
  EXPECT_EQ(count(render(chart), "class=\"fill\""), 2U);  // what is negative has no place
  chart.y_floor = 0.1;
  const std::string svg = render(chart);
  EXPECT_EQ(count(svg, "class=\"fill\""), 3U);
  EXPECT_THAT(svg, HasSubstr(">≤0.1</text>"));
  std::smatch line;
  ASSERT_TRUE(std::regex_search(svg, line, std::regex("L([0-9.]+),222.0L([0-9.]+),222.0\"")));
}

TEST(SvgChart, EverySeriesIsInTheLegend) {
  const std::string html =
      legend({{"a<", {"s-gate", Marker::kPlus, {}}, {}}, {"b", {"ramp", Marker::kNone, 0.25}, {}}});
  EXPECT_THAT(html, HasSubstr("a&lt;"));
  EXPECT_THAT(html, HasSubstr("style=\"--t:25%\""));
  EXPECT_EQ(count(html, "<li>"), 2U);
}

}  // namespace
}  // namespace seer::report
