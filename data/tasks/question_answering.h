// RULER's qa_1 and qa_2: questions about one of many documents, from files that the user brings.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/tasks/ruler_recipe.h"

namespace seer {

/// Questions and the documents that answer them.
struct QaSet {
  struct Question {
    std::string text;
    std::vector<std::string> answers;
    std::vector<int64_t> documents;  ///< Must be shown: they answer the question.
    std::vector<int64_t> related;    ///< Shown before unrelated ones: the same article's other paragraphs.
  };
  std::vector<std::string> documents;  ///< Different from each other.
  std::vector<Question> questions;     ///< In the file's order.
  std::string name;                    ///< File name.
};

/// SQuAD 2.0's dev-v2.0.json; questions marked impossible are left out.
/// Throws Error naming the file and the entry that is missing or of another type.
QaSet read_squad(const std::filesystem::path& file);

/// HotpotQA's hotpot_dev_distractor_v1.json.
QaSet read_hotpotqa(const std::filesystem::path& file);

/// Sample i asks question i among shuffled documents: its own, related ones, then any others. Throws Error
/// for a sample past the last question.
std::unique_ptr<RulerRecipe> make_question_answering(std::shared_ptr<const QaSet> set);

}  // namespace seer
