// Arbitrary bytes as a file of evaluation samples. The first byte says whose: s SQuAD, h HotpotQA, r RULER's scripts, and of
// LongBench q questions, c classes, n numbers, k code. Behind the last NUL byte stands an answer to score.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include "data/tasks/longbench.h"
#include "data/tasks/question_answering.h"
#include "data/tasks/ruler_file.h"
#include "data/tasks/scoring.h"
#include "data/tokenizer.h"
#include "src/core/error.h"

namespace {

namespace fs = std::filesystem;

void require(bool condition) {
  if (!condition) std::abort();
}

/// The readers take paths: one folder of this process, removed with it.
class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("seer_fuzz_tasks_" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  fs::path write(const std::string& name, std::string_view bytes) const {
    const fs::path file = path_ / name;
    std::ofstream(file, std::ios::binary | std::ios::trunc).write(bytes.data(), std::ssize(bytes));
    return file;
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// Every byte is a token.
const seer::Tokenizer& byte_tokenizer() {
  static const seer::Tokenizer tokenizer = [] {
    std::string vocab;
    int id = 0;
    const auto add = [&](int character) {
      std::array<char, 16> text{};
      std::snprintf(text.data(), text.size(), "\\u%04x", static_cast<unsigned>(character));
      vocab += (id == 0 ? "\"" : ",\"") + std::string(text.data()) + "\":" + std::to_string(id);
      ++id;
    };
    // GPT-2's byte alphabet: printable ones stand for themselves, the rest for U+0100 and on.
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      add(printable ? byte : next++);
    }
    return seer::Tokenizer::from_json(
        R"({"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},)"
        R"("model":{"type":"BPE","merges":[],"vocab":{)" +
            vocab + "}}}",
        "bytes");
  }();
  return tokenizer;
}

void check(const std::vector<seer::TaskSample>& samples, std::string_view answer) {
  for (const seer::TaskSample& sample : samples) {
    require(!sample.outputs.empty() && sample.tokens_to_generate > 0);
    const double worth = seer::score(sample, answer);
    require(worth >= 0 && worth <= 1);
  }
}

void check(const seer::QaSet& set) {
  const auto known = [&](int64_t document) {
    return document >= 0 && document < static_cast<int64_t>(set.documents.size());
  };
  for (const seer::QaSet::Question& question : set.questions) {
    require(!question.answers.empty() && !question.documents.empty());
    for (const int64_t document : question.documents) require(known(document));
    for (const int64_t document : question.related) require(known(document));
  }
}

void check_longbench(const Folder& folder, const std::string& set, std::string_view bytes,
                     std::string_view answer) {
  folder.write(set + "_e.jsonl", bytes);
  check(seer::read_longbench({.folder = folder.path(), .max_prompt_tokens = 200}, set, byte_tokenizer()),
        answer);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  if (size == 0) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string_view answer = "42";
  if (const size_t end = bytes.rfind('\0'); end != std::string_view::npos) {
    answer = bytes.substr(end + 1);
    bytes = bytes.substr(0, end);
  }
  try {
    switch (data[0]) {
      case 's':
        check(seer::read_squad(folder.write("squad.json", bytes)));
        break;
      case 'h':
        check(seer::read_hotpotqa(folder.write("hotpot.json", bytes)));
        break;
      case 'r':
        check(seer::read_ruler_file(folder.write("vt.jsonl", bytes), "vt"), answer);
        check(seer::read_ruler_file(folder.path() / "vt.jsonl", "qa_1"), answer);
        break;
      case 'q':
        check_longbench(folder, "qasper", bytes, answer);
        break;
      case 'c':
        check_longbench(folder, "trec", bytes, answer);
        break;
      case 'n':
        check_longbench(folder, "passage_count", bytes, answer);
        break;
      case 'k':
        check_longbench(folder, "lcc", bytes, answer);
        break;
      default:
        break;
    }
  } catch (const seer::Error&) {
  }
  return 0;
}
