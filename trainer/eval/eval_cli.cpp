#include "src/sparse/scoring_method.h"
#include "trainer/eval/commands.h"

namespace seer {
namespace {

using Action = std::function<int()>;

void add_model_flags(CLI::App& command, EvalModelOptions& options) {
  command.add_option("--model", options.model, "Folder of the base model")
      ->required()
      ->check(CLI::ExistingDirectory);
  command.add_option("--gates", options.gates, "Folder of trained gates, ours or published")
      ->check(CLI::ExistingDirectory);
  command.add_option("--device", options.device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}));
  command.add_option("--precision", options.precision, "Of a GPU: auto, bf16, fp32")
      ->check(CLI::IsMember({"auto", "bf16", "fp32"}));
  command.add_option("--threads", options.threads, "CPU worker threads (default: all)")
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--stream-weights", options.stream,
                   "Read the layers' weights from the files in every pass");
  command.add_option("--block", options.block_size, "Block size of selections without gates")
      ->check(CLI::IsMember(std::vector<int64_t>{16, 32, 64, 128}));
}

void add_perplexity(CLI::App& eval, Action& action) {
  const auto options = std::make_shared<EvalPerplexityOptions>();
  auto* command = eval.add_subcommand("ppl", "Perplexity, recall and prefill time by density and method");
  add_model_flags(*command, options->model);
  add_held_out_flags(*command, options->held_out);
  command->add_option("--seq", options->lengths, "Tokens of a window, one or more: 8192,16384")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  command
      ->add_option(
          "--methods", options->methods,
          "Who chooses: " +
              [] {
                std::string names;
                for (const std::string& name : scoring_method_names())
                  names += (names.empty() ? "" : ", ") + name;
                return names;
              }())
      ->delimiter(',');
  add_selection_flags(*command, options->selection);
  command->add_flag("--no-recall", options->no_recall, "Leave the ground truth uncomputed");
  command->add_option("--json", options->json, "File for the results, which `report` shows");
  command->callback([=, &action] { action = [=] { return eval_perplexity_command(*options); }; });
}

void add_calibrate(CLI::App& app, Action& action) {
  const auto options = std::make_shared<CalibrateOptions>();
  auto* command =
      app.add_subcommand("calibrate", "Find thresholds by layer and head for a density or a recall");
  add_model_flags(*command, options->model);
  add_held_out_flags(*command, options->held_out);
  command->add_option("--seq", options->length, "Tokens of a window")->check(CLI::PositiveNumber);
  command->add_option("--density", options->target.density, "Every head keeps this share of its blocks")
      ->check(CLI::Range(1e-6, 1.0));
  command->add_option("--recall", options->target.recall, "Every head keeps this share of the ground truth")
      ->check(CLI::Range(1e-6, 1.0));
  command->add_option("--to", options->to,
                      "JSON file for the thresholds (default: the gates' own config.json)");
  command->callback([=, &action] { action = [=] { return calibrate_command(*options); }; });
}

void add_generate(CLI::App& app, Action& action) {
  const auto options = std::make_shared<EvalGenerateOptions>();
  auto* command = app.add_subcommand("generate", "Answer a prompt: sparse prefill, dense decoding");
  add_model_flags(*command, options->model);
  command->add_option("--prompt", options->prompt, "The text to go on from");
  command->add_option("--prompt-file", options->prompt_file, "The same from a file; - is standard input");
  command->add_option("--method", options->method,
                      "Who chooses blocks: dense, or a method of `eval ppl` (default: the gates)");
  add_selection_flags(*command, options->selection);
  command->add_flag("--chat", options->chat, "The prompt is a user's message in the model's chat format");
  command->add_option("--system", options->system, "System message of --chat");
  command->add_option("--max-new-tokens", options->max_new_tokens, "Tokens of the answer at most")
      ->check(CLI::PositiveNumber);
  command->add_option("--temperature", options->sampling.temperature, "0: the likeliest token (default)")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--top-p", options->sampling.top_p,
                   "Draw from the likeliest tokens that hold this probability")
      ->check(CLI::Range(1e-6, 1.0));
  command->add_option("--seed", options->sampling.seed, "Of the draws");
  command->add_option("--stop", options->stops, "Text that ends the answer; may be given several times")
      ->allow_extra_args(false);
  command->callback([=, &action] { action = [=] { return generate_command(*options); }; });
}

}  // namespace

void add_eval_commands(CLI::App& app, Action& action) {
  auto* eval = app.add_subcommand("eval", "What sparse attention saves, and what it costs");
  eval->require_subcommand(1);
  add_perplexity(*eval, action);
  add_calibrate(app, action);
  add_generate(app, action);
}

}  // namespace seer
