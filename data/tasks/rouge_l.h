// ROUGE-L of a summary.
#pragma once

#include <string_view>

namespace seer {

/// The F of ROUGE-L as the PyPI package rouge 1.0.1 gives it: sentences end at every '.', words at white
/// space, case counts; precision and recall are of sets of different words: those in the longest common
/// subsequence of any pair of sentences, over all of the prediction's and of the reference's.
/// 0 where one of them has nothing but full stops. (That package fails, and LongBench then counts 0, where
/// two sentences have more than about 970 words together; here they count like others.)
double rouge_l(std::string_view prediction, std::string_view reference);

}  // namespace seer
