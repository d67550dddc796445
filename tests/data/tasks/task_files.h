// What the tests of data/tasks share: the nano model's tokenizer, held-out books, small question files.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/tasks/ruler.h"
#include "tests/support/fixtures.h"

namespace seer::test {

/// The tokenizer of configs/quickstart/seer-nano: 4,096 tokens, Llama-3's special ones.
const Tokenizer& nano_tokenizer();

/// Books that no model of ours was trained on, .jsonl.zst.
std::filesystem::path heldout_books();

/// SQuAD- and HotpotQA-like files of made-up documents, written into `folder`. Document i of article a says
/// "Fact a.i", which is the answer to its question; every third question is marked impossible.
std::filesystem::path write_squad(const TempDir& folder);
std::filesystem::path write_hotpotqa(const TempDir& folder);

/// Options of a task with every file named.
RulerOptions ruler_options(const TempDir& folder, const std::string& task, int64_t length);

void write_text(const std::filesystem::path& path, const std::string& text);

/// The message of the Error that `body` throws; "" if it throws none.
std::string error_of(const std::function<void()>& body);

/// The lines of a text.
std::vector<std::string> lines_of(const std::string& text);

/// Every match of a regular expression, each with its groups (0 is the whole match).
std::vector<std::vector<std::string>> find_all(const std::string& text, const std::string& pattern);

}  // namespace seer::test
