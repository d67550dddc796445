// LongBench's other metrics, each of one prediction against one answer, 0 to 1.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace seer {

/// F1 of the words that both have, counted with repetitions: lower case, ASCII punctuation and the words a,
/// an, the left out.
double qa_f1(std::string_view prediction, std::string_view answer);

/// 1 / (number of classes named), if the answer is one of them. A class whose name is part of the answer's
/// name does not count as named, but for the one behind another such class in the list (as published).
double classification_score(std::string_view prediction, std::string_view answer,
                            std::span<const std::string> all_classes);

/// The share of the prediction's numbers that are the answer, as strings of digits.
double count_score(std::string_view prediction, std::string_view answer);

/// The same for the number of the first "Paragraph N" in the answer. Throws Error if it has none.
double retrieval_score(std::string_view prediction, std::string_view answer);

/// Similarity of the first line without `, # and // to the answer: fuzzywuzzy's ratio as it is with
/// python-Levenshtein installed, 1 - (insertions and deletions) / (both lengths in characters), in whole per
/// cent. Without that package fuzzywuzzy falls back on difflib, whose figures differ.
double code_similarity(std::string_view prediction, std::string_view answer);

}  // namespace seer
