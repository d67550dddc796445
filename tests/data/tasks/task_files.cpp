#include "tests/data/tasks/task_files.h"

#include <fstream>
#include <regex>
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"

namespace seer::test {
namespace {

using Json = nlohmann::json;

constexpr int kArticles = 6;
constexpr int kParagraphs = 5;

std::string paragraph(int article, int number) {
  std::string text;
  for (int i = 0; i < 6; ++i)
    text += fmt::format("Sentence {} about subject {} of article {}. ", i, number, article);
  return text + fmt::format("It holds Fact {}.{} for sure.", article, number);
}

}  // namespace

const Tokenizer& nano_tokenizer() {
  static const Tokenizer tokenizer(source_dir() / "configs/quickstart/seer-nano");
  return tokenizer;
}

std::filesystem::path heldout_books() {
  return source_dir() / "configs/quickstart/heldout.jsonl.zst";
}

std::filesystem::path write_squad(const TempDir& folder) {
  Json data = Json::array();
  int questions = 0;
  for (int a = 0; a < kArticles; ++a) {
    Json paragraphs = Json::array();
    for (int p = 0; p < kParagraphs; ++p)
      paragraphs.push_back(
          {{"context", paragraph(a, p)},
           {"qas",
            {{{"question", fmt::format("Which fact does subject {} of article {} hold?", p, a)},
              {"is_impossible", ++questions % 3 == 0},
              {"answers",
               {{{"text", fmt::format("Fact {}.{}", a, p)}}, {{"text", fmt::format("{}.{}", a, p)}}}}}}}});
    data.push_back({{"title", fmt::format("Article {}", a)}, {"paragraphs", paragraphs}});
  }
  write_text(folder / "squad.json", Json{{"version", "v2.0"}, {"data", data}}.dump());
  return folder / "squad.json";
}

std::filesystem::path write_hotpotqa(const TempDir& folder) {
  Json data = Json::array();
  for (int a = 0; a < kArticles; ++a) {
    Json context = Json::array();
    for (int p = 0; p < kParagraphs; ++p)
      context.push_back(
          {fmt::format("Title {}.{}", a, p), {"First sentence.", fmt::format(" {}", paragraph(a, p))}});
    data.push_back({{"question", fmt::format("Which fact comes first in article {}?", a)},
                    {"answer", fmt::format("Fact {}.0", a)},
                    {"context", context}});
  }
  write_text(folder / "hotpotqa.json", data.dump());
  return folder / "hotpotqa.json";
}

RulerOptions ruler_options(const TempDir& folder, const std::string& task, int64_t length) {
  return {.task = task,
          .length = length,
          .prompt_template = PromptTemplate::kMetaLlama3,
          .haystack = heldout_books(),
          .squad = write_squad(folder),
          .hotpotqa = write_hotpotqa(folder)};
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::vector<std::string>> find_all(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::vector<std::vector<std::string>> found;
  for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at) {
    found.emplace_back();
    for (const auto& group : *at) found.back().push_back(group.str());
  }
  return found;
}

}  // namespace seer::test
