#include <fmt/format.h>

#include "trainer/report/html.h"
#include "trainer/report/sections.h"

namespace seer::report {

std::string figure(const std::string& title, const std::string& sentence, const std::string& body) {
  return fmt::format("<figure><figcaption><b>{}</b>{}</figcaption>\n{}</figure>\n", escape(title),
                     escape(sentence), body);
}

}  // namespace seer::report
