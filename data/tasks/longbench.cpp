#include "data/tasks/longbench.h"

#include <array>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "data/tasks/json_lines.h"
#include "data/tasks/longbench_metrics.h"
#include "data/tasks/text.h"
#include "src/core/error.h"
#include "src/io/json_file.h"

namespace seer {
namespace {

constexpr std::string_view kPassages =
    "Answer the question based on the given passages. Only give me the answer and do not output any other "
    "words.\n\nThe following are given passages.\n{context}\n\nAnswer the question based on the given "
    "passages. "
    "Only give me the answer and do not output any other words.\n\nQuestion: {input}\nAnswer:";

constexpr std::array<LongBenchTask, 13> kTasks = {{
    {.name = "qasper",
     .prompt =
         "You are given a scientific article and a question. Answer the question as concisely as you can, "
         "using a single phrase or sentence if possible. If the question cannot be answered based on the "
         "information in the article, write \"unanswerable\". If the question is a yes/no question, answer "
         "\"yes\", \"no\", or \"unanswerable\". Do not provide any explanation.\n\nArticle: {context}\n\n "
         "Answer the question based on the above article as concisely as you can, using a single phrase or "
         "sentence if possible. If the question cannot be answered based on the information in the article, "
         "write \"unanswerable\". If the question is a yes/no question, answer \"yes\", \"no\", or "
         "\"unanswerable\". Do not provide any explanation.\n\nQuestion: {input}\n\nAnswer:",
     .tokens_to_generate = 128,
     .metric = Metric::kQaF1,
     .chat_template = true},
    {.name = "multifieldqa_en",
     .prompt =
         "Read the following text and answer briefly.\n\n{context}\n\nNow, answer the following question "
         "based on the above text, only give me the answer and do not output any other words.\n\nQuestion: "
         "{input}\nAnswer:",
     .tokens_to_generate = 64,
     .metric = Metric::kQaF1,
     .chat_template = true},
    {.name = "hotpotqa",
     .prompt = kPassages,
     .tokens_to_generate = 32,
     .metric = Metric::kQaF1,
     .chat_template = true},
    {.name = "2wikimqa",
     .prompt = kPassages,
     .tokens_to_generate = 32,
     .metric = Metric::kQaF1,
     .chat_template = true},
    {.name = "gov_report",
     .prompt = "You are given a report by a government agency. Write a one-page summary of the report.\n\n"
               "Report:\n{context}\n\nNow, write a one-page summary of the report.\n\nSummary:",
     .tokens_to_generate = 512,
     .metric = Metric::kRougeL,
     .chat_template = true},
    {.name = "multi_news",
     .prompt =
         "You are given several news passages. Write a one-page summary of all news. \n\nNews:\n{context}\n\n"
         "Now, write a one-page summary of all the news.\n\nSummary:",
     .tokens_to_generate = 512,
     .metric = Metric::kRougeL,
     .chat_template = true},
    {.name = "trec",
     .prompt = "Please determine the type of the question below. Here are some examples of "
               "questions.\n\n{context}\n"
               "{input}",
     .tokens_to_generate = 64,
     .metric = Metric::kClassification,
     .first_line_only = true},
    {.name = "triviaqa",
     .prompt = "Answer the question based on the given passage. Only give me the answer and do not output "
               "any other "
               "words. The following are some examples.\n\n{context}\n\n{input}",
     .tokens_to_generate = 32,
     .metric = Metric::kQaF1,
     .first_line_only = true},
    {.name = "samsum",
     .prompt = "Summarize the dialogue into a few short sentences. The following are some "
               "examples.\n\n{context}\n\n"
               "{input}",
     .tokens_to_generate = 128,
     .metric = Metric::kRougeL,
     .first_line_only = true,
     .stop_at_newline = true},
    {.name = "passage_count",
     .prompt =
         "There are some paragraphs below sourced from Wikipedia. Some of them may be duplicates. Please "
         "carefully read these paragraphs and determine how many unique paragraphs there are after removing "
         "duplicates. In other words, how many non-repeating paragraphs are there in total?\n\n{context}\n\n"
         "Please enter the final count of unique paragraphs after removing duplicates. The output format "
         "should only contain the number, such as 1, 2, 3, and so on.\n\nThe final answer is: ",
     .tokens_to_generate = 32,
     .metric = Metric::kCount,
     .chat_template = true},
    {.name = "passage_retrieval_en",
     .prompt = "Here are 30 paragraphs from Wikipedia, along with an abstract. Please determine which "
               "paragraph the "
               "abstract is from.\n\n{context}\n\nThe following is an abstract.\n\n{input}\n\nPlease enter "
               "the number "
               "of the paragraph that the abstract is from. The answer format must be like \"Paragraph 1\", "
               "\"Paragraph 2\", etc.\n\nThe answer is: ",
     .tokens_to_generate = 32,
     .metric = Metric::kRetrieval,
     .chat_template = true},
    {.name = "lcc",
     .prompt = "Please complete the code given below. \n{context}Next line of code:\n",
     .tokens_to_generate = 64,
     .metric = Metric::kCodeSimilarity},
    {.name = "repobench-p",
     .prompt = "Please complete the code given below. \n{context}{input}Next line of code:\n",
     .tokens_to_generate = 64,
     .metric = Metric::kCodeSimilarity},
}};

/// The prompt with both fields filled in; braces in them stay as they are.
std::string fill_in(std::string_view prompt, const std::string& context, const std::string& input) {
  constexpr std::string_view kContext = "{context}";
  constexpr std::string_view kInput = "{input}";
  std::string text;
  while (!prompt.empty()) {
    if (prompt.starts_with(kContext)) {
      text += context;
      prompt.remove_prefix(kContext.size());
    } else if (prompt.starts_with(kInput)) {
      text += input;
      prompt.remove_prefix(kInput.size());
    } else {
      text += prompt.front();
      prompt.remove_prefix(1);
    }
  }
  return text;
}

std::optional<std::filesystem::path> set_file(const std::filesystem::path& folder, std::string_view name) {
  for (const std::string_view suffix : {"_e.jsonl", ".jsonl"}) {
    std::filesystem::path file = folder / fmt::format("{}{}", name, suffix);
    if (std::filesystem::is_regular_file(file)) return file;
  }
  return std::nullopt;
}

void check_answers(const TaskSample& sample) {
  if (sample.outputs.empty()) fail("`answers` is empty; expected the right answers");
  if (sample.metric == Metric::kClassification && sample.all_classes.empty())
    fail("`all_classes` is missing; expected the names of the classes");
  if (sample.metric == Metric::kRetrieval)  // refuses an answer that names no paragraph
    for (const std::string& answer : sample.outputs) (void)retrieval_score("", answer);
}

}  // namespace

std::span<const LongBenchTask> longbench_tasks() {
  return kTasks;
}

const LongBenchTask& longbench_task(std::string_view name) {
  std::string names;
  for (const LongBenchTask& task : kTasks) {
    if (task.name == name) return task;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", task.name);
  }
  fail_usage("there is no LongBench-E set \"{}\"; there are {}", name, names);
}

std::vector<std::string_view> find_longbench_sets(const std::filesystem::path& folder) {
  std::vector<std::string_view> names;
  for (const LongBenchTask& task : kTasks)
    if (set_file(folder, task.name)) names.push_back(task.name);
  if (names.empty())
    fail(
        "{}: no LongBench file in it (qasper_e.jsonl and others); unpack data.zip of the data set "
        "THUDM/LongBench "
        "on the Hugging Face hub and name its folder",
        folder.string());
  return names;
}

std::filesystem::path find_longbench_file(const std::filesystem::path& folder, std::string_view name) {
  if (auto file = set_file(folder, name)) return *std::move(file);
  fail("{}: there is neither {}_e.jsonl nor {}.jsonl in it", folder.string(), name, name);
}

std::vector<TaskSample> read_longbench(const LongBenchOptions& options, std::string_view name,
                                       const Tokenizer& tokenizer) {
  const LongBenchTask& task = longbench_task(name);
  if (options.max_prompt_tokens < 2)
    fail_usage("max_prompt_tokens is {}; expected the model's longest prompt", options.max_prompt_tokens);
  const std::filesystem::path file = find_longbench_file(options.folder, name);
  std::vector<TaskSample> samples;
  for_each_json_line(file, [&](const nlohmann::json& line, int64_t place) {
    TaskSample sample{.task = std::string(name),
                      .index = place,
                      .outputs = line.at("answers").get<std::vector<std::string>>(),
                      .metric = task.metric,
                      .tokens_to_generate = task.tokens_to_generate,
                      .stop_at_newline = task.stop_at_newline,
                      .first_line_only = task.first_line_only,
                      .length = integer_at(line, "length")};
    if (line.contains("all_classes") && !line["all_classes"].is_null())
      sample.all_classes = line["all_classes"].get<std::vector<std::string>>();
    check_answers(sample);
    const auto context = line.at("context").get<std::string>();
    const auto input = line.at("input").get<std::string>();
    sample.input = cut_middle(tokenizer, fill_in(task.prompt, context, input), options.max_prompt_tokens);
    if (task.chat_template) sample.input = apply_template(options.prompt_template, sample.input);
    samples.push_back(std::move(sample));
  });
  if (samples.empty()) fail("{}: there is no sample in it", file.string());
  return samples;
}

std::string cut_middle(const Tokenizer& tokenizer, std::string prompt, int64_t max_tokens) {
  const std::vector<int32_t> ids = encode_prompt(tokenizer, prompt);
  if (static_cast<int64_t>(ids.size()) <= max_tokens) return prompt;
  const auto half = static_cast<size_t>(max_tokens / 2);
  const std::span<const int32_t> all(ids);
  return valid_text(tokenizer.decode(all.first(half), /*skip_special=*/true)) +
         valid_text(tokenizer.decode(all.last(half), /*skip_special=*/true));
}

}  // namespace seer
