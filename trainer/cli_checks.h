// Checks of numbers on the command line that say what was expected in words.
#pragma once

#include <cstdlib>
#include <string>

#include <CLI/CLI.hpp>

namespace seer {

/// CLI11's own print the largest double there is.
inline CLI::Validator number_check(const char* name, const char* expected, bool (*holds)(double)) {
  return {[=](const std::string& text) {
            char* end = nullptr;
            const double value = std::strtod(text.c_str(), &end);
            if (!text.empty() && *end == '\0' && holds(value)) return std::string();
            return "found " + text + ", expected " + expected;
          },
          name};
}

inline const CLI::Validator kPositive =
    number_check("POSITIVE", "a number above 0", [](double x) { return x > 0; });
inline const CLI::Validator kNotNegative =
    number_check("NONNEGATIVE", "0 or a number above it", [](double x) { return x >= 0; });
inline const CLI::Validator kShare =
    number_check("SHARE", "a number above 0, at most 1", [](double x) { return x > 0 && x <= 1; });
/// As the config's key `threads`.
inline const CLI::Range kThreads(0, 1024);

}  // namespace seer
