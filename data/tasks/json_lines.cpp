#include "data/tasks/json_lines.h"

#include <string>

#include <nlohmann/json.hpp>

#include "data/byte_source.h"
#include "data/file_list.h"
#include "data/line_reader.h"
#include "src/core/error.h"
#include "src/io/json_file.h"

namespace seer {
namespace {

constexpr size_t kMostLineBytes = size_t{1} << 30;

}  // namespace

void for_each_json_line(const std::filesystem::path& file,
                        const std::function<void(const nlohmann::json&, int64_t)>& visit) {
  int64_t place = 0;
  for (const DataFile& part : expand_inputs({file.string()})) {
    LineReader lines(open_bytes(part.path, part.compression), kMostLineBytes);
    for (std::string line; lines.next(line);) {
      const std::string where = fmt::format("{}:{}", part.path.string(), lines.number());
      if (lines.too_long()) fail("{}: longer than {} bytes", where, kMostLineBytes);
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      try {
        const nlohmann::json json = nlohmann::json::parse(line);
        if (!json.is_object()) fail("expected an object, found {}", json.type_name());
        visit(json, place++);
      } catch (const nlohmann::json::exception& error) {
        fail("{}: {}", where, json_reason(error));
      } catch (const Error& error) {
        fail("{}: {}", where, error.what());
      }
    }
  }
}

}  // namespace seer
