// Running text in which needles are hidden, in place of RULER's essays.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace seer {

/// Free book text, cut into words and sentences. Immutable.
///
/// RULER hides its needles in Paul Graham's essays, which may not be passed on. Any text that the model reads
/// with ease does in their place; figures then compare with each other, and with published ones roughly.
class Haystack {
 public:
  /// `text` is any UTF-8; white space between words becomes one space. Throws Error, naming `where`, if there
  /// is no word in it.
  Haystack(std::string_view text, const std::string& where);

  /// Reads a .txt or .jsonl file (field `text`; also .gz or .zst), a folder of such or a glob: documents in
  /// order, until `most_words` are read. Throws Error naming the file, the line and what is wrong.
  static Haystack load(const std::filesystem::path& path, int64_t most_words);

  int64_t num_words() const { return static_cast<int64_t>(word_ends_.size()); }

  /// The sentences of the first `num_words` words, which start over where the text ends. The views live as
  /// long as the haystack. A sentence ends at . ? or ! (and quotes or brackets behind it) before a word that
  /// is not in lower case, but not at "Mr." and its like: RULER's splitter (NLTK's punkt) nearly.
  std::vector<std::string_view> sentences(int64_t num_words) const;

  /// What to write into results: "text of books.jsonl in place of RULER's essays".
  const std::string& description() const { return description_; }

 private:
  std::string text_;                    // words with one space between
  std::vector<int64_t> word_ends_;      // byte behind each word
  std::vector<int64_t> sentence_ends_;  // number of words up to the end of each sentence; the last is all
  std::string description_;
};

}  // namespace seer
