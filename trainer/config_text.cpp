#include "trainer/config_text.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/json_file.h"
#include "trainer/config_tree.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxDepth = 32;  // recursive readers of the document follow

/// Characters of the text for nlohmann's lexer, which tells nobody where it is: this counts the lines for it.
class LineCounter {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  LineCounter(const char* position, int64_t* line) : position_(position), line_(line) {}

  reference operator*() const { return *position_; }
  LineCounter& operator++() {
    if (*position_ == '\n') ++*line_;
    ++position_;
    return *this;
  }
  bool operator==(const LineCounter& other) const { return position_ == other.position_; }
  bool operator!=(const LineCounter& other) const { return position_ != other.position_; }

 private:
  const char* position_;
  int64_t* line_;
};

/// Builds the document from the parser's events.
class DocumentBuilder final : public nlohmann::json_sax<Json> {
 public:
  DocumentBuilder(const std::string& text, const std::string& where, const int64_t& line,
                  ConfigOrigins* origins)
      : text_(text), where_(where), line_(line), origins_(origins) {}

  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { fail_usage("{}: binary data is no config", where_); }
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    Level& level = levels_.back();
    const std::string path = join_config_path(level.path, name);
    if (!level.keys.insert(name).second) {
      fail_usage("{}:{}: {}: the key is given twice in one object; keep one of them", where_, line_, path);
    }
    if (origins_ != nullptr) origins_->set(path, fmt::format("{}:{}", where_, line_));
    level.key = name;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    std::string why(json_reason(error));  // "parse error at line 1, column 2: why"
    if (why.starts_with("parse error at")) {
      if (const size_t colon = why.find(": "); colon != std::string::npos) why.erase(0, colon + 2);
    }
    int64_t line = 1, column = 0;
    bool new_line = false;
    for (size_t i = 0; i < std::min(position, text_.size()); ++i) {
      if (new_line) ++line, column = 0;
      new_line = text_[i] == '\n';
      ++column;
    }
    fail_usage("{}:{}:{}: not valid JSON: {}", where_, line, column, why);
  }

 private:
  struct Level {
    Json* container;
    std::string path;
    std::string key;             // of the value that follows, in an object
    std::set<std::string> keys;  // already given in this object
  };

  std::string path_of_next() const {
    if (levels_.empty()) return "";
    const Level& level = levels_.back();
    return level.container->is_array() ? fmt::format("{}[{}]", level.path, level.container->size())
                                       : join_config_path(level.path, level.key);
  }

  // A pointer to a container stays good while it is open: its parent only grows again after it is closed.
  Json* place(Json value) {
    if (levels_.empty()) return &(root_ = std::move(value));
    Json& container = *levels_.back().container;
    if (container.is_array()) return &container.emplace_back(std::move(value));
    return &(container[levels_.back().key] = std::move(value));
  }

  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (levels_.size() == kMaxDepth) {
      fail_usage("{}:{}: nested deeper than {} objects and lists", where_, line_, kMaxDepth);
    }
    std::string path = path_of_next();
    const bool in_list = !levels_.empty() && levels_.back().container->is_array();
    if (in_list && origins_ != nullptr) origins_->set(path, fmt::format("{}:{}", where_, line_));
    Json* opened = place(std::move(container));
    levels_.push_back({opened, std::move(path), {}, {}});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  const std::string& text_;
  const std::string& where_;
  const int64_t& line_;
  ConfigOrigins* origins_;
  Json root_;
  std::vector<Level> levels_;
};

bool is_below(const std::string& path, const std::string& ancestor) {
  return path.size() > ancestor.size() && path.starts_with(ancestor) &&
         (path[ancestor.size()] == '.' || path[ancestor.size()] == '[');
}

}  // namespace

void ConfigOrigins::set(const std::string& path, const std::string& place) {
  for (auto entry = places_.upper_bound(path); entry != places_.end() && entry->first.starts_with(path);) {
    entry = is_below(entry->first, path) ? places_.erase(entry) : std::next(entry);
  }
  places_[path] = place;
}

const std::string& ConfigOrigins::of(const std::string& path) const {
  std::string ancestor = path;
  while (!ancestor.empty()) {
    if (const auto found = places_.find(ancestor); found != places_.end()) return found->second;
    const size_t cut = ancestor.find_last_of(".[");
    ancestor.resize(cut == std::string::npos ? 0 : cut);
  }
  return where_;
}

Json parse_config_text(const std::string& text, const std::string& where, ConfigOrigins* origins) {
  // nlohmann's lexer takes a NUL byte for the end of the text and would ignore what follows.
  if (const size_t nul = text.find('\0'); nul != std::string::npos) {
    fail_usage("{}:{}: not valid JSON: a NUL byte", where,
               1 + std::count(text.begin(), text.begin() + nul, '\n'));
  }
  int64_t line = 1;
  DocumentBuilder builder(text, where, line, origins);
  Json::sax_parse(LineCounter(text.data(), &line), LineCounter(text.data() + text.size(), &line), &builder,
                  Json::input_format_t::json, /*strict=*/true, /*ignore_comments=*/true);
  return builder.take();
}

std::string quote_json(const Json& value) {
  constexpr size_t kMaxLength = 80;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (text.size() > kMaxLength) text = text.substr(0, kMaxLength - 3) + "...";
  return text;
}

}  // namespace seer
