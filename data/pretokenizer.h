// Cuts text into the pieces (pre-tokens) inside which BPE merges: one or more regexes, each splitting what
// the one before left, as Hugging Face's Split with behaviour Isolated does.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace seer {

/// The regex of GPT-2, which ByteLevel applies when its use_regex is true.
extern const char* const kGpt2SplitRegex;
/// The regex that vocab.json + merges.txt of Qwen2 imply.
extern const char* const kQwen2SplitRegex;

/// Immutable; any number of threads may scan with it at once. Regexes are in Oniguruma's syntax as
/// tokenizer.json holds them, and matched by PCRE2 with Unicode classes. \s and \S mean Unicode's White_Space
/// (PCRE2's own also holds U+180E).
class PreTokenizer {
 public:
  /// Throws Error (which names the regex and starts with `where`) if a regex is invalid, can match the empty
  /// string, or uses syntax that the two engines understand differently.
  PreTokenizer(const std::vector<std::string>& regexes, const std::string& where);
  ~PreTokenizer();
  PreTokenizer(const PreTokenizer&) = delete;
  PreTokenizer& operator=(const PreTokenizer&) = delete;

  /// The pieces of texts, in order and without gaps. Used by one thread; outlived by its PreTokenizer.
  class Scanner {
   public:
    explicit Scanner(const PreTokenizer& pre_tokenizer);
    ~Scanner();
    Scanner(const Scanner&) = delete;
    Scanner& operator=(const Scanner&) = delete;

    /// Starts on `text`, which must be valid UTF-8 and outlive the scan.
    void start(std::string_view text);
    /// Stores the next piece, a non-empty view into the text; false at its end. Throws Error if a regex
    /// backtracks without end (PCRE2's match limit, raised in proportion to the text).
    bool next(std::string_view& piece);

   private:
    struct Level;
    bool next_at(size_t level, std::string_view& piece);
    std::vector<Level> levels_;
    std::string_view whole_;
  };

 private:
  struct Regex;
  std::vector<std::unique_ptr<const Regex>> regexes_;
};

/// `regex` rewritten from Oniguruma's meaning to PCRE2's: \s and \S become explicit classes. Throws Error
/// naming the construct if the engines differ on it (\w, \b, \h, ^, $, nested classes and their like).
std::string translate_regex(std::string_view regex, const std::string& where);

}  // namespace seer
