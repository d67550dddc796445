#include "trainer/metrics_log.h"

#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "src/io/mmap_file.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::ordered_json;

std::string to_line(const Json& record) {
  return record.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// One parsed line; its getters throw an Error naming file, line and key.
class Record {
 public:
  Record(const fs::path& path, int64_t line, std::string_view text)
      : where_(fmt::format("{} line {}", path.string(), line)),
        json_(Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false)) {
    if (!json_.is_object()) fail("{}: not a JSON object, as every record of this file is", where_);
  }

  bool has(const char* key) const { return json_.contains(key); }
  int64_t integer(const char* key) const {
    const Json& value = at(json_, key);
    if (!value.is_number_integer()) wrong(key, "an integer");
    return value.get<int64_t>();
  }
  double number(const char* key) const { return number(json_, key); }
  std::vector<double> numbers(const char* key) const { return numbers(json_, key); }
  std::string text(const char* key) const {
    const Json& value = at(json_, key);
    if (!value.is_string()) wrong(key, "a string");
    return value.get<std::string>();
  }
  std::vector<EvalDensity> densities(const char* key) const {
    std::vector<EvalDensity> result;
    const Json& list = at(json_, key);
    if (!list.is_array()) wrong(key, "a list of objects");
    for (const Json& entry : list) {
      if (!entry.is_object()) wrong(key, "a list of objects");
      result.push_back({.density = number(entry, "density"),
                        .recall = number(entry, "recall"),
                        .oracle = number(entry, "oracle"),
                        .layer_recall = numbers(entry, "layer_recall"),
                        .layer_oracle = numbers(entry, "layer_oracle")});
    }
    return result;
  }

 private:
  [[noreturn]] void wrong(const char* key, const char* expected) const {
    fail("{}: \"{}\" is not {}", where_, key, expected);
  }
  const Json& at(const Json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) fail("{}: no \"{}\"", where_, key);
    return *found;
  }
  double to_double(const Json& value, const char* key) const {
    if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
    if (!value.is_number()) wrong(key, "a number");
    return value.get<double>();
  }
  double number(const Json& object, const char* key) const { return to_double(at(object, key), key); }
  std::vector<double> numbers(const Json& object, const char* key) const {
    const Json& list = at(object, key);
    if (!list.is_array()) wrong(key, "a list of numbers");
    std::vector<double> result;
    for (const Json& value : list) result.push_back(to_double(value, key));
    return result;
  }

  std::string where_;
  Json json_;
};

std::string_view text_of(const MmapFile& file) {
  return {reinterpret_cast<const char*>(file.data().data()), file.data().size()};
}

/// Calls visit(line number from 1, line without its newline) for every line that was written to its end.
template <typename Visit>
void for_each_line(std::string_view text, Visit visit) {
  int64_t number = 0;
  for (size_t end; (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1)) {
    visit(++number, text.substr(0, end));
  }
}

void cut_back(const fs::path& path, int64_t last_step) {
  const MmapFile file(path);
  const std::string_view text = text_of(file);
  std::vector<std::string_view> kept;
  size_t kept_bytes = 0;
  for_each_line(text, [&](int64_t number, std::string_view line) {
    if (Record(path, number, line).integer("step") > last_step) return;
    kept.emplace_back(line.data(), line.size() + 1);
    kept_bytes += line.size() + 1;
  });
  if (kept_bytes == text.size()) return;
  AtomicFile replacement(path);
  for (const std::string_view line : kept) replacement.write(line);
  replacement.commit();
}

}  // namespace

MetricsLog MetricsLog::create(const fs::path& path) {
  return MetricsLog(AppendFile(path, AppendFile::Mode::kNew));
}

MetricsLog MetricsLog::resume(const fs::path& path, int64_t last_step) {
  std::error_code ignored;  // an unreadable file is reported by opening it
  if (fs::status(path, ignored).type() == fs::file_type::not_found) {
    log::warn("{} is missing: it starts anew after step {}", path.string(), last_step);
    return create(path);
  }
  cut_back(path, last_step);
  return MetricsLog(AppendFile(path, AppendFile::Mode::kExisting));
}

void MetricsLog::append(const StepMetrics& metrics) {
  std::string lines;
  for (const GateMetrics& gate : metrics.gates) {
    lines += to_line({{"step", metrics.step},
                      {"gate", gate.name},
                      {"loss", gate.loss},
                      {"layer_losses", gate.layer_losses},
                      {"lr", gate.learning_rate},
                      {"grad_norm", gate.grad_norm},
                      {"tokens", metrics.tokens},
                      {"tokens_per_second", metrics.tokens_per_second},
                      {"time", metrics.seconds}});
  }
  file_.append(lines);
}

void MetricsLog::append(const EvalMetrics& metrics) {
  Json recall = Json::array();
  for (const EvalDensity& density : metrics.densities) {
    recall.push_back({{"density", density.density},
                      {"recall", density.recall},
                      {"oracle", density.oracle},
                      {"layer_recall", density.layer_recall},
                      {"layer_oracle", density.layer_oracle}});
  }
  file_.append(to_line({{"step", metrics.step},
                        {"gate", metrics.gate},
                        {"eval_loss", metrics.loss},
                        {"eval_layer_losses", metrics.layer_losses},
                        {"recall", std::move(recall)}}));
}

MetricsHistory read_metrics(const fs::path& path) {
  const MmapFile file(path);
  MetricsHistory history;
  for_each_line(text_of(file), [&](int64_t number, std::string_view line) {
    const Record record(path, number, line);
    if (record.has("eval_loss")) {
      history.evals.push_back({.step = record.integer("step"),
                               .gate = record.text("gate"),
                               .loss = record.number("eval_loss"),
                               .layer_losses = record.numbers("eval_layer_losses"),
                               .densities = record.densities("recall")});
      return;
    }
    const int64_t step = record.integer("step");
    if (history.steps.empty() || history.steps.back().step != step) {
      history.steps.push_back({.step = step,
                               .tokens = record.integer("tokens"),
                               .tokens_per_second = record.number("tokens_per_second"),
                               .seconds = record.number("time")});
    }
    history.steps.back().gates.push_back({.name = record.text("gate"),
                                          .loss = record.number("loss"),
                                          .layer_losses = record.numbers("layer_losses"),
                                          .learning_rate = record.number("lr"),
                                          .grad_norm = record.number("grad_norm")});
  });
  return history;
}

}  // namespace seer
