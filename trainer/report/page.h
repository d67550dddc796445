// The page: one self-contained HTML file. It loads nothing and runs no script; its own security policy says so.
#pragma once

#include <string>

#include "trainer/report/report_data.h"

namespace seer::report {

/// What the report holds, and for each part that is missing the command that makes it.
std::string render_page(const Report& report);

/// The text of the page's <style>.
std::string style_sheet();

}  // namespace seer::report
