#include <filesystem>

#include <fmt/format.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "trainer/commands.h"
#include "trainer/report/page.h"
#include "trainer/report/report_files.h"
#include "trainer/version.h"

namespace seer {

int report_command(const std::string& source, const std::string& out) {
  report::Report report = report::collect_report(source);
  if (report.empty()) {
    fail(
        "{} has nothing to show yet: neither a metrics.jsonl with lines in it (`seer-train train`) nor an "
        "eval-ppl*.json (`seer-train eval ppl`)",
        source);
  }
  const std::string version = version_text();
  report.generator = "Written by " + version.substr(0, version.find('\n'));
  write_file_atomically(out, report::render_page(report));
  fmt::print("{}\n", out);
  return 0;
}

}  // namespace seer
