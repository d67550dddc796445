#include <cstdio>
#include <iostream>
#include <iterator>

#include <fmt/format.h>

#include "data/chat_template.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/generator.h"

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

std::vector<int32_t> encode(const EvalGenerateOptions& options, const Tokenizer& tokenizer,
                            const std::string& prompt) {
  if (!options.chat) {
    if (!options.system.empty()) fail_usage("--system is a message of a conversation: add --chat");
    return tokenizer.encode(prompt);
  }
  const auto format = detect_chat_format(tokenizer);
  if (!format)
    fail_usage("--chat: the tokenizer has the special tokens of neither Llama-3's nor ChatML's chat format");
  std::vector<ChatMessage> messages;
  if (!options.system.empty()) messages.push_back({"system", options.system});
  messages.push_back({"user", prompt});
  return tokenizer.encode(render_chat(*format, messages, /*add_generation_prompt=*/true),
                          {.add_special_tokens = false, .parse_special = true});
}

/// By default the gates choose, as their config.json says.
AttentionPlan plan_of_flags(const EvalGenerateOptions& options, const EvalModel& model) {
  const std::string method = !options.method.empty()    ? options.method
                             : model.gates() != nullptr ? "gate"
                                                        : "dense";
  if (method == "dense") {
    if (options.selection.any())
      fail_usage("a density or threshold chooses blocks: give --gates, or a --method that chooses");
    return {};
  }
  const SelectionRule rule = one_rule_for(method, options.selection, model.gates());
  return plan_of(options.model, method, options.selection, rule, model.gates(), model.config());
}

}  // namespace

int generate_command(const EvalGenerateOptions& options) {
  for (const std::string& stop : options.stops) {
    if (stop.empty()) fail_usage("--stop \"\" would end every answer at once");
  }
  check_choices({}, options.selection);
  const std::string prompt = read_prompt(options);
  // The tokenizer alone says how long the prompt is, which decides how much memory the model is given.
  const Tokenizer tokenizer(options.model.model);
  const std::vector<int32_t> ids = encode(options, tokenizer, prompt);
  if (ids.empty()) fail_usage("the prompt is empty");
  EvalModel model(options.model, static_cast<int64_t>(ids.size()) + options.max_new_tokens);
  const AttentionPlan plan = plan_of_flags(options, model);
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
  log::info("prefill of {} tokens {:.3f} s at density {:.4f}; {} new tokens, {:.1f} a second{}", ids.size(),
            out.prefill_seconds, out.density, out.ids.size(),
            static_cast<double>(out.ids.size()) / std::max(out.decode_seconds, 1e-9),
            out.stopped ? "" : " (cut off at --max-new-tokens)");
  return 0;
}

}  // namespace seer
