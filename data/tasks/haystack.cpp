#include "data/tasks/haystack.h"

#include <algorithm>
#include <array>

#include "data/file_list.h"
#include "data/json_line.h"
#include "data/record.h"
#include "data/tasks/text.h"
#include "src/core/error.h"

namespace seer {
namespace {

constexpr int64_t kMostDocumentBytes = int64_t{1} << 30;
constexpr size_t kMostAbbreviation = 6;
constexpr std::array<std::string_view, 24> kAbbreviations = {
    "mr",     "mrs", "ms", "dr", "st",  "prof", "rev", "capt", "col", "gen", "lieut", "hon",
    "messrs", "sr",  "jr", "vs", "e.g", "i.e",  "viz", "vol",  "fig", "cf",  "mt",    "esq"};

bool is_abbreviation(std::string_view word) {
  const size_t begin = std::min(word.find_first_not_of("\"'([_"), word.size());
  std::string stem(word.substr(begin, word.size() - begin - 1));
  if (stem.size() > kMostAbbreviation) return false;
  for (char& c : stem)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  const bool initial = stem.size() == 1 && stem[0] >= 'a' && stem[0] <= 'z' && stem != "i";
  return initial || std::find(kAbbreviations.begin(), kAbbreviations.end(), stem) != kAbbreviations.end();
}

/// Without the quotes and brackets that may stand behind a full stop.
std::string_view without_closers(std::string_view word) {
  constexpr std::array<std::string_view, 7> kClosers = {"\"", "'", ")", "]", "_", "\u201d", "\u2019"};
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view closer : kClosers) {
      if (!word.ends_with(closer)) continue;
      word.remove_suffix(closer.size());
      again = true;
    }
  }
  return word;
}

bool ends_sentence(std::string_view word, std::string_view next) {
  const std::string_view bare = without_closers(word);
  if (bare.empty() || (next[0] >= 'a' && next[0] <= 'z')) return false;
  if (bare.back() == '.') return !is_abbreviation(bare);
  return bare.back() == '?' || bare.back() == '!';
}

void append_document(const Record& record, const DataFile& file, std::string& text) {
  const std::string where = fmt::format("{}:{}", file.path.string(), record.line);
  switch (record.kind) {
    case Record::Kind::kText:
      text += record.bytes;
      break;
    case Record::Kind::kJsonLine: {
      Document document;
      if (const auto problem = parse_json_line(record.bytes, "text", document))
        fail("{}: {} (a haystack is running text: the field `text` of each line)", where, *problem);
      if (!document.messages.empty())
        fail("{}: a conversation; a haystack is running text: the field `text` of each line", where);
      text += document.text;
      break;
    }
    case Record::Kind::kTooLong:
      fail("{}: longer than {} bytes; split it", where, kMostDocumentBytes);
    case Record::Kind::kIds:
      fail("{}: token ids; a haystack is text: .txt or .jsonl", file.path.string());
  }
  text += '\n';
}

}  // namespace

Haystack::Haystack(std::string_view text, const std::string& where)
    : description_(fmt::format("text of {} in place of RULER's essays", where)) {
  const std::vector<std::string_view> words = split_white_space(text);
  if (words.empty()) fail("{}: no word in it; a haystack is running text", where);
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text_ += ' ';
    text_ += words[i];
    word_ends_.push_back(static_cast<int64_t>(text_.size()));
    if (i + 1 == words.size() || ends_sentence(words[i], words[i + 1]))
      sentence_ends_.push_back(static_cast<int64_t>(i + 1));
  }
}

Haystack Haystack::load(const std::filesystem::path& path, int64_t most_words) {
  std::string text;
  int64_t words = 0;
  for (const DataFile& file : expand_inputs({path.string()})) {
    const auto records = open_records(file, kMostDocumentBytes);
    for (Record record; words < most_words && records->next(record);) {
      const size_t before = text.size();
      append_document(record, file, text);
      words += static_cast<int64_t>(split_white_space(std::string_view(text).substr(before)).size());
    }
  }
  return {valid_text(text), path.filename().string()};
}

std::vector<std::string_view> Haystack::sentences(int64_t num_words) const {
  std::vector<std::string_view> sentences;
  while (num_words > 0) {
    int64_t begin = 0;
    for (const int64_t end : sentence_ends_) {
      const int64_t last = std::min(end, num_words);
      if (last <= begin) break;
      const int64_t first_byte = begin == 0 ? 0 : word_ends_[static_cast<size_t>(begin - 1)] + 1;
      const int64_t end_byte = word_ends_[static_cast<size_t>(last - 1)];
      sentences.push_back(std::string_view(text_).substr(static_cast<size_t>(first_byte),
                                                         static_cast<size_t>(end_byte - first_byte)));
      begin = last;
    }
    num_words -= begin;
  }
  return sentences;
}

}  // namespace seer
