#include "trainer/eval/generator.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include <nlohmann/json.hpp>

#include "data/unicode.h"
#include "src/core/error.h"
#include "src/io/json_file.h"
#include "src/sparse/kv_cache.h"
#include "trainer/eval/plans.h"

namespace seer {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void add_id(std::vector<int32_t>& ids, int64_t id) {
  const auto value = static_cast<int32_t>(id);
  if (std::find(ids.begin(), ids.end(), value) == ids.end()) ids.push_back(value);
}

/// Whether bytes yet to come can make a character of `rest`, which is none.
bool may_become_character(std::string_view rest) {
  const auto lead = static_cast<unsigned char>(rest.front());
  const size_t length = lead >= 0xc2 && lead < 0xe0   ? 2
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xf0 && lead < 0xf5 ? 4
                                                      : 0;
  return rest.size() < length && std::all_of(rest.begin() + 1, rest.end(), [](char byte) {
           return (static_cast<unsigned char>(byte) & 0xc0U) == 0x80;
         });
}

/// Bytes of `text` before a character at its end that is not whole yet. Bytes that can never become one count as they are.
size_t whole_characters(std::string_view text) {
  size_t at = 0;
  for (;;) {
    at += valid_utf8_prefix(text.substr(at));
    if (at == text.size() || may_become_character(text.substr(at))) return at;
    ++at;
  }
}

double density_of(const ForwardPass& pass) {
  double kept = 0;
  double all = 0;
  for (const std::vector<double>& layer : pass.kept()) {
    for (const double blocks : layer) {
      kept += blocks;
      all += pass.visible_blocks();
    }
  }
  return kept / all;
}

}  // namespace

std::vector<int32_t> stop_ids_of(const fs::path& folder, const ModelConfig& config,
                                 const Tokenizer* tokenizer) {
  std::vector<int32_t> ids;
  for (const int64_t id : config.eos_token_ids) add_id(ids, id);
  const fs::path file = folder / "generation_config.json";
  if (fs::exists(file)) {
    const nlohmann::json json = read_json_file(file);
    const auto eos = json.find("eos_token_id");
    if (eos != json.end() && eos->is_number_integer()) add_id(ids, eos->get<int64_t>());
    if (eos != json.end() && eos->is_array()) {
      for (const auto& id : *eos) {
        if (!id.is_number_integer()) fail("{}: eos_token_id holds {}, no token id", file.string(), id.dump());
        add_id(ids, id.get<int64_t>());
      }
    }
  }
  if (tokenizer != nullptr) {
    for (const char* token : {"<|eot_id|>", "<|eom_id|>", "<|im_end|>"}) {
      if (const auto id = tokenizer->token_to_id(token)) add_id(ids, *id);
    }
  }
  return ids;
}

std::string_view TextStream::add(std::string_view bytes) {
  if (stopped_) return {};
  text_ += bytes;
  // Nothing that may begin a stop has been shown. Of several stops, the first in the text counts.
  size_t found = std::string::npos;
  for (const std::string& stop : stops_) found = std::min(found, text_.find(stop, shown_));
  if (found != std::string::npos) {
    text_.resize(found);
    stopped_ = true;
    return release(found);
  }
  size_t certain = shown_ + whole_characters(std::string_view(text_).substr(shown_));
  for (const std::string& stop : stops_) {  // the end of the text may be the beginning of a stop
    for (size_t length = std::min(stop.size() - 1, text_.size() - shown_); length > 0; --length) {
      if (std::string_view(text_).substr(text_.size() - length) == std::string_view(stop).substr(0, length)) {
        certain = std::min(certain, text_.size() - length);
        break;
      }
    }
  }
  return release(certain);
}

std::string_view TextStream::finish() {
  return release(text_.size());
}

std::string_view TextStream::release(size_t end) {
  const size_t begin = std::min(shown_, end);
  shown_ = std::max(shown_, end);
  return std::string_view(text_).substr(begin, end - begin);
}

Generator::Generator(EvalModel& model, std::vector<ScoringMethod> methods)
    : model_(model),
      pass_(model.backend(), model.config(), model.weights(), model.gates(),
            {.max_tokens = model.max_tokens(),
             .block_size = model.block_size(),
             .methods = std::move(methods),
             .visitor = {}}),
      cache_(model.backend(), model.config(), model.max_tokens()) {
  if (model.tokenizer() == nullptr)
    fail("{} has no tokenizer.json or vocab.json: text cannot be generated", model.options().model);
}

Generation Generator::generate(std::span<const int32_t> prompt, const AttentionPlan& plan,
                               const GenerateOptions& options,
                               const std::function<void(std::string_view)>& on_text) {
  const auto length = static_cast<int64_t>(prompt.size());
  if (length == 0) fail("the prompt is empty");
  if (length + 1 > model_.max_tokens())
    fail("the prompt has {} tokens: at most {} were planned for, the answer included", length,
         model_.max_tokens());
  const auto show = [&](std::string_view text) {
    if (on_text && !text.empty()) on_text(text);
  };
  Generation out;
  Sampler sampler(options.sampling);
  TextStream stream(options.stops);
  Clock::time_point start = Clock::now();
  pass_.prefill(prompt, plan, &cache_);
  out.prefill_seconds = since(start);
  out.density = density_of(pass_);
  if (out.density < 1 && !hinted_) hinted_ = hint_at_length({plan}, length);

  start = Clock::now();
  while (static_cast<int64_t>(out.ids.size()) < options.max_new_tokens) {
    std::vector<float> logits = pass_.last_logits();
    if (out.ids.empty()) {
      for (const int32_t banned : options.banned_first) {
        if (banned >= 0 && banned < std::ssize(logits))
          logits[banned] = -std::numeric_limits<float>::infinity();
      }
    }
    const int32_t id = sampler.next(logits);
    if (std::find(options.stop_ids.begin(), options.stop_ids.end(), id) != options.stop_ids.end()) {
      out.stopped = true;
      break;
    }
    out.ids.push_back(id);
    // Embeddings have more rows than the tokenizer has tokens; a model that draws one of those says nothing.
    if (id < model_.tokenizer()->vocab_size()) show(stream.add(model_.tokenizer()->decode({&id, 1}, true)));
    if (stream.stopped()) {
      out.stopped = true;
      break;
    }
    if (static_cast<int64_t>(out.ids.size()) == options.max_new_tokens ||
        cache_.length() == cache_.capacity())
      break;
    pass_.decode(id, cache_);
  }
  if (!stream.stopped()) show(stream.finish());
  out.decode_seconds = since(start);
  out.text = stream.text();
  return out;
}

}  // namespace seer
