#include <cstdio>
#include <iostream>
#include <iterator>

#include <fmt/format.h>

#include "data/chat_template.h"
#include "data/prompt_template.h"
#include "data/unicode.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/generator.h"
#include "trainer/eval/plans.h"

namespace seer {
namespace {

std::string read_prompt(const EvalGenerateOptions& options) {
  if (options.prompt && !options.prompt_file.empty())
    fail_usage("--prompt and --prompt-file are two prompts: give one");
  if (options.prompt) return *options.prompt;
  if (options.prompt_file.empty())
    fail_usage("generate needs --prompt TEXT or --prompt-file FILE (- is standard input)");
  if (options.prompt_file == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  return read_text_file(options.prompt_file);
}

/// The model's own chat template, else the one whose special tokens the tokenizer has.
PromptTemplate own_template(const std::string& folder, const Tokenizer& tokenizer) {
  if (const auto text = read_chat_template(folder)) {
    const auto known = recognise_template(*text);
    if (!known)
      fail_usage("--chat: the chat template of {} is none that is built in: name one with --template",
                 folder);
    return *known == PromptTemplate::kQwen3 ? PromptTemplate::kChatMl
                                            : *known;  // it thinks unless told not to
  }
  const auto format = detect_chat_format(tokenizer);
  if (!format) {
    fail_usage(
        "--chat: {} has no chat template, and its tokenizer the special tokens of neither Llama-3's nor "
        "ChatML's: name one with --template",
        folder);
  }
  const PromptTemplate guess =
      *format == ChatFormat::kLlama3 ? PromptTemplate::kMetaLlama3 : PromptTemplate::kChatMl;
  log::info("{} has no chat template: by its special tokens, {}", folder, prompt_template_name(guess));
  return guess;
}

std::vector<int32_t> encode(const EvalGenerateOptions& options, const Tokenizer& tokenizer,
                            const std::string& prompt) {
  const bool named = options.prompt_template != "auto";
  if (!options.chat && !named) {
    if (!options.system.empty())
      fail_usage("--system is a message of a conversation: add --chat, or name a --template");
    return tokenizer.encode(prompt);
  }
  const PromptTemplate prompt_template =
      named ? parse_prompt_template(options.prompt_template) : own_template(options.model.model, tokenizer);
  log::debug("prompt template {}", prompt_template_name(prompt_template));
  const bool trims =
      prompt_template == PromptTemplate::kMetaLlama3;  // the model's own does, RULER's use of it does not
  const std::string_view text = trims ? trim_white_space(prompt) : std::string_view(prompt);
  std::optional<std::string_view> system;
  if (!options.system.empty()) system = options.system;
  return encode_prompt(tokenizer, apply_template(prompt_template, text, system));
}

/// By default the gates choose, as their config.json says.
AttentionPlan plan_of_flags(const EvalGenerateOptions& options) {
  const std::string method = !options.method.empty()        ? options.method
                             : !options.model.gates.empty() ? "gate"
                                                            : "dense";
  const ModelConfig config = load_model_config(options.model.model);
  if (method != "dense") return one_plan_of(options.model, config, options.selection, method);
  (void)plans_of(options.model, config, options.selection, {});
  return {};
}

/// " (gate, nz_ratio 0.1)": who chose the blocks by which rule, and whose that is.
std::string chosen_by(const EvalGenerateOptions& options, const AttentionPlan& plan) {
  if (!plan.method) return "";
  return fmt::format(
      " ({}, {}{})", to_string(*plan.method), rule_text(plan),
      options.selection.any_rule() ? "" : ": the rule of " + options.model.gates + "/config.json");
}

}  // namespace

int generate_command(const EvalGenerateOptions& options) {
  for (const std::string& stop : options.stops) {
    if (stop.empty()) fail_usage("--stop \"\" would end every answer at once");
  }
  const std::string prompt = read_prompt(options);
  // The tokenizer alone says how long the prompt is, which decides how much memory the model is given.
  const Tokenizer tokenizer(options.model.model);
  const std::vector<int32_t> ids = encode(options, tokenizer, prompt);
  if (ids.empty()) fail_usage("the prompt is empty");
  const AttentionPlan plan = plan_of_flags(options);
  EvalModel model(options.model, static_cast<int64_t>(ids.size()) + options.max_new_tokens);
  Generator generator(model, plan.method ? std::vector{*plan.method} : std::vector<ScoringMethod>());
  const Generation out = generator.generate(ids, plan,
                                            {.max_new_tokens = options.max_new_tokens,
                                             .sampling = options.sampling,
                                             .stop_ids = stop_ids_of(model),
                                             .stops = options.stops},
                                            [](std::string_view text) {
                                              std::fwrite(text.data(), 1, text.size(), stdout);
                                              std::fflush(stdout);
                                            });
  std::fputc('\n', stdout);
  std::fflush(stdout);
  if (out.density < 1 && tokenizer.bos_id() == ids.front()) hint_at_bos(&tokenizer, {plan});
  log::info("prefill of {} tokens {:.3f} s at density {:.4f}{}; {} new tokens, {:.1f} a second{}", ids.size(),
            out.prefill_seconds, out.density, chosen_by(options, plan), out.ids.size(),
            static_cast<double>(out.ids.size()) / std::max(out.decode_seconds, 1e-9),
            out.stopped ? "" : " (cut off at --max-new-tokens)");
  return 0;
}

}  // namespace seer
