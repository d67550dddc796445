#include "trainer/eval/forward_pass.h"

#include <algorithm>
#include <cmath>

#include "src/core/error.h"
#include "trainer/plan_backend.h"

namespace seer {
namespace {

/// Logits of a chunk of rows may take this much memory, score matrices that much.
constexpr size_t kLogitBytes = size_t{128} << 20;
constexpr size_t kScoreBytes = size_t{1} << 30;

TokenSequence one_sequence(std::span<const int32_t> ids) {
  TokenSequence sequence;
  sequence.ids.assign(ids.begin(), ids.end());
  sequence.cu_seqlens = {0, static_cast<int64_t>(ids.size())};
  return sequence;
}

/// Layers are checked one by one as they are computed; what is left are the final norm and the head.
void check_finite(const std::vector<float>& values) {
  for (const float value : values) {
    if (!std::isfinite(value))
      fail(
          "NaN or infinity in the base model's logits: the weights of its final norm or lm_head are damaged");
  }
}

}  // namespace

void upload_by_head(Backend& backend, Queue& queue, const ModelConfig& model,
                    const std::vector<std::vector<float>>& values, Buffer& to) {
  if (values.empty()) return;
  std::vector<float> flat;
  for (const std::vector<float>& layer : values) flat.insert(flat.end(), layer.begin(), layer.end());
  const Shape shape{model.num_layers, model.num_heads};
  SEER_CHECK(static_cast<int64_t>(flat.size()) == shape.numel(), "{} values for {} layers of {} heads",
             flat.size(), model.num_layers, model.num_heads);
  if (to.data() == nullptr) to = backend.allocate(flat.size() * sizeof(float), Memory::kDevice);
  backend.copy(queue, ConstTensor(flat.data(), DType::kF32, shape), to.tensor(DType::kF32, shape));
  backend.synchronize(queue);  // the host copy ends here
}

Tensor values_of_layer(const Buffer& values, const ModelConfig& model, int64_t layer) {
  return values.tensor(DType::kF32, Shape{model.num_layers, model.num_heads})
      .slice_rows(layer, 1)
      .reshape(Shape{model.num_heads});
}

ForwardPass::ForwardPass(Backend& backend, const ModelConfig& model, FrozenWeights& weights,
                         const GateSet* gates, const ForwardOptions& options)
    : backend_(backend),
      model_(model),
      weights_(weights),
      gates_(gates),
      options_(options),
      batch_(backend, {.max_tokens = options.max_tokens, .block_sizes = {options.block_size}, .place = {}}),
      decode_tables_(backend, LayoutTables::bytes_for(1, 0)),
      decode_id_(backend.allocate(sizeof(int32_t), Memory::kDevice)),
      residual_(backend.allocate(
          static_cast<size_t>(options.max_tokens * model.hidden_size) * size_of(backend.activation_dtype()),
          Memory::kDevice)),
      targets_(backend.allocate(options.max_tokens * sizeof(int32_t), Memory::kDevice)),
      nll_(backend.allocate(options.max_tokens * sizeof(float), Memory::kDevice)),
      scalars_(backend.allocate(model.num_layers * (model.num_heads + 1) * sizeof(double), Memory::kDevice)),
      queue_(backend.make_queue("compute")) {
  token_rope_.emplace(backend, *queue_, rope_frequencies(model.rope, model.head_dim), options.max_tokens);
  arena_ = std::make_unique<Arena>(backend.allocate(plan_arena(), Memory::kDevice));
  backend_.synchronize(*queue_);
}

size_t ForwardPass::device_bytes() const {
  return token_rope_->bytes() + batch_.device_bytes() + residual_.bytes() + targets_.bytes() + nll_.bytes() +
         scalars_.bytes() + arena_->peak();
}

/// Rows of logits that are computed at a time.
int64_t ForwardPass::head_rows() const {
  const size_t row_bytes = static_cast<size_t>(model_.vocab_size) * size_of(backend_.activation_dtype());
  return std::clamp<int64_t>(static_cast<int64_t>(kLogitBytes / row_bytes), 1, options_.max_tokens);
}

/// The most that any of the methods takes: each is run on a backend that does nothing. One row of decoding takes less.
size_t ForwardPass::plan_arena() {
  PlanBackend plan(backend_);
  const auto queue = plan.make_queue("plan");
  FrozenWeights weights = weights_.shapes_of(model_.num_layers);
  Arena arena = Arena::measuring();
  LayerContext context{plan, *queue, arena};
  context.score_bytes = kScoreBytes;
  const std::vector<int32_t> ids(options_.max_tokens);
  batch_.assign(plan, *queue, one_sequence(ids));
  const Rows rows{batch_.ids(), batch_.layout(), &batch_.blocks(options_.block_size), 0};
  const Tensor x =
      residual_.tensor(backend_.activation_dtype(), Shape{options_.max_tokens, model_.hidden_size});
  run(context, weights, rows, {}, nullptr, x);
  for (const ScoringMethod& method : options_.methods)
    run(context, weights, rows, {.method = method}, nullptr, x);
  head_logits(context, weights, x.slice_rows(0, head_rows()));
  return arena.peak();
}

void ForwardPass::prefill(std::span<const int32_t> ids, const AttentionPlan& plan, KvCache* cache) {
  SEER_CHECK(!ids.empty() && static_cast<int64_t>(ids.size()) <= options_.max_tokens,
             "{} tokens in a pass of {}", ids.size(), options_.max_tokens);
  SEER_CHECK(cache == nullptr || cache->capacity() >= static_cast<int64_t>(ids.size()),
             "{} tokens in a cache of {}", ids.size(), cache->capacity());
  batch_.assign(backend_, *queue_, one_sequence(ids));
  upload_by_head(backend_, *queue_, model_, plan.values, values_);
  backend_.fill_zero(*queue_,
                     scalars_.tensor(DType::kF64, Shape{model_.num_layers * (model_.num_heads + 1)}));
  rows_ = static_cast<int64_t>(ids.size());
  LayerContext context{backend_, *queue_, *arena_};
  context.score_bytes = kScoreBytes;
  const ScoreLayout& blocks = batch_.blocks(options_.block_size);
  run(context, weights_, {batch_.ids(), batch_.layout(), &blocks, 0}, plan, cache,
      residual_.tensor(backend_.activation_dtype(), Shape{rows_, model_.hidden_size}));
  if (cache != nullptr) cache->set_length(rows_);
  visible_blocks_ = static_cast<double>(blocks.max_blocks * (blocks.max_blocks + 1)) / 2;
  read_scalars(plan);
}

void ForwardPass::decode(int32_t id, KvCache& cache) {
  const int64_t position = cache.length();
  SEER_CHECK(position < cache.capacity() && position < options_.max_tokens, "token {} in a cache of {}",
             position, cache.capacity());
  const RowSpan row{0, 1, position};
  decode_layout_.segments.host = {{.queries = row, .key_row = 0, .length = position + 1, .sequence = 0}};
  decode_layout_.rows.host = {row};
  decode_layout_.key_rows.host = {row};
  decode_layout_.sequences = 1;
  decode_layout_.num_query_rows = 1;
  decode_layout_.num_key_rows = position + 1;
  decode_tables_.reset();
  decode_tables_.upload(backend_, *queue_, decode_layout_);
  const Tensor ids = decode_id_.tensor(DType::kI32, Shape{1});
  backend_.copy(*queue_, ConstTensor(&id, DType::kI32, Shape{1}), ids);
  rows_ = 1;
  LayerContext context{backend_, *queue_, *arena_};
  run(context, weights_, {ids, decode_layout_, nullptr, position}, {}, &cache,
      residual_.tensor(backend_.activation_dtype(), Shape{1, model_.hidden_size}));
  backend_.synchronize(*queue_);
  cache.set_length(position + 1);
}

void ForwardPass::run(LayerContext& context, FrozenWeights& weights, const Rows& rows,
                      const AttentionPlan& plan, KvCache* cache, Tensor x) {
  context.backend.embed(context.queue, rows.ids, weights.embedding(), x);
  for (int64_t number = 0; number < model_.num_layers; ++number) {
    const LayerWeights& layer = weights.begin_layer(context.queue, number);
    const Qkv qkv = project_qkv(context, model_, layer, x, /*need_output=*/true);
    const LayerHeads heads = heads_of(context, qkv, rows, cache, number);
    LayerGate gate;
    const LayerSelection selected = selection(plan, number, gate);
    if (options_.visitor && rows.blocks != nullptr && !plan.method) {
      const Arena::Scope scope(context.arena);
      options_.visitor(context, heads, number);
    }
    const Tensor attention = sparse_layer(context, heads, selected, number);
    finish_layer(context, model_, layer,
                 attention.reshape(Shape{x.rows(), model_.num_heads * model_.head_dim}), x);
    const int64_t flags = model_.num_layers * model_.num_heads;
    context.backend.flag_not_finite(
        context.queue, x,
        scalars_.tensor(DType::kF64, Shape{flags + model_.num_layers}).slice_rows(flags + number, 1));
    context.arena.reset();
    weights.prefetch_layer();
    weights.end_layer(context.queue, number);
  }
}

LayerHeads ForwardPass::heads_of(LayerContext& context, const Qkv& qkv, const Rows& rows, KvCache* cache,
                                 int64_t layer) {
  Tensor keys;
  Tensor values;
  if (cache != nullptr) {
    keys = cache->keys(layer).slice_rows(rows.position, rows.layout.num_query_rows);
    values = cache->values(layer).slice_rows(rows.position, rows.layout.num_query_rows);
  }
  LayerHeads heads =
      rotate_heads(context, qkv.q_pre, qkv.k_pre, qkv.v, rows.layout, token_rope_->table(), keys, values);
  heads.blocks = rows.blocks;
  if (cache != nullptr) {
    heads.k = cache->keys(layer);
    heads.v = cache->values(layer);
  }
  return heads;
}

LayerSelection ForwardPass::selection(const AttentionPlan& plan, int64_t layer, LayerGate& gate) {
  if (!plan.method || layer < plan.dense_layers) return {};
  LayerSelection out{.method = &*plan.method, .rule = plan.rule};
  if (!plan.values.empty()) out.values = values_of_layer(values_, model_, layer);
  if (plan.method->kind == ScoringMethod::Kind::kGate) {
    SEER_CHECK(gates_ != nullptr, "a gate that was not loaded");
    gate = gates_->layer(layer);
    out.gate = &gate;
  }
  out.kept = scalars_.tensor(DType::kF64, Shape{model_.num_layers, model_.num_heads})
                 .slice_rows(layer, 1)
                 .reshape(Shape{model_.num_heads});
  return out;
}

void ForwardPass::read_scalars(const AttentionPlan& plan) {
  const int64_t heads = model_.num_heads;
  const Shape shape{model_.num_layers * (heads + 1)};
  std::vector<double> host(shape.numel());
  backend_.copy(*queue_, scalars_.tensor(DType::kF64, shape), Tensor(host.data(), DType::kF64, shape));
  backend_.synchronize(*queue_);
  kept_.clear();
  for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
    if (host[model_.num_layers * heads + layer] != 0) {
      fail(
          "NaN or infinity in the base model's activations of layer {}: the model's weights are damaged, or "
          "do not fit its config.json",
          layer);
    }
    const bool dense = !plan.method || layer < plan.dense_layers;
    const double* row = host.data() + layer * heads;
    kept_.emplace_back(dense ? std::vector<double>(heads, visible_blocks_)
                             : std::vector<double>(row, row + heads));
  }
}

Tensor ForwardPass::head_logits(LayerContext& context, FrozenWeights& weights, ConstTensor rows) {
  const Tensor logits =
      context.arena.tensor(context.backend.activation_dtype(), Shape{rows.rows(), model_.vocab_size});
  lm_head(context, model_, weights, rows, logits);
  return logits;
}

std::vector<float> ForwardPass::nll(std::span<const int32_t> targets) {
  SEER_CHECK(static_cast<int64_t>(targets.size()) == rows_, "{} targets for {} rows", targets.size(), rows_);
  LayerContext context{backend_, *queue_, *arena_};
  const Shape shape{rows_};
  const Tensor wanted = targets_.tensor(DType::kI32, shape);
  const Tensor out = nll_.tensor(DType::kF32, shape);
  backend_.copy(*queue_, ConstTensor(targets.data(), DType::kI32, shape), wanted);
  const Tensor x = residual_.tensor(backend_.activation_dtype(), Shape{rows_, model_.hidden_size});
  for (int64_t begin = 0; begin < rows_; begin += head_rows()) {
    const Arena::Scope scope(*arena_);
    const int64_t count = std::min(head_rows(), rows_ - begin);
    const Tensor logits = head_logits(context, weights_, x.slice_rows(begin, count));
    backend_.token_nll(*queue_, logits, wanted.slice_rows(begin, count), out.slice_rows(begin, count));
  }
  std::vector<float> host(rows_);
  backend_.copy(*queue_, out, Tensor(host.data(), DType::kF32, shape));
  backend_.synchronize(*queue_);
  check_finite(host);
  return host;
}

std::vector<float> ForwardPass::last_logits() {
  LayerContext context{backend_, *queue_, *arena_};
  const Arena::Scope scope(*arena_);
  const Tensor x = residual_.tensor(backend_.activation_dtype(), Shape{rows_, model_.hidden_size});
  const Tensor logits = head_logits(context, weights_, x.slice_rows(rows_ - 1, 1));
  std::vector<std::byte> stored(model_.vocab_size * size_of(logits.dtype()));
  backend_.copy(*queue_, logits, Tensor(stored.data(), logits.dtype(), logits.shape()));
  backend_.synchronize(*queue_);
  std::vector<float> host(model_.vocab_size);
  convert_to_f32(stored.data(), logits.dtype(), model_.vocab_size, host.data());
  check_finite(host);
  return host;
}

}  // namespace seer
