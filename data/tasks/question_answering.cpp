#include "data/tasks/question_answering.h"

#include <algorithm>
#include <map>
#include <span>
#include <string_view>
#include <unordered_set>
#include <utility>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "data/tasks/text.h"
#include "src/core/error.h"
#include "src/io/atomic_file.h"

namespace seer {
namespace {

using Json = nlohmann::json;

Json parse_file(const std::filesystem::path& file) {
  const std::string text = read_text_file(file);
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    fail("{}: not valid JSON: {}", file.string(), error.what());
  }
}

/// Documents by text, numbered in the order in which they come.
class DocumentNumbers {
 public:
  int64_t operator()(std::string text, std::vector<std::string>& documents) {
    const auto [entry, added] = numbers_.try_emplace(std::move(text), static_cast<int64_t>(documents.size()));
    if (added) documents.push_back(entry->first);
    return entry->second;
  }

 private:
  std::map<std::string, int64_t> numbers_;
};

void check_set(const QaSet& set, const std::filesystem::path& file) {
  if (set.questions.empty()) fail("{}: there is no question with an answer in it", file.string());
}

/// Reads with `fill`, whose JSON errors (a key missing, of another type) become ours.
template <typename Fill>
QaSet read_set(const std::filesystem::path& file, std::string_view kind, const Fill& fill) {
  const Json json = parse_file(file);
  QaSet set;
  set.name = file.filename().string();
  int64_t entry = 0;
  try {
    fill(json, set, entry);
  } catch (const Json::exception& error) {
    fail("{}: entry {} is not as in {}: {}", file.string(), entry, kind, error.what());
  }
  check_set(set, file);
  return set;
}

class QuestionAnswering : public RulerRecipe {
 public:
  explicit QuestionAnswering(std::shared_ptr<const QaSet> set) : set_(std::move(set)) {}

  Sizes sizes(int64_t index) const override {
    return {.least = static_cast<int64_t>(question(index).documents.size()), .unit = "documents"};
  }

  RulerText write(int64_t index, const Rng& rng, int64_t size) const override {
    const QaSet::Question& asked = question(index);
    std::vector<int64_t> shown = order_documents(asked, rng.fork("others"));
    // Past the last document they all start over, as RULER's do.
    const size_t distinct = shown.size();
    for (size_t i = distinct; i < static_cast<size_t>(size); ++i) shown.push_back(shown[i % distinct]);
    shown.resize(static_cast<size_t>(size));
    Rng order = rng.fork("order");
    order.shuffle(std::span(shown));

    std::vector<std::string> documents;
    for (size_t i = 0; i < shown.size(); ++i)
      documents.push_back(
          fmt::format("Document {}:\n{}", i + 1, set_->documents[static_cast<size_t>(shown[i])]));
    constexpr std::string_view kRequest =
        "Answer the question based on the given documents. Only give me the answer and do not output any "
        "other "
        "words.";
    RulerText text;
    text.body = fmt::format("{}\n\nThe following are given documents.\n\n{}\n\n{}\n\nQuestion: {}", kRequest,
                            fmt::join(documents, "\n\n"), kRequest, asked.text);
    text.answer_prefix = " Answer:";
    text.outputs = asked.answers;
    return text;
  }

  std::string haystack() const override { return fmt::format("documents of {}", set_->name); }

 private:
  const QaSet::Question& question(int64_t index) const {
    if (index < 0 || index >= static_cast<int64_t>(set_->questions.size()))
      fail("{} has {} questions with answers: there is no sample {}", set_->name, set_->questions.size(),
           index);
    return set_->questions[static_cast<size_t>(index)];
  }

  /// All documents: the question's own, then its related ones, then the rest, each group shuffled.
  std::vector<int64_t> order_documents(const QaSet::Question& asked, Rng rng) const {
    std::vector<int64_t> order = asked.documents;
    std::vector<int64_t> related = asked.related;
    rng.shuffle(std::span(related));
    order.insert(order.end(), related.begin(), related.end());
    const std::unordered_set<int64_t> taken(order.begin(), order.end());
    std::vector<int64_t> others;
    for (int64_t i = 0; i < static_cast<int64_t>(set_->documents.size()); ++i)
      if (!taken.contains(i)) others.push_back(i);
    rng.shuffle(std::span(others));
    order.insert(order.end(), others.begin(), others.end());
    return order;
  }

  std::shared_ptr<const QaSet> set_;
};

}  // namespace

QaSet read_squad(const std::filesystem::path& file) {
  return read_set(file, "SQuAD 2.0", [](const Json& json, QaSet& set, int64_t& entry) {
    DocumentNumbers number;
    for (const Json& article : json.at("data")) {
      std::vector<int64_t> paragraphs;
      for (const Json& paragraph : article.at("paragraphs"))
        paragraphs.push_back(number(paragraph.at("context").get<std::string>(), set.documents));
      for (size_t i = 0; i < paragraphs.size(); ++i) {
        for (const Json& qa : article["paragraphs"][i].at("qas")) {
          if (qa.value("is_impossible", false)) continue;
          QaSet::Question question{.text = qa.at("question").get<std::string>(),
                                   .documents = {paragraphs[i]}};
          for (const Json& answer : qa.at("answers"))
            question.answers.push_back(answer.at("text").get<std::string>());
          if (question.answers.empty()) continue;
          for (const int64_t other : paragraphs)
            if (other != paragraphs[i]) question.related.push_back(other);
          set.questions.push_back(std::move(question));
        }
      }
      ++entry;
    }
  });
}

QaSet read_hotpotqa(const std::filesystem::path& file) {
  return read_set(file, "HotpotQA", [](const Json& json, QaSet& set, int64_t& entry) {
    DocumentNumbers number;
    for (const Json& item : json) {
      QaSet::Question question{.text = item.at("question").get<std::string>(),
                               .answers = {item.at("answer").get<std::string>()}};
      for (const Json& document : item.at("context")) {
        std::string text = document.at(0).get<std::string>() + '\n';
        for (const Json& sentence : document.at(1)) text += sentence.get<std::string>();
        const int64_t id = number(std::move(text), set.documents);
        if (std::find(question.documents.begin(), question.documents.end(), id) == question.documents.end())
          question.documents.push_back(id);
      }
      if (!question.documents.empty()) set.questions.push_back(std::move(question));
      ++entry;
    }
  });
}

std::unique_ptr<RulerRecipe> make_question_answering(std::shared_ptr<const QaSet> set) {
  return std::make_unique<QuestionAnswering>(std::move(set));
}

}  // namespace seer
