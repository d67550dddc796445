#include "trainer/eval/eval_cli.h"

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "data/prompt_template.h"
#include "src/sparse/scoring_method.h"
#include "trainer/cli_checks.h"
#include "trainer/eval/commands.h"

namespace seer {
namespace {

using Action = std::function<int()>;

constexpr const char* kConfigsRule = "the rule of the gates' config.json";

void add_model_flags(CLI::App& command, EvalModelOptions& options, bool required = true) {
  command.add_option("--model", options.model, "Folder of the base model")
      ->required(required)
      ->check(CLI::ExistingDirectory);
  if (required) {
    command.add_option("--gates", options.gates, "Folder of trained gates, ours or published")
        ->check(CLI::ExistingDirectory);
  }
  command.add_option("--device", options.device, "Where it runs")->check(CLI::IsMember({"cpu", "cuda"}));
  command.add_option("--precision", options.precision, "Of a GPU")
      ->check(CLI::IsMember({"auto", "bf16", "fp32"}));
  command.add_option("--threads", options.threads, "CPU worker threads (default: all)")->check(kThreads);
  command.add_flag("--stream-weights", options.stream,
                   "Read the layers' weights from the files in every pass");
  command.add_option("--block", options.block_size, "Block size of selections without gates (default: 64)")
      ->check(CLI::IsMember(std::vector<int64_t>{16, 32, 64, 128}));
}

void add_forced_flags(CLI::App& command, SelectionFlags& flags) {
  command.add_flag("--no-diagonal", flags.no_diagonal, "Do not keep a row's own block whatever its score");
  command.add_option("--sink-blocks", flags.sink_blocks, "Always keep so many first blocks")
      ->check(kNotNegative);
  command.add_option("--local-blocks", flags.local_blocks, "Always keep so many nearest blocks")
      ->check(kNotNegative);
}

void add_head_flags(CLI::App& command, SelectionFlags& flags) {
  command
      .add_option("--values", flags.values_file,
                  "JSON file of a rule with a value for each layer and head: {\"rule\": \"nz_ratio\", "
                  "\"values\": [[..], ..]}")
      ->check(CLI::ExistingFile);
  command.add_flag("--calibrated", flags.calibrated,
                   "The gate by the thresholds that `calibrate` wrote into its folder");
  command.add_option("--dense-layers", flags.dense_layers, "The first layers attend densely")
      ->check(kNotNegative);
}

/// `by_default`: the rule where no flag gives one; `several`: whether the command takes more than one.
void add_selection_flags(CLI::App& command, SelectionFlags& flags,
                         const std::string& by_default = kConfigsRule, bool several = true) {
  command
      .add_option("--density", flags.densities,
                  fmt::format("Share of the blocks to keep (nz_ratio){} (default: {})",
                              several ? ", one or more: 0.1,0.2" : "", by_default))
      ->delimiter(',');
  command.add_option("--threshold", flags.thresholds, "Keep blocks whose probability is above")
      ->delimiter(',');
  command.add_option("--token-budget", flags.token_budgets, "Keep so many keys for each row")->delimiter(',');
  command.add_option("--block-top-p", flags.top_p, "Keep the fewest blocks that hold this probability")
      ->delimiter(',');
  add_head_flags(command, flags);
  command.add_option("--dense-last-rows", flags.dense_last_rows, "So many last block rows keep everything")
      ->check(kNotNegative);
  command.add_flag("--last-block-dense", flags.last_block_dense, "--dense-last-rows 2, as published");
  add_forced_flags(command, flags);
  command.add_option("--min-blocks", flags.min_blocks, "Keep at least so many blocks a row")
      ->check(kNotNegative);
}

void add_text_flags(CLI::App& command, HeldOutFlags& flags, bool required) {
  command.add_option("--data", flags.data, "Held-out text or token ids: files, folders or globs")
      ->required(required);
  command.add_option("--text-field", flags.text_field, "JSONL key that holds the text");
}

void add_held_out_flags(CLI::App& command, HeldOutFlags& flags) {
  add_text_flags(command, flags, /*required=*/true);
  command.add_option("--windows", flags.windows, "Windows of each document, one behind the other")
      ->check(kPositive);
  command.add_option("--documents", flags.documents, "The first documents alone (default: all)")
      ->check(kPositive);
  command.add_flag("--keep-document-bos", flags.keep_document_bos,
                   "The BOS of a document stays behind that of its first window, as in published figures");
}

void add_perplexity(CLI::App& eval, Action& action) {
  const auto options = std::make_shared<EvalPerplexityOptions>();
  auto* command = eval.add_subcommand("ppl", "Perplexity, recall and prefill time by density and method");
  add_model_flags(*command, options->model);
  add_held_out_flags(*command, options->held_out);
  command
      ->add_option(
          "--seq", options->lengths,
          "Tokens of a window, one or more: 8192,16384 (default: 8192, or the most that the model takes)")
      ->delimiter(',')
      ->check(kPositive);
  command
      ->add_option(
          "--methods", options->methods,
          "Who chooses: " +
              [] {
                std::string names;
                for (const std::string& name : scoring_method_names())
                  names += (names.empty() ? "" : ", ") + name;
                return names;
              }() +
              " (default: gate, window, oracle)")
      ->delimiter(',');
  add_selection_flags(*command, options->selection, "0.1,0.2,0.3,0.5");
  command->add_flag("--no-recall", options->no_recall, "Leave the ground truth uncomputed");
  command->add_option("--json", options->json, "File for the results, which `report` shows");
  command->callback([=, &action] { action = [=] { return eval_perplexity_command(*options); }; });
}

void add_task_flags(CLI::App& command, EvalTaskOptions& options) {
  add_model_flags(command, options.model);
  add_selection_flags(command, options.selection);
  command
      .add_option("--methods", options.methods, "Who chooses, beside the dense model (default: the gates)")
      ->delimiter(',');
  command.add_flag("--no-dense", options.no_dense, "Leave the dense model out");
  command.add_option(
      "--template", options.prompt_template,
      prompt_template_names() + " (auto: the model's own; Llama's as the published figures have it)");
  command.add_option("--tasks", options.tasks, "Some of the tasks (default: all that the given files allow)")
      ->delimiter(',');
  command.add_option("--results", options.results,
                     "File of the answers; a run goes on behind those it holds");
  command.add_option("--json", options.json, "File for the summary (default: that of the answers, .json)");
}

void add_ruler(CLI::App& eval, Action& action) {
  const auto options = std::make_shared<EvalRulerOptions>();
  auto* command = eval.add_subcommand("ruler", "RULER's 13 tasks, dense and sparse side by side");
  options->results = "ruler.jsonl";
  add_task_flags(*command, *options);
  command->add_option("--seq", options->lengths, "Tokens of prompt and answer, one or more: 4096,8192")
      ->delimiter(',')
      ->check(kPositive);
  command->add_option("--samples", options->samples, "Of each task (default: 25, or all that --data has)")
      ->check(kPositive);
  command->add_option("--seed", options->seed, "Of the samples (default: 42)");
  command->add_option("--haystack", options->haystack, "Book text (.txt, .jsonl) in place of RULER's essays");
  command->add_option("--squad", options->squad, "SQuAD 2.0's dev-v2.0.json, for qa_1");
  command->add_option("--hotpotqa", options->hotpotqa, "hotpot_dev_distractor_v1.json, for qa_2");
  command
      ->add_option("--data", options->data,
                   "Folder of files of RULER's own scripts; with several lengths DATA/LENGTH")
      ->check(CLI::ExistingDirectory);
  command->add_option("--write-samples", options->write, "Folder to write the samples to, as such files");
  command->callback([=, &action] { action = [=] { return eval_ruler_command(*options); }; });
}

void add_longbench(CLI::App& eval, Action& action) {
  const auto options = std::make_shared<EvalLongBenchOptions>();
  options->results = "longbench.jsonl";
  auto* command = eval.add_subcommand("longbench", "LongBench-E by length, dense and sparse side by side");
  add_task_flags(*command, *options);
  command->add_option("--data", options->data, "Folder of the sets' jsonl files")
      ->required()
      ->check(CLI::ExistingDirectory);
  command->add_option("--samples", options->samples, "The first of each set alone (default: all)")
      ->check(kPositive);
  command
      ->add_option("--max-prompt-tokens", options->max_prompt_tokens,
                   "Longer prompts lose their middle (default: max_position_embeddings - 500)")
      ->check(kPositive);
  command->callback([=, &action] { action = [=] { return eval_longbench_command(*options); }; });
}

void add_calibrate(CLI::App& app, Action& action) {
  const auto options = std::make_shared<CalibrateOptions>();
  auto* command =
      app.add_subcommand("calibrate", "Find thresholds by layer and head for a density or a recall");
  add_model_flags(*command, options->model);
  add_held_out_flags(*command, options->held_out);
  command
      ->add_option("--seq", options->length,
                   "Tokens of a window (default: 8192, or the most that the model takes)")
      ->check(kPositive);
  command
      ->add_option("--density", options->target.density,
                   "Every head keeps this share of its blocks (default: none, see --recall)")
      ->check(CLI::Range(1e-6, 1.0));
  command
      ->add_option("--recall", options->target.recall,
                   "Every head keeps this share of the ground truth (default: none, see --density)")
      ->check(CLI::Range(1e-6, 1.0));
  add_forced_flags(*command, options->selection);
  command->add_option("--to", options->to,
                      "JSON file for the thresholds (default: the gates' own config.json)");
  command->callback([=, &action] { action = [=] { return calibrate_command(*options); }; });
}

void add_report(CLI::App& app, Action& action) {
  const auto options = std::make_shared<ReportOptions>();
  auto* command = app.add_subcommand("report", "Write one HTML page on a run or on gates, to look at");
  command->add_option("source", options->source, "Run folder or gates folder")->required();
  command
      ->add_option(
          "--out", options->out,
          "HTML file to write (default: report.html in a run's folder, NAME-report.html beside gates)")
      ->type_name("FILE");
  add_model_flags(*command, options->model, /*required=*/false);
  add_text_flags(*command, options->held_out, /*required=*/false);
  add_selection_flags(*command, options->selection, kConfigsRule, /*several=*/false);
  command->add_option("--seq", options->length, "Tokens of the text that the maps show")->check(kPositive);
  command->add_option("--gate", options->gate, "Of a run with several gates, the one whose maps are shown");
  command->add_option("--heads", options->heads,
                      "Whose maps: LAYER:HEAD, one or more: 0:3,5:1 (default: six)");
  command->callback([=, &action] { action = [=] { return report_command(*options); }; });
}

void add_generate(CLI::App& app, Action& action) {
  const auto options = std::make_shared<EvalGenerateOptions>();
  auto* command = app.add_subcommand("generate", "Answer a prompt: sparse prefill, dense decoding");
  add_model_flags(*command, options->model);
  command->add_option("--prompt", options->prompt, "The text to go on from");
  command->add_option("--prompt-file", options->prompt_file, "The same from a file; - is standard input");
  command->add_option("--method", options->method,
                      "Who chooses blocks: dense, or a method of `eval ppl` (default: the gates)");
  add_selection_flags(*command, options->selection, kConfigsRule, /*several=*/false);
  command->add_flag("--chat", options->chat,
                    "The prompt is a user's message, by the model's own chat template");
  command->add_option("--template", options->prompt_template, "By this one: " + prompt_template_names());
  command->add_option("--system", options->system, "System message of --chat or --template");
  command->add_option("--max-new-tokens", options->max_new_tokens, "Tokens of the answer at most")
      ->check(kPositive);
  command->add_option("--temperature", options->sampling.temperature, "0: the likeliest token")
      ->check(kNotNegative);
  command
      ->add_option("--top-p", options->sampling.top_p,
                   "Draw from the likeliest tokens that hold this probability")
      ->check(CLI::Range(1e-6, 1.0));
  command->add_option("--seed", options->sampling.seed, "Of the draws");
  command->add_option("--stop", options->stops, "Text that ends the answer; may be given several times")
      ->allow_extra_args(false);
  command->callback([=, &action] {
    action = [=] {
      for (const char* flag : {"--top-p", "--seed"}) {
        if (options->sampling.temperature == 0 && command->count(flag) > 0)
          fail_usage("{} is for drawing tokens, and the likeliest is taken: add a --temperature above 0",
                     flag);
      }
      return generate_command(*options);
    };
  });
}

}  // namespace

void add_eval_commands(CLI::App& app, Action& action) {
  auto* eval = app.add_subcommand("eval", "What sparse attention saves, and what it costs");
  eval->require_subcommand(1);
  add_perplexity(*eval, action);
  add_ruler(*eval, action);
  add_longbench(*eval, action);
  add_calibrate(app, action);
  add_generate(app, action);
  add_report(app, action);
}

}  // namespace seer
