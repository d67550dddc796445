#include "data/tasks/ruler.h"

#include <array>
#include <utility>

#include "data/file_list.h"
#include "data/tasks/fit.h"
#include "data/tasks/haystack.h"
#include "data/tasks/niah.h"
#include "data/tasks/question_answering.h"
#include "data/tasks/variable_tracking.h"
#include "data/tasks/word_counting.h"
#include "src/core/error.h"
#include "src/core/rng.h"

namespace seer {
namespace {

constexpr auto kAll = Metric::kMatchAll;
constexpr auto kPart = Metric::kMatchPart;
constexpr auto kNone = RulerSource::kNone;
constexpr auto kText = RulerSource::kHaystack;

constexpr std::array<RulerTask, 13> kTasks = {{
    {"niah_single_1", 128, kAll, kNone},
    {"niah_single_2", 128, kAll, kText},
    {"niah_single_3", 128, kAll, kText},
    {"niah_multikey_1", 128, kAll, kText},
    {"niah_multikey_2", 128, kAll, kNone},
    {"niah_multikey_3", 128, kAll, kNone},
    {"niah_multivalue", 128, kAll, kText},
    {"niah_multiquery", 128, kAll, kText},
    {"vt", 30, kAll, kNone},
    {"cwe", 120, kAll, kNone},
    {"fwe", 50, kAll, kNone},
    {"qa_1", 32, kPart, RulerSource::kSquad},
    {"qa_2", 32, kPart, RulerSource::kHotpotQa},
}};

NiahShape niah_shape(std::string_view task) {
  using enum NiahShape::Hay;
  using enum NiahShape::Needle;
  if (task == "niah_single_1") return {.hay = kNoise};
  if (task == "niah_single_2") return {.hay = kEssay};
  if (task == "niah_single_3") return {.hay = kEssay, .value = kUuids};
  if (task == "niah_multikey_1") return {.hay = kEssay, .keys = 4};
  if (task == "niah_multikey_2") return {.hay = kNeedles};
  if (task == "niah_multikey_3") return {.hay = kNeedles, .key = kUuids, .value = kUuids};
  if (task == "niah_multivalue") return {.hay = kEssay, .values = 4};
  if (task == "niah_multiquery") return {.hay = kEssay, .keys = 4, .queries = 4};
  fail("{} is not a task with needles", task);
}

void require_file(const RulerTask& task, const RulerOptions& options) {
  if (task.source == RulerSource::kHaystack && options.haystack.empty())
    fail_usage(
        "{} hides its needles in running text: name a .txt or .jsonl file of free books with --haystack "
        "(RULER's own essays may not be passed on)",
        task.name);
  if (task.source == RulerSource::kSquad && options.squad.empty())
    fail_usage(
        "{} is made from SQuAD 2.0: download dev-v2.0.json (rajpurkar.github.io/SQuAD-explorer) and name it "
        "with --squad",
        task.name);
  if (task.source == RulerSource::kHotpotQa && options.hotpotqa.empty())
    fail_usage(
        "{} is made from HotpotQA: download hotpot_dev_distractor_v1.json (hotpotqa.github.io) and name it "
        "with --hotpotqa",
        task.name);
  if (task.source == RulerSource::kHaystack)
    expand_inputs({options.haystack.string()});  // or says what is not there
  for (const auto& [source, file] :
       {std::pair{RulerSource::kSquad, options.squad}, {RulerSource::kHotpotQa, options.hotpotqa}}) {
    if (task.source == source && !std::filesystem::is_regular_file(file))
      fail("{} is made from {}: there is no such file", task.name, file.string());
  }
}

std::unique_ptr<const RulerRecipe> make_recipe(const RulerTask& task, const RulerOptions& options,
                                               const Tokenizer& tokenizer) {
  switch (task.source) {
    case RulerSource::kSquad:
      return make_question_answering(std::make_shared<QaSet>(read_squad(options.squad)));
    case RulerSource::kHotpotQa:
      return make_question_answering(std::make_shared<QaSet>(read_hotpotqa(options.hotpotqa)));
    case RulerSource::kHaystack:
      // A word takes a token at least.
      return make_niah(niah_shape(task.name),
                       std::make_shared<Haystack>(Haystack::load(options.haystack, options.length)));
    case RulerSource::kNone:
      break;
  }
  if (task.name == "vt")
    return make_variable_tracking([&tokenizer](std::string_view text) {
      return static_cast<int64_t>(tokenizer.encode(text, {.add_special_tokens = false}).size());
    });
  if (task.name == "cwe") return make_common_words(options.length);
  if (task.name == "fwe") return make_frequent_words(options.length - task.tokens_to_generate);
  return make_niah(niah_shape(task.name), nullptr);
}

}  // namespace

std::span<const RulerTask> ruler_tasks() {
  return kTasks;
}

const RulerTask& ruler_task(std::string_view name) {
  std::string names;
  for (const RulerTask& task : kTasks) {
    if (task.name == name) return task;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", task.name);
  }
  fail_usage("there is no RULER task \"{}\"; there are {}", name, names);
}

void check_ruler_options(const RulerOptions& options) {
  const RulerTask& task = ruler_task(options.task);
  if (options.length <= task.tokens_to_generate)
    fail_usage("{} answers with up to {} tokens: a length of {} leaves nothing for its prompt", task.name,
               task.tokens_to_generate, options.length);
  require_file(task, options);
}

RulerGenerator::RulerGenerator(const RulerOptions& options, const Tokenizer& tokenizer)
    : options_(options), tokenizer_(tokenizer), task_(ruler_task(options.task)) {
  check_ruler_options(options);
  recipe_ = make_recipe(task_, options, tokenizer_);
}

/// The prompt up to the answer prefix.
std::string RulerGenerator::join(const RulerText& text) const {
  std::string prompt;
  if (!text.example.empty())
    prompt = fmt::format("{}{} {}\n", apply_template(options_.prompt_template, text.example),
                         text.answer_prefix, text.example_answer);
  return prompt + apply_template(options_.prompt_template, text.body);
}

TaskSample RulerGenerator::make(int64_t index) const {
  const Rng rng = Rng(options_.seed)
                      .fork("ruler")
                      .fork(task_.name)
                      .fork(static_cast<uint64_t>(options_.length))
                      .fork(static_cast<uint64_t>(index));
  const auto count = [&](int64_t size) {
    const RulerText text = recipe_->write(index, rng, size);
    return static_cast<int64_t>(encode_prompt(tokenizer_, join(text) + text.answer_prefix).size());
  };
  const int64_t limit = options_.length - task_.tokens_to_generate;
  const RulerRecipe::Sizes sizes = recipe_->sizes(index);
  const Fit fit = largest_that_fits(sizes.least, sizes.most, limit, count);
  if (fit.tokens > limit)
    fail(
        "sample {} of {} does not fit in {} tokens: with {} {}, the least it can have, its prompt takes {} "
        "and "
        "its answer up to {}; ask for a length of {} or more",
        index, task_.name, options_.length, sizes.least, sizes.unit, fit.tokens, task_.tokens_to_generate,
        fit.tokens + task_.tokens_to_generate);

  const RulerText text = recipe_->write(index, rng, fit.size);
  return {.task = std::string(task_.name),
          .index = index,
          .input = join(text),
          .answer_prefix = text.answer_prefix,
          .outputs = text.outputs,
          .metric = task_.metric,
          .tokens_to_generate = task_.tokens_to_generate,
          .length = fit.tokens + task_.tokens_to_generate,
          .haystack = recipe_->haystack()};
}

std::vector<TaskSample> make_ruler_samples(const RulerOptions& options, const Tokenizer& tokenizer,
                                           int64_t num_samples) {
  const RulerGenerator generator(options, tokenizer);
  std::vector<TaskSample> samples;
  for (int64_t i = 0; i < num_samples; ++i) samples.push_back(generator.make(i));
  return samples;
}

}  // namespace seer
