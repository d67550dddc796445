// `generate` as its users meet it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/chat_template.h"
#include "data/prompt_template.h"
#include "src/io/atomic_file.h"
#include "tests/trainer/eval/eval_files.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/eval/generator.h"

namespace seer::test {
namespace {

using ::testing::HasSubstr;

constexpr const char* kPrompt = "The captain looked at the sea, and then he";

class GenerateCommand : public testing::Test {
 protected:
  static ProcessResult run(const std::vector<std::string>& more, const Process::Options& process = {}) {
    std::vector<std::string> command = {
        "generate", "--model", nano_model().string(), "--threads", "1", "--max-new-tokens", "12"};
    command.insert(command.end(), more.begin(), more.end());
    return seer_train(command, process);
  }
  static std::string answer(const std::vector<std::string>& more, const Process::Options& process = {}) {
    const ProcessResult result = run(more, process);
    expect_success(result);
    return result.out;
  }
  /// What Generator says after these ids.
  static std::string expected(const std::string& text, const EncodeOptions& encode) {
    EvalModel model(on_one_thread(nano_model()), 200);
    Generator generator(model, {});
    return generator
               .generate(model.tokenizer()->encode(text, encode), {},
                         {.max_new_tokens = 12, .stop_ids = stop_ids_of(model)})
               .text +
           "\n";
  }

  TempDir folder_;
};

TEST_F(GenerateCommand, GoesOnFromThePrompt) {
  const std::string plain = answer({"--prompt", kPrompt});
  EXPECT_EQ(plain, expected(kPrompt, {}));
  EXPECT_GT(plain.size(), 5U);
  write_file_atomically(folder_ / "prompt.txt", kPrompt);
  EXPECT_EQ(answer({"--prompt-file", (folder_ / "prompt.txt").string()}), plain);
  EXPECT_EQ(answer({"--prompt-file", "-"}, {.input = kPrompt}), plain);
  EXPECT_EQ(answer({"--prompt", kPrompt, "--method", "dense"}), plain);
  EXPECT_EQ(answer({"--prompt", "--- Chapter 1 ---"}), expected("--- Chapter 1 ---", {}));
  EXPECT_EQ(answer({"--prompt", kPrompt, "--stream-weights"}), plain);
  const std::string stop = plain.substr(4, 2);
  EXPECT_EQ(answer({"--prompt", kPrompt, "--stop", stop}), plain.substr(0, plain.find(stop)) + "\n");
  EXPECT_EQ(answer({"--prompt", kPrompt, "--method", "window", "--density", "1", "--block", "16"}), plain);
}

TEST_F(GenerateCommand, SamplesBySeed) {
  const auto with_seed = [&](const char* seed) {
    return answer({"--prompt", kPrompt, "--temperature", "1", "--top-p", "0.9", "--seed", seed});
  };
  EXPECT_EQ(with_seed("1"), with_seed("1"));
  EXPECT_NE(with_seed("1"), with_seed("2"));
}

TEST_F(GenerateCommand, ChatsInTheModelsFormat) {
  const Tokenizer tokenizer(nano_model());
  const auto format = detect_chat_format(tokenizer);
  ASSERT_TRUE(format.has_value());
  const std::vector<ChatMessage> messages = {{"system", "Be brief."}, {"user", kPrompt}};
  EXPECT_EQ(answer({"--prompt", kPrompt, "--chat", "--system", "Be brief."}),
            expected(render_chat(*format, messages, true), {.add_special_tokens = false}));
  EXPECT_EQ(
      answer({"--prompt", kPrompt, "--chat"}),
      expected(render_chat(*format, std::span(messages).subspan(1), true), {.add_special_tokens = false}));
}

TEST_F(GenerateCommand, ChatsByTheModelsOwnTemplate) {
  const std::string model = (folder_ / "model").string();
  std::filesystem::copy(nano_model(), model, std::filesystem::copy_options::recursive);
  const auto chat = [&](const std::vector<std::string>& more) {
    std::vector<std::string> command = {"generate",         "--model", model,      "--threads", "1",
                                        "--max-new-tokens", "12",      "--prompt", kPrompt};
    command.insert(command.end(), more.begin(), more.end());
    return seer_train(command);
  };
  const auto expect_template = [&](const ProcessResult& result, PromptTemplate name,
                                   std::optional<std::string_view> system = std::nullopt) {
    expect_success(result);
    EXPECT_EQ(result.out,
              expected(apply_template(name, kPrompt, system),
                       {.add_special_tokens = name == PromptTemplate::kQwen25, .parse_special = true}));
  };
  write_file_atomically(model + "/chat_template.jinja",
                        "{{ '<|start_header_id|>' }} Cutting Knowledge Date {{ '<|eot_id|>' }}");
  expect_template(chat({"--chat"}), PromptTemplate::kLlama31);
  expect_template(chat({"--chat", "--system", "Be brief."}), PromptTemplate::kLlama31, "Be brief.");
  expect_template(chat({"--template", "qwen2.5"}), PromptTemplate::kQwen25);
  expect_refusal(chat({"--template", "llama-3", "--system", "Be brief."}), kUsage, {"llama-3", "no room"});
  expect_refusal(chat({"--template", "llama"}), kUsage, {"\"llama\"", "meta-llama3"});
  write_file_atomically(model + "/chat_template.jinja", "[INST] {{ message }} [/INST]");
  expect_refusal(chat({"--chat"}), kUsage, {model, "--template"});
}

TEST_F(GenerateCommand, ForcedBlocksGoWithTheConfigsRule) {
  write_random_gates(folder_ / "gates", nano_model());
  std::string prompt;
  for (int i = 0; i < 12; ++i) prompt += kPrompt;
  const auto density = [&](const std::vector<std::string>& more) {
    std::vector<std::string> flags = {"--prompt", prompt, "--gates", (folder_ / "gates").string()};
    flags.insert(flags.end(), more.begin(), more.end());
    const ProcessResult result = run(flags);
    expect_success(result);
    return std::stod(result.err.substr(result.err.find("at density ") + 11, 6));
  };
  const double plain = density({});
  EXPECT_GT(density({"--dense-last-rows", "4"}), plain);
  EXPECT_GT(density({"--min-blocks", "7"}), plain);
  EXPECT_EQ(density({"--dense-layers", "4"}), 1);
}

TEST_F(GenerateCommand, SaysWhatGatesMayNotHaveMet) {
  write_random_gates(folder_ / "gates", nano_model());
  std::string prompt;
  for (int i = 0; i < 12; ++i) prompt += kPrompt;
  const auto hint = [&](const std::vector<std::string>& more) {
    std::vector<std::string> flags = {"--prompt", prompt, "--density", "0.5"};
    flags.insert(flags.end(), more.begin(), more.end());
    return run(flags).err.find("--sink-blocks 1 keeps it") != std::string::npos;
  };
  const std::string gates = (folder_ / "gates").string();
  EXPECT_TRUE(hint({"--gates", gates}));
  EXPECT_FALSE(hint({"--gates", gates, "--sink-blocks", "1"}));
  EXPECT_FALSE(hint({"--gates", gates, "--method", "window"}));
  prompt = "The captain";
  EXPECT_FALSE(hint({"--gates", gates})) << "nothing was left out";
}

TEST_F(GenerateCommand, UsesGatesAsTheirConfigSays) {
  write_random_gates(folder_ / "gates", nano_model());
  std::string prompt;
  for (int i = 0; i < 12; ++i) prompt += kPrompt;
  const std::string gates = (folder_ / "gates").string();
  const ProcessResult by_config = run({"--prompt", prompt, "--gates", gates});
  expect_success(by_config);
  const ProcessResult by_flag = run({"--prompt", prompt, "--gates", gates, "--density", "0.5"});
  EXPECT_EQ(by_flag.out, by_config.out);
  const auto density = [](const ProcessResult& result) {
    return result.err.substr(result.err.find("at density"), std::string("at density 0.1234").size());
  };
  EXPECT_EQ(density(by_flag), density(by_config));
  EXPECT_THAT(by_flag.err, HasSubstr("(gate, nz_ratio 0.5)"));
  EXPECT_THAT(by_config.err, HasSubstr("(gate, nz_ratio 0.5: the rule of " + gates + "/config.json)"));
  EXPECT_NE(density(by_flag), density(run({"--prompt", prompt, "--gates", gates, "--density", "0.1"})));
}

TEST_F(GenerateCommand, SaysThatTheConfigsRuleKeepsEverything) {
  write_random_gates(folder_ / "gates", nano_model());
  const std::filesystem::path file = folder_ / "gates/config.json";
  nlohmann::json config = nlohmann::json::parse(read_text_file(file));
  for (const char* key : {"seerattn_sparsity_method", "seerattn_threshold", "seerattn_nz_ratio"})
    config.erase(key);
  write_file_atomically(file, config.dump());
  const std::string gates = (folder_ / "gates").string();
  EXPECT_THAT(run({"--prompt", kPrompt, "--gates", gates}).err,
              HasSubstr("threshold 0, which keeps every block"));
  EXPECT_THAT(run({"--prompt", kPrompt, "--gates", gates, "--density", "0.5"}).err,
              testing::Not(HasSubstr("keeps every block")));
}

TEST_F(GenerateCommand, LastRowsAreKeptAsTheConfigSaysWhateverTheRule) {
  write_random_gates(folder_ / "gates", nano_model());
  const std::filesystem::path file = folder_ / "gates/config.json";
  nlohmann::json config = nlohmann::json::parse(read_text_file(file));
  std::string prompt;
  for (int i = 0; i < 12; ++i) prompt += kPrompt;
  const auto density = [&](bool last_block_dense, const std::vector<std::string>& more) {
    config["seerattn_last_block_dense"] = last_block_dense;
    write_file_atomically(file, config.dump());
    std::vector<std::string> arguments = {"--prompt",  prompt, "--gates", (folder_ / "gates").string(),
                                          "--density", "0.1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = run(arguments);
    expect_success(result);
    const std::string found = "at density ";
    return std::stod(result.err.substr(result.err.find(found) + found.size()));
  };
  EXPECT_GT(density(true, {}), density(false, {}));
  EXPECT_EQ(density(true, {}), density(false, {"--last-block-dense"}));
  EXPECT_EQ(density(true, {"--dense-last-rows", "0"}), density(false, {}));
}

TEST_F(GenerateCommand, Refuses) {
  expect_refusal(run({}), kUsage, {"--prompt"});
  expect_refusal(run({"--prompt", "a", "--prompt-file", "b"}), kUsage, {"two prompts"});
  expect_refusal(run({"--prompt-file", (folder_ / "none.txt").string()}), kFailure, {"none.txt"});
  expect_refusal(run({"--prompt", "a", "--density", "0.1"}), kUsage, {"--gates"});
  expect_refusal(run({"--prompt", "a", "--sink-blocks", "1"}), kUsage, {"--gates"});
  expect_refusal(run({"--prompt", "a", "--method", "window"}), kUsage, {"method window needs a --density"});
  expect_refusal(run({"--prompt", "a", "--method", "window", "--density", "0.1,0.2"}), kUsage,
                 {"one rule", "2"});
  expect_refusal(run({"--prompt", "a", "--method", "mean", "--density", "0.1", "--block-top-p", "0.9"}),
                 kUsage, {"one rule", "2"});
  expect_refusal(run({"--prompt", "a", "--method", "window", "--density", "1.5"}), kUsage, {"--density 1.5"});
  expect_refusal(run({"--prompt", "a", "--method", "best", "--density", "0.5"}), kUsage, {"best"});
  expect_refusal(run({"--prompt", "a", "--method", "gate", "--density", "0.5"}), kUsage, {"--gates"});
  expect_refusal(run({"--prompt", "a", "--system", "b"}), kUsage, {"--chat"});
  expect_refusal(run({"--prompt", "a", "--stop", ""}), kUsage, {"--stop"});
  expect_refusal(run({"--prompt", "a", "--seed", "3"}), kUsage, {"--seed", "--temperature"});
  expect_refusal(run({"--prompt", "a", "--top-p", "0.5", "--temperature", "0"}), kUsage,
                 {"--top-p", "--temperature"});
  expect_refusal(run({"--prompt", "a", "--method", "window", "--density", "0.5", "--last-block-dense",
                      "--dense-last-rows", "4"}),
                 kUsage, {"--last-block-dense is --dense-last-rows 2", "give one"});
  const TinyRun tiny;
  expect_refusal(seer_train({"generate", "--model", tiny.model().string(), "--prompt", "a"}), kFailure,
                 {tiny.model().string(), "tokenizer.json"});
}

}  // namespace
}  // namespace seer::test
