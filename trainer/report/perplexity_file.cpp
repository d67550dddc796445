#include "trainer/report/perplexity_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/json_file.h"

namespace seer::report {
namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, 4> kRules = {"nz_ratio", "threshold", "token_budget", "top_p"};

/// One object of the file; its getters throw an Error naming file and key ("lengths[0].rows[2].density").
class Object {
 public:
  Object(const Json& json, const std::string& file, std::string path)
      : json_(json), file_(file), path_(std::move(path)) {
    if (!json.is_object()) fail("{}: {} is not an object", file_, path_.empty() ? "the whole" : path_);
  }

  const Json& at(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) fail("{}: no \"{}\"", file_, name(key));
    return *found;
  }
  std::string text(const char* key) const {
    const Json& value = at(key);
    if (!value.is_string()) wrong(key, "a text");
    return value.get<std::string>();
  }
  /// Of what older files do not have.
  std::string text_if_there(const char* key) const { return json_.contains(key) ? text(key) : ""; }
  /// Of what the table can do without: null reads as empty.
  std::string text_or_null(const char* key) const { return at(key).is_null() ? "" : text(key); }
  int64_t positive(const char* key) const {
    const Json& value = at(key);
    if (!value.is_number_integer() || value < 1) wrong(key, "a positive integer");
    return value.get<int64_t>();
  }
  double number(const char* key) const {
    const Json& value = at(key);
    if (!value.is_number()) wrong(key, "a number");
    return value.get<double>();
  }
  /// null is NaN; anything else must lie in [low, high].
  double measured(const char* key, double low, double high) const {
    if (at(key).is_null()) return std::numeric_limits<double>::quiet_NaN();
    const double value = number(key);
    if (!(value >= low && value <= high)) {
      wrong(key, fmt::format("null or a number from {:g} to {:g}", low, high));
    }
    return value;
  }
  /// null is NaN.
  double finite_or_null(const char* key) const {
    return measured(key, std::numeric_limits<double>::lowest(), std::numeric_limits<double>::max());
  }
  double share(const char* key) const { return measured(key, 0, 1 + 1e-6); }
  double positive_measured(const char* key) const {
    return measured(key, std::numeric_limits<double>::min(), std::numeric_limits<double>::max());
  }
  /// [layers][heads] of shares; null is empty.
  std::vector<std::vector<double>> by_head(const char* key) const {
    const Json& layers = at(key);
    std::vector<std::vector<double>> result;
    if (layers.is_null()) return result;
    constexpr const char* kExpected = "null or a list (layers) of lists (heads) of numbers from 0 to 1";
    if (!layers.is_array() || layers.empty()) wrong(key, kExpected);
    for (const Json& heads : layers) {
      if (!heads.is_array() || heads.empty()) wrong(key, kExpected);
      std::vector<double>& row = result.emplace_back();
      for (const Json& value : heads) {
        if (!value.is_number() || !(value >= 0.0 && value <= 1 + 1e-6)) wrong(key, kExpected);
        row.push_back(value.get<double>());
      }
      if (row.size() != result.front().size()) {
        wrong(key, "of one length in every layer: all have the same number of heads");
      }
    }
    return result;
  }
  std::vector<Object> objects(const char* key) const {
    const Json& list = at(key);
    if (!list.is_array()) wrong(key, "a list");
    std::vector<Object> result;
    for (size_t i = 0; i < list.size(); ++i) {
      result.emplace_back(list[i], file_, fmt::format("{}[{}]", name(key), i));
    }
    return result;
  }
  Object object(const char* key) const { return {at(key), file_, name(key)}; }

  [[noreturn]] void wrong(const char* key, std::string_view expected) const {
    fail("{}: \"{}\" is not {}", file_, name(key), expected);
  }

 private:
  std::string name(const char* key) const { return path_.empty() ? key : fmt::format("{}.{}", path_, key); }

  const Json& json_;
  const std::string& file_;
  std::string path_;
};

PerplexityRow read_row(const Object& json) {
  PerplexityRow row{.method = json.text("method"),
                    .rule = json.text("rule"),
                    .value = json.finite_or_null("value"),
                    .label = json.text_if_there("label"),
                    .density = json.share("density"),
                    .perplexity = json.positive_measured("perplexity"),
                    .change = json.measured("change", -1, std::numeric_limits<double>::max()),
                    .recall = json.share("recall"),
                    .prefill_seconds = json.positive_measured("prefill_seconds"),
                    .speedup = json.positive_measured("speedup"),
                    .density_by_head = json.by_head("density_by_head"),
                    .recall_by_head = json.by_head("recall_by_head")};
  if (row.method.empty()) json.wrong("method", "a name");
  if (std::find(kRules.begin(), kRules.end(), row.rule) == kRules.end()) {
    json.wrong("rule", fmt::format("one of {}", fmt::join(kRules, ", ")));
  }
  if (row.label.empty())
    row.label = std::isnan(row.value) ? row.rule + " by head" : fmt::format("{} {}", row.rule, row.value);
  return row;
}

PerplexityLength read_length(const Object& json) {
  const Object dense = json.object("dense");
  PerplexityLength length{.length = json.positive("length"),
                          .windows = json.positive("windows"),
                          .dense_perplexity = dense.positive_measured("perplexity"),
                          .dense_prefill_seconds = dense.positive_measured("prefill_seconds")};
  for (const Object& row : json.objects("rows")) length.rows.push_back(read_row(row));
  return length;
}

}  // namespace

Perplexity read_perplexity(const std::filesystem::path& path) {
  const std::string file = path.string();
  const Json json = read_json_file(path);
  const Object root(json, file, "");
  if (root.text("kind") != "perplexity") root.wrong("kind", "\"perplexity\"");
  if (root.at("version") != 1) root.wrong("version", "1, the only one this build reads");
  Perplexity result{.source = file,
                    .model = root.text("model"),
                    .gates = root.text_or_null("gates"),
                    .data = root.text("data"),
                    .device = root.text("device"),
                    .gate_type = root.text_or_null("gate_type"),
                    .gate_form = root.text_if_there("gate_form"),
                    .block_size = root.positive("block_size")};
  for (const Object& length : root.objects("lengths")) result.lengths.push_back(read_length(length));
  if (result.lengths.empty()) root.wrong("lengths", "a list with at least one entry");
  return result;
}

}  // namespace seer::report
