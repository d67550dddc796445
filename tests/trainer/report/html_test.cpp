#include "trainer/report/html.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace seer::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Html, EscapesHostileNames) {
  EXPECT_EQ(escape("<script>alert('1')</script> & \"x\""),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot;");
  EXPECT_EQ(escape(std::string("a\0b\x1b", 4)),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
  EXPECT_EQ(escape("ä·×\n\t"), "ä·×\n\t");
  EXPECT_EQ(escape(""), "");
}

TEST(Html, NumbersAsAReaderWantsThem) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(-1234567), "-1,234,567");
  EXPECT_EQ(significant(0.0057123, 3), "0.00571");
  EXPECT_EQ(significant(20.94, 3), "20.9");
  EXPECT_EQ(significant(1234.6, 3), "1,235");
  EXPECT_EQ(significant(0.00001234, 3), "1.23e-05");
  EXPECT_EQ(significant(0, 3), "0");
  EXPECT_EQ(significant(std::numeric_limits<double>::quiet_NaN(), 3), kNoValue);
  EXPECT_EQ(fixed(19.24, 2), "19.24");
  EXPECT_EQ(fixed(-0.0004, 2), "0.00");
  EXPECT_EQ(fixed(-0.04, 2), "-0.04");
  EXPECT_EQ(fixed(std::numeric_limits<double>::infinity(), 2), kNoValue);
  EXPECT_EQ(percent(0.1003), "10.0");
  EXPECT_EQ(percent(-0.0005, 2), "-0.05");
}

TEST(Html, TablesEscapeEveryCell) {
  const std::string html = to_html({"a<b", {"x", "<i>"}, {{"row&", "\"1\""}, {"2", "3"}}});
  EXPECT_THAT(html, HasSubstr("<summary>a&lt;b</summary>"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"col\">&lt;i&gt;"));
  EXPECT_THAT(html, HasSubstr("<tr><th scope=\"row\">row&amp;<td>&quot;1&quot;"));
  EXPECT_THAT(html, HasSubstr("<tr><th scope=\"row\">2<td>3"));
  EXPECT_THAT(html, Not(HasSubstr("<i>")));
}

}  // namespace
}  // namespace seer::report
