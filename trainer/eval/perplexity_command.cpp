#include <cstdio>

#include <fmt/format.h>

#include "data/held_out_windows.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/perplexity.h"

namespace seer {
namespace {

std::vector<ScoringMethod> methods_of(const EvalPerplexityOptions& options) {
  std::vector<std::string> names = options.methods;
  if (names.empty()) {
    if (!options.model.gates.empty()) names.emplace_back("gate");
    names.insert(names.end(), {"window", "oracle"});
  }
  std::vector<ScoringMethod> methods;
  for (const std::string& name : names) {
    methods.push_back(parse_scoring_method(name));
    if (methods.back().kind == ScoringMethod::Kind::kGate && options.model.gates.empty())
      fail_usage("--methods gate needs --gates: a folder with trained gates");
  }
  return methods;
}

std::vector<std::vector<int32_t>> documents_of(const EvalPerplexityOptions& options, const EvalModel& model) {
  LoaderOptions data;
  data.files = options.data;
  data.text_field = options.text_field;
  data.vocab_size = model.config().vocab_size;
  std::optional<TokenizerEncoder> encoder;
  if (model.tokenizer() != nullptr)
    encoder.emplace(model.shared_tokenizer(), detect_chat_format(*model.tokenizer()));
  std::vector<std::vector<int32_t>> documents = read_documents(data, encoder ? &*encoder : nullptr);
  if (options.documents > 0 && static_cast<int64_t>(documents.size()) > options.documents)
    documents.resize(options.documents);
  return documents;
}

}  // namespace

int eval_perplexity_command(const EvalPerplexityOptions& options) {
  const std::vector<ScoringMethod> methods = methods_of(options);
  SelectionFlags selection = options.selection;
  if (!selection.any()) selection.densities = {0.1, 0.2, 0.3, 0.5};
  const std::vector<SelectionRule> rules = selection.rules();
  for (const int64_t length : options.lengths) {
    if (length < 2) fail_usage("--seq {}: a window has at least 2 tokens", length);
  }
  EvalModel model(options.model, *std::max_element(options.lengths.begin(), options.lengths.end()));
  log::info("{} on {}: {} layers, blocks of {}", options.model.model, model.backend().name(),
            model.config().num_layers, model.block_size());
  const std::vector<std::vector<int32_t>> documents = documents_of(options, model);
  std::optional<int32_t> bos;
  if (model.tokenizer() != nullptr) bos = model.tokenizer()->bos_id();

  std::vector<PerplexityResult> results;
  for (const int64_t length : options.lengths) {
    PerplexityOptions measured{
        .windows = cut_windows(documents, {.length = length,
                                           .per_document = options.windows,
                                           .bos = bos,
                                           .keep_document_bos = options.keep_document_bos}),
        .methods = methods,
        .rules = rules,
        .values = {},
        .dense_layers = selection.dense_layers,
        .recall = !options.no_recall};
    if (measured.windows.empty()) {
      fail("--seq {}: none of the {} documents of --data is that long", length, documents.size());
    }
    if (!selection.values_file.empty())
      measured.values = read_head_values(selection.values_file, model.config());
    if (selection.calibrated) measured.values = calibrated_thresholds(options.model.gates, model.config());
    results.push_back(measure_perplexity(model, measured));
  }
  fmt::print("{}", perplexity_table(results));
  if (!options.json.empty()) {
    write_file_atomically(options.json,
                          perplexity_json(model, fmt::format("{}", fmt::join(options.data, ",")), results));
    fmt::print("written to {}\n", options.json);
  }
  return 0;
}

}  // namespace seer
