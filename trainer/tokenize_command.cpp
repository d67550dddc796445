#include <iostream>
#include <iterator>
#include <sstream>

#include <fmt/ranges.h>

#include "data/tokenizer.h"
#include "src/core/error.h"
#include "trainer/commands.h"

namespace seer {

int tokenize_command(const TokenizeOptions& options) {
  const Tokenizer tokenizer(options.tokenizer);
  const std::string text =
      options.text ? *options.text : std::string(std::istreambuf_iterator<char>(std::cin), {});
  if (options.decode) {
    std::istringstream numbers(text);
    std::vector<int32_t> ids;
    std::string word;
    while (numbers >> word) {
      size_t used = 0;
      int64_t id = -1;
      try {
        id = std::stoll(word, &used);
      } catch (const std::exception&) {
        used = 0;
      }
      if (used != word.size() || id < 0 || id > INT32_MAX) fail_usage("\"{}\" is no token id", word);
      ids.push_back(static_cast<int32_t>(id));
    }
    const std::string decoded = tokenizer.decode(ids);
    std::fwrite(decoded.data(), 1, decoded.size(), stdout);
    return 0;
  }
  const std::vector<int32_t> ids = tokenizer.encode(
      text, {.add_special_tokens = !options.no_special, .parse_special = !options.no_special});
  if (options.count_only) {
    fmt::print("{}\n", ids.size());
  } else {
    fmt::print("{}\n", fmt::join(ids, " "));
  }
  return 0;
}

}  // namespace seer
