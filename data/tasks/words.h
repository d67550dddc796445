// English words for keys and lists: wonderwords' nouns, adjectives and verbs (data/tasks/words), in the binary.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/core/rng.h"

namespace seer {

/// Each list without repetitions, in its file's order, as RULER reads it: some entries have capitals, a
/// hyphen or a space ("contact lens").
const std::vector<std::string_view>& nouns();
const std::vector<std::string_view>& adjectives();

/// Nouns, adjectives and verbs, sorted, without repetitions.
const std::vector<std::string_view>& all_words();

/// "adjective-noun", uniform over all pairs.
std::string random_word_pair(Rng& rng);

namespace detail {
extern const std::string_view kNounLines;
extern const std::string_view kAdjectiveLines;
extern const std::string_view kVerbLines;
}  // namespace detail

}  // namespace seer
