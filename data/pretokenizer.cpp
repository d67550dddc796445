#include "data/pretokenizer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "src/core/error.h"

namespace seer {

const char* const kGpt2SplitRegex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kQwen2SplitRegex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

// Unicode's White_Space, for use inside a class. Spelled out because PCRE2 looks \p{White_Space} up per
// character, but compiles a list into a bitmap. It ends with a range, after which a hyphen is a literal.
constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{2000}-\x{200a})";

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct MatchDataDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct MatchContextDeleter {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

std::string pcre2_message(int error) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(error, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

PCRE2_SPTR bytes_of(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

}  // namespace

struct PreTokenizer::Regex {
  std::string source;
  std::unique_ptr<pcre2_code, CodeDeleter> code;
};

struct PreTokenizer::Scanner::Level {
  const Regex* regex;
  std::unique_ptr<pcre2_match_data, MatchDataDeleter> match;
  std::unique_ptr<pcre2_match_context, MatchContextDeleter> context;
  std::string_view text;   // the piece of the level above
  size_t at = 0;           // text[0, at) is cut
  size_t match_begin = 0;  // the match that follows `at`, if match_end > at
  size_t match_end = 0;

  explicit Level(const Regex& of)
      : regex(&of), match(pcre2_match_data_create(1, nullptr)), context(pcre2_match_context_create(nullptr)) {
    SEER_CHECK(match && context, "PCRE2 cannot allocate match data");
  }

  // Ordinary patterns need a few steps a byte even in long runs of one class; catastrophic ones are cut off.
  void start(std::string_view piece) {
    constexpr uint64_t kSteps = 1'000'000;
    constexpr uint64_t kStepsPerByte = 100;
    constexpr uint64_t kMost = 0xffff'ffff;
    text = piece;
    at = match_begin = match_end = 0;
    const uint64_t limit = std::min(kMost, kSteps + kStepsPerByte * piece.size());
    pcre2_set_match_limit(context.get(), static_cast<uint32_t>(limit));
    pcre2_set_depth_limit(context.get(), static_cast<uint32_t>(limit));
    pcre2_set_heap_limit(context.get(), static_cast<uint32_t>(limit / 16));  // KiB
  }

  void find() {
    const auto* code = regex->code.get();
    const auto search = [&](uint32_t options) {
      return pcre2_match(code, bytes_of(text), text.size(), at, PCRE2_NO_UTF_CHECK | options, match.get(),
                         context.get());
    };
    int found = search(0);
    // JIT code has a fixed stack; the interpreter grows its own on the heap.
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = search(PCRE2_NO_JIT);
    if (found == PCRE2_ERROR_NOMATCH) {
      match_begin = match_end = text.size();
      return;
    }
    if (found < 0)
      fail("the tokenizer's regex {} fails on a text of {} bytes at byte {}: {}", regex->source, text.size(),
           at, pcre2_message(found));
    const size_t* range = pcre2_get_ovector_pointer(match.get());
    match_begin = range[0];
    match_end = range[1];
    if (match_begin < at || match_end <= match_begin)
      fail("the tokenizer's regex {} matches an empty or earlier range at byte {}", regex->source, at);
  }

  std::string_view cut_until(size_t end) {
    const auto piece = text.substr(at, end - at);
    at = end;
    return piece;
  }
};

PreTokenizer::PreTokenizer(const std::vector<std::string>& regexes, const std::string& where) {
  for (const std::string& source : regexes) {
    const std::string translated = translate_regex(source, where);
    int error = 0;
    size_t offset = 0;
    auto compiled = std::make_unique<Regex>();
    compiled->source = source;
    compiled->code.reset(pcre2_compile(bytes_of(translated), translated.size(), PCRE2_UTF | PCRE2_UCP, &error,
                                       &offset, nullptr));
    if (!compiled->code)
      fail("{}: the regex {} is invalid: {} (at {} of {})", where, source, pcre2_message(error), offset,
           translated);
    uint32_t matches_empty = 0;
    pcre2_pattern_info(compiled->code.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty != 0) fail("{}: the regex {} can match the empty string", where, source);
    // Where the system forbids generated code this fails, and pcre2_match interprets the pattern.
    pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE);
    regexes_.push_back(std::move(compiled));
  }
}

PreTokenizer::~PreTokenizer() = default;

PreTokenizer::Scanner::Scanner(const PreTokenizer& pre_tokenizer) {
  for (const auto& regex : pre_tokenizer.regexes_) levels_.emplace_back(*regex);
}

PreTokenizer::Scanner::~Scanner() = default;

void PreTokenizer::Scanner::start(std::string_view text) {
  whole_ = text;
  for (Level& level : levels_) level.start({});
}

bool PreTokenizer::Scanner::next(std::string_view& piece) {
  return next_at(levels_.size(), piece);
}

// Level 0 hands out the whole text once; level n cuts what level n - 1 hands out by regex n - 1.
bool PreTokenizer::Scanner::next_at(size_t level, std::string_view& piece) {
  if (level == 0) {
    piece = std::exchange(whole_, {});
    return !piece.empty();
  }
  Level& state = levels_[level - 1];
  if (state.at == state.text.size()) {
    std::string_view longer;
    if (!next_at(level - 1, longer)) return false;
    state.start(longer);
  }
  if (state.match_end <= state.at) state.find();
  piece = state.cut_until(state.at < state.match_begin ? state.match_begin : state.match_end);
  return true;
}

std::string translate_regex(std::string_view regex, const std::string& where) {
  constexpr std::array<std::string_view, 8> kGroups = {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:", "?-i:"};
  const auto refuse = [&](std::string_view construct) {
    fail("{}: the regex {} uses {}, which is not supported (PCRE2 and Oniguruma differ on it)", where, regex,
         construct);
  };
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < regex.size(); ++i) {
    const std::string_view rest = regex.substr(i);
    const std::string_view two = rest.substr(0, 2);
    if (rest[0] == '\\' && two.size() == 2) {
      ++i;
      if (two == "\\s") {
        out += in_class ? std::string(kWhiteSpace) : fmt::format("[{}]", kWhiteSpace);
      } else if (two == "\\S") {
        out += in_class ? R"(\P{White_Space})" : fmt::format("[^{}]", kWhiteSpace);
      } else if (two == "\\p" || two == "\\P" || two == "\\x") {
        const size_t close = rest.find('}');
        const bool braced = rest.substr(2, 1) == "{" && close != std::string_view::npos;
        out += rest.substr(0, braced ? close + 1 : 2);
        if (braced) i += close - 1;
      } else if (std::isalnum(static_cast<unsigned char>(two[1])) != 0 &&
                 std::string_view("nrtfaedD").find(two[1]) == std::string_view::npos) {
        refuse(two);
      } else {
        out += two;
      }
    } else if (in_class) {
      if (rest[0] == '[') refuse("a class inside a class");
      if (two == "&&") refuse("a class intersection (&&)");
      in_class = rest[0] != ']';
      out += rest[0];
    } else if (rest[0] == '[') {
      in_class = true;
      const std::string_view opening = two == "[^" ? two : rest.substr(0, 1);
      i += opening.size() - 1;
      out += opening;
      if (rest.substr(opening.size(), 1) == "]") refuse("a class that starts with ]");
    } else {
      if (rest[0] == '^' || rest[0] == '$' || two == "(*" || two == "{," || two == "}+") refuse(two);
      const auto opens = [&](std::string_view group) { return rest.substr(1).starts_with(group); };
      if (two == "(?" && std::none_of(kGroups.begin(), kGroups.end(), opens)) refuse(rest.substr(0, 3));
      out += rest[0];
    }
  }
  return out;
}

}  // namespace seer
