#include "data/json_line.h"

#include <cstdint>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace seer {
namespace {

constexpr size_t kReasonBytes = 200;

/// Keeps the text or the messages of the parser's events and drops the rest, so that a hostile line costs no
/// more than its own length.
class LineHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  LineHandler(std::string_view text_field, Document& document)
      : text_field_(text_field), document_(document) {}

  bool null() override { return value("null", nullptr); }
  bool boolean(bool /*value*/) override { return value("a boolean", nullptr); }
  bool number_integer(int64_t /*value*/) override { return value("a number", nullptr); }
  bool number_unsigned(uint64_t /*value*/) override { return value("a number", nullptr); }
  bool number_float(double /*value*/, const std::string& /*text*/) override {
    return value("a number", nullptr);
  }
  bool string(std::string& text) override { return value("a string", &text); }
  bool binary(binary_t& /*value*/) override { return value("binary", nullptr); }

  bool start_object(size_t /*elements*/) override {
    if (!value("an object", nullptr)) return false;
    ++depth_;
    if (in_messages_ && depth_ == kMessageDepth) {
      document_.messages.emplace_back();
      has_role_ = has_content_ = false;
    }
    return true;
  }

  bool end_object() override {
    if (in_messages_ && depth_ == kMessageDepth && !(has_role_ && has_content_))
      return wrong(fmt::format("messages[{}] lacks `{}`", document_.messages.size() - 1,
                               has_role_ ? "content" : "role"));
    --depth_;
    return true;
  }

  bool start_array(size_t /*elements*/) override {
    if (!value("an array", nullptr)) return false;
    ++depth_;
    if (depth_ == 2 && key_ == Key::kMessages) {
      in_messages_ = has_messages_ = true;
      document_.messages.clear();
    }
    return true;
  }

  bool end_array() override {
    if (depth_ == 2) in_messages_ = false;
    --depth_;
    return true;
  }

  bool key(std::string& name) override {
    if (depth_ == 1)
      key_ = name == text_field_ ? Key::kText : name == "messages" ? Key::kMessages : Key::kOther;
    else if (in_messages_ && depth_ == kMessageDepth)
      key_ = name == "role" ? Key::kRole : name == "content" ? Key::kContent : Key::kOther;
    return true;
  }

  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& error) override {
    std::string reason = error.what();
    if (const size_t end = reason.find("; last read"); end != std::string::npos) reason.resize(end);
    for (const std::string_view prefix : {"] ", ": "}) {
      if (const size_t at = reason.find(prefix); at != std::string::npos) reason.erase(0, at + 2);
    }
    if (reason.size() > kReasonBytes) reason.resize(kReasonBytes);
    return wrong(fmt::format("not valid JSON at byte {}: {}", position, reason));
  }

  std::optional<std::string> finish() {
    if (problem_) return problem_;
    if (has_text_) {
      document_.messages.clear();
    } else if (!has_messages_) {
      return fmt::format(
          "neither `{}` nor `messages` in the object (data.text_field or --text-field names another)",
          text_field_);
    } else if (document_.messages.empty()) {
      return "`messages` is empty";
    }
    return std::nullopt;
  }

 private:
  enum class Key { kOther, kText, kMessages, kRole, kContent };
  static constexpr int64_t kMessageDepth = 3;  // {"messages": [{

  bool wrong(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  /// Any value that begins: a scalar, or a container before its depth is counted.
  bool value(std::string_view type, std::string* text) {
    if (depth_ == 0 && type != "an object")
      return wrong(fmt::format("{} where an object was expected", type));
    if (depth_ == 1 && key_ == Key::kText) {
      if (text == nullptr) return wrong(fmt::format("`{}` is {}, not a string", text_field_, type));
      document_.text = std::move(*text);
      has_text_ = true;
    }
    if (depth_ == 1 && key_ == Key::kMessages && type != "an array")
      return wrong(fmt::format("`messages` is {}, not an array", type));
    if (in_messages_ && depth_ == 2 && type != "an object")
      return wrong(fmt::format("messages[{}] is {}, not an object", document_.messages.size(), type));
    if (in_messages_ && depth_ == kMessageDepth && (key_ == Key::kRole || key_ == Key::kContent)) {
      const bool role = key_ == Key::kRole;
      if (text == nullptr)
        return wrong(fmt::format("messages[{}].{} is {}, not a string", document_.messages.size() - 1,
                                 role ? "role" : "content", type));
      ChatMessage& message = document_.messages.back();
      (role ? message.role : message.content) = std::move(*text);
      (role ? has_role_ : has_content_) = true;
    }
    return true;
  }

  std::string_view text_field_;
  Document& document_;
  int64_t depth_ = 0;
  Key key_ = Key::kOther;  // the key whose value is next, at depth 1 or at that of a message
  bool in_messages_ = false;
  bool has_text_ = false;
  bool has_messages_ = false;
  bool has_role_ = false;
  bool has_content_ = false;
  std::optional<std::string> problem_;
};

}  // namespace

std::optional<std::string> parse_json_line(std::string_view line, std::string_view text_field,
                                           Document& document) {
  document.text.clear();
  document.messages.clear();
  LineHandler handler(text_field, document);
  nlohmann::json::sax_parse(line, &handler);
  return handler.finish();
}

}  // namespace seer
