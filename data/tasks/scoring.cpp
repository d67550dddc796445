#include "data/tasks/scoring.h"

#include <algorithm>

#include "data/tasks/longbench_metrics.h"
#include "data/tasks/rouge_l.h"
#include "data/tasks/string_match.h"
#include "src/core/error.h"

namespace seer {
namespace {

std::string_view first_line(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  return text.substr(0, text.find('\n'));
}

double score_one(const TaskSample& sample, std::string_view prediction, std::string_view answer) {
  switch (sample.metric) {
    case Metric::kQaF1:
      return qa_f1(prediction, answer);
    case Metric::kRougeL:
      return rouge_l(prediction, answer);
    case Metric::kClassification:
      return classification_score(prediction, answer, sample.all_classes);
    case Metric::kRetrieval:
      return retrieval_score(prediction, answer);
    case Metric::kCount:
      return count_score(prediction, answer);
    case Metric::kCodeSimilarity:
      return code_similarity(prediction, answer);
    case Metric::kMatchAll:
    case Metric::kMatchPart:
      break;
  }
  fail("metric {} of {} does not score single answers", static_cast<int>(sample.metric), sample.task);
}

}  // namespace

double score(const TaskSample& sample, std::string_view prediction) {
  if (sample.metric == Metric::kMatchAll) return string_match_all(prediction, sample.outputs);
  if (sample.metric == Metric::kMatchPart) return string_match_part(prediction, sample.outputs);
  if (sample.first_line_only) prediction = first_line(prediction);
  double best = 0;
  for (const std::string& answer : sample.outputs)
    best = std::max(best, score_one(sample, prediction, answer));
  return best;
}

}  // namespace seer
