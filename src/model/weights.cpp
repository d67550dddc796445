#include "src/model/weights.h"

#include <algorithm>
#include <cstdint>
#include <memory>

#include "src/core/error.h"
#include "src/model/weight_slots.h"

namespace seer {
namespace {

/// A tensor of the files, checked against the shape config.json asks for.
const NamedTensor& checked(const ModelFiles& files, const std::string& name, const Shape& shape) {
  const NamedTensor& tensor = files.at(name);
  std::vector<int64_t> expected;
  expected.reserve(shape.rank());
  for (int axis = 0; axis < shape.rank(); ++axis) expected.push_back(shape[axis]);
  if (tensor.shape != expected) {
    fail("{}: tensor {} is {}: config.json asks for {}", files.folder().string(), name,
         shape_text(tensor.shape), shape_text(expected));
  }
  if (tensor.dtype != DType::kBF16 && tensor.dtype != DType::kF16 && tensor.dtype != DType::kF32) {
    fail("{}: tensor {} is {}: expected BF16, F16 or F32", files.folder().string(), name,
         name_of(tensor.dtype));
  }
  return tensor;
}

/// What a slice of a layer holds of one tensor: elements [first, first + count), at `offset` of the slice.
struct Cut {
  int64_t first = 0;
  int64_t count = 0;
  size_t offset = 0;
};
Cut cut_to_slice(size_t tensor, int64_t numel, size_t element, size_t slice, size_t slice_bytes) {
  const size_t begin = std::max(tensor, slice);
  const size_t end = std::min(tensor + numel * element, slice + slice_bytes);
  if (begin >= end) return {};
  return {.first = static_cast<int64_t>((begin - tensor) / element),
          .count = static_cast<int64_t>((end - begin) / element),
          .offset = begin - slice};
}

}  // namespace

FrozenWeights::FrozenWeights(Backend& backend, Queue& queue, const ModelConfig& config,
                             const std::filesystem::path& folder, const WeightOptions& options)
    : files_(folder), head_(options.head), streamed_(options.stream) {
  Uploader uploader(backend, queue);
  const Fill load = [&](std::span<const Slot> slots) { load_group(slots, backend, uploader); };
  if (options.stream) {
    fill_outer(config, load);
    start_stream(backend, config, options);
  } else if (options.shard != nullptr) {
    fill_outer(config, load);
    keep_slices(
        backend, config, options, uploader,
        [&](const Slot& slot) { return checked(*files_, slot.name, slot.shape).dtype; },
        [&](const Slot& slot) { return files_->at(slot.name).bytes.data(); });
  } else {
    fill(config, load);
  }
  uploader.finish();
}

/// Views of the mapped files where operations can read them there; copies of the rest in one buffer.
void FrozenWeights::load_group(std::span<const Slot> slots, Backend& backend, Uploader& uploader) {
  std::vector<Slot> copied;
  for (const Slot& slot : slots) {
    const NamedTensor& tensor = checked(*files_, slot.name, slot.shape);
    const bool aligned = reinterpret_cast<uintptr_t>(tensor.bytes.data()) % size_of(tensor.dtype) == 0;
    if (slot.dtype(backend, tensor.dtype) == tensor.dtype && aligned && backend.reads_host_memory()) {
      *slot.view = ConstTensor(tensor.bytes.data(), tensor.dtype, slot.shape);
    } else {
      copied.push_back(slot);
    }
  }
  copy_group(
      copied, backend, uploader, [&](const Slot& slot) { return files_->at(slot.name).dtype; },
      [&](const Slot& slot) { return files_->at(slot.name).bytes.data(); });
}

/// Gives the slots one buffer of the backend and copies their values to it: `stored` says as what `values` has them.
void FrozenWeights::copy_group(std::span<const Slot> slots, Backend& backend, Uploader& uploader,
                               const StoredDType& stored, const Values& values) {
  if (slots.empty()) return;
  Placement placement;
  std::vector<size_t> offsets;
  offsets.reserve(slots.size());
  for (const Slot& slot : slots) offsets.push_back(placement.add(slot, slot.dtype(backend, stored(slot))));
  owned_.push_back(backend.allocate(placement.bytes(), Memory::kDevice));
  for (size_t i = 0; i < slots.size(); ++i) {
    const DType dtype = stored(slots[i]);
    const Tensor device(static_cast<char*>(owned_.back().data()) + offsets[i], slots[i].dtype(backend, dtype),
                        slots[i].shape);
    uploader.upload(values(slots[i]), dtype, device);
    *slots[i].view = device;
  }
}

std::vector<std::vector<WeightStream::Piece>> FrozenWeights::list_pieces(Backend& backend,
                                                                         const ModelConfig& config) {
  std::vector<std::vector<WeightStream::Piece>> layers(config.num_layers);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    LayerWeights ignored;
    fill_layer(config, i, ignored, [&](std::span<const Slot> slots) {
      Placement placement;
      for (const Slot& slot : slots) {
        const NamedTensor& tensor = checked(*files_, slot.name, slot.shape);
        const DType dtype = slot.dtype(backend, tensor.dtype);
        layers[i].push_back({.from = files_->locate(tensor),
                             .stored = tensor.dtype,
                             .numel = slot.shape.numel(),
                             .offset = placement.add(slot, dtype),
                             .dtype = dtype});
      }
    });
    const bool alike =
        std::equal(layers[0].begin(), layers[0].end(), layers[i].begin(), layers[i].end(),
                   [](const auto& a, const auto& b) { return a.offset == b.offset && a.dtype == b.dtype; });
    if (!alike) {
      fail("{}: layer {} is stored in other dtypes than layer 0: such a model cannot be streamed",
           files_->folder().string(), i);
    }
  }
  return layers;
}

/// The pieces of a layer, or of this rank's slice of it.
void FrozenWeights::start_stream(Backend& backend, const ModelConfig& config, const WeightOptions& options) {
  std::vector<std::vector<WeightStream::Piece>> layers = list_pieces(backend, config);
  const WeightStream::Piece& last = layers.front().back();
  const size_t layer_bytes = last.offset + last.numel * size_of(last.dtype);
  const StoredDType stored = [&](const Slot& slot) { return files_->at(slot.name).dtype; };
  if (options.shard == nullptr) {
    stream_ = std::make_unique<WeightStream>(backend, std::move(layers), layer_bytes, options.read_threads);
    view_slots(backend, config, stored, [&](int number) { return stream_->slot(number); });
    bytes_ += static_cast<int64_t>(stream_->device_bytes());
    return;
  }
  const size_t slice = LayerGather::slice_bytes(layer_bytes, options.shard->size());
  for (std::vector<WeightStream::Piece>& pieces : layers) {
    std::vector<WeightStream::Piece> own;
    for (WeightStream::Piece piece : pieces) {
      const auto cut =
          cut_to_slice(piece.offset, piece.numel, size_of(piece.dtype), options.shard->rank() * slice, slice);
      if (cut.count == 0) continue;
      piece.from.offset += cut.first * static_cast<int64_t>(size_of(piece.stored));
      piece.numel = cut.count;
      piece.offset = cut.offset;
      own.push_back(std::move(piece));
    }
    pieces = std::move(own);
  }
  gather_ = std::make_unique<LayerGather>(
      backend, *options.shard, *options.exchange, config.num_layers, layer_bytes,
      std::make_unique<WeightStream>(backend, std::move(layers), slice, options.read_threads));
  view_slots(backend, config, stored, [&](int number) { return gather_->slot(number); });
  bytes_ += static_cast<int64_t>(
      LayerGather::planned_bytes(config.num_layers, layer_bytes, options.shard->size(), /*stream=*/true));
}

/// This rank's slices of all layers, on the device.
void FrozenWeights::keep_slices(Backend& backend, const ModelConfig& config, const WeightOptions& options,
                                Uploader& uploader, const StoredDType& stored, const Values& values) {
  size_t layer_bytes = 0;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    LayerWeights ignored;
    fill_layer(config, i, ignored, [&](std::span<const Slot> slots) {
      Placement placement;
      for (const Slot& slot : slots) placement.add(slot, slot.dtype(backend, stored(slot)));
      SEER_CHECK(i == 0 || placement.bytes() == layer_bytes, "layer {} has {} bytes, layer 0 {}", i,
                 placement.bytes(), layer_bytes);
      layer_bytes = placement.bytes();
    });
  }
  gather_ = std::make_unique<LayerGather>(backend, *options.shard, *options.exchange, config.num_layers,
                                          layer_bytes);
  const size_t slice = LayerGather::slice_bytes(layer_bytes, options.shard->size());
  for (int64_t i = 0; i < config.num_layers; ++i) {
    auto* own = static_cast<char*>(gather_->slice(i).raw());
    LayerWeights ignored;
    fill_layer(config, i, ignored, [&](std::span<const Slot> slots) {
      Placement placement;
      for (const Slot& slot : slots) {
        const DType from = stored(slot);
        const DType dtype = slot.dtype(backend, from);
        const size_t offset = placement.add(slot, dtype);
        const auto cut =
            cut_to_slice(offset, slot.shape.numel(), size_of(dtype), options.shard->rank() * slice, slice);
        if (cut.count == 0) continue;
        uploader.upload(values(slot) + cut.first * size_of(from), from,
                        Tensor(own + cut.offset, dtype, Shape{cut.count}));
      }
    });
  }
  view_slots(backend, config, stored, [&](int number) { return gather_->slot(number); });
  bytes_ += static_cast<int64_t>(
      LayerGather::planned_bytes(config.num_layers, layer_bytes, options.shard->size(), /*stream=*/false));
}

/// Layers come and go in slots.
void FrozenWeights::view_slots(const Backend& backend, const ModelConfig& config, const StoredDType& stored,
                               const std::function<void*(int)>& slot_data) {
  static_assert(WeightStream::kSlots == LayerGather::kSlots);
  in_slots_ = true;
  layers_.resize(LayerGather::kSlots);
  for (int number = 0; number < LayerGather::kSlots; ++number) {
    fill_layer(config, 0, layers_[number], [&](std::span<const Slot> slots) {
      Placement placement;
      for (const Slot& slot : slots) {
        const DType dtype = slot.dtype(backend, stored(slot));
        const char* data = static_cast<char*>(slot_data(number)) + placement.add(slot, dtype);
        *slot.view = ConstTensor(data, dtype, slot.shape);
      }
    });
  }
}

FrozenWeights FrozenWeights::shapes_of(int64_t num_layers) const {
  FrozenWeights weights;
  weights.embedding_ = embedding_;
  weights.final_norm_ = final_norm_;
  weights.lm_head_ = lm_head_;
  weights.layers_ = in_slots_ ? std::vector<LayerWeights>(num_layers, layers_.front()) : layers_;
  weights.bytes_ = bytes_;
  return weights;
}

const LayerWeights& FrozenWeights::layer(int64_t i) const {
  SEER_CHECK(!in_slots_, "layer {} of weights that are streamed or sharded", i);
  return layers_[i];
}

const LayerWeights& FrozenWeights::begin_layer(Queue& queue, int64_t i) {
  if (gather_ != nullptr) return layers_[gather_->begin(queue, i)];
  return layers_[stream_ != nullptr ? stream_->begin(queue, i) : i];
}

void FrozenWeights::prefetch_layer() {
  if (gather_ != nullptr) gather_->prefetch();
}

void FrozenWeights::end_layer(Queue& queue, int64_t i) {
  if (gather_ != nullptr) gather_->end(queue, i);
  if (stream_ != nullptr) stream_->end(queue, i);
}

int64_t FrozenWeights::bytes_read_per_sweep() const {
  const WeightStream* stream = gather_ != nullptr ? gather_->stream() : stream_.get();
  return stream != nullptr ? stream->bytes_per_sweep() : 0;
}

FrozenWeights FrozenWeights::shapes(const ModelConfig& config, const Backend& backend,
                                    const ModelFiles* files, const WeightOptions& options) {
  FrozenWeights weights;
  weights.head_ = options.head;
  weights.streamed_ = options.stream;
  static const std::byte nowhere{};  // a non-null address: the planner never reads
  weights.fill(config, [&](std::span<const Slot> slots) {
    for (const Slot& slot : slots) {
      const DType stored = files == nullptr ? DType::kBF16 : checked(*files, slot.name, slot.shape).dtype;
      *slot.view = ConstTensor(&nowhere, slot.dtype(backend, stored), slot.shape);
    }
  });
  if (options.shard != nullptr) {
    Placement placement;
    LayerWeights ignored;
    fill_layer(config, 0, ignored, [&](std::span<const Slot> slots) {
      for (const Slot& slot : slots) {
        placement.add(slot,
                      slot.dtype(backend, files == nullptr ? DType::kBF16 : files->at(slot.name).dtype));
      }
    });
    weights.bytes_ -= weights.layer_bytes_ * config.num_layers;
    weights.bytes_ += static_cast<int64_t>(LayerGather::planned_bytes(config.num_layers, placement.bytes(),
                                                                      options.shard->size(), options.stream));
  } else if (options.stream && config.num_layers > WeightStream::kSlots) {
    weights.bytes_ -= weights.layer_bytes_ * (config.num_layers - WeightStream::kSlots);
  }
  return weights;
}

namespace {

void add_matrix(auto& slots, const std::string& name, int64_t out, int64_t in, ConstTensor& view) {
  slots.push_back({name, Shape{out, in}, false, false, &view});
}

void add_norm(auto& slots, const std::string& name, int64_t size, ConstTensor& view) {
  slots.push_back({name, Shape{size}, true, false, &view});
}

struct Part {
  const char* name;
  int64_t out;
};

/// Weights one behind the other, then biases: a backend can run the stack as one product.
void add_stack(auto& slots, const std::string& prefix, std::initializer_list<Part> parts, int64_t in,
               bool bias, StackedLinear& linear) {
  for (const Part& part : parts) {
    slots.push_back({prefix + part.name + ".weight", Shape{part.out, in}, false, linear.parts > 0,
                     &linear.weight[linear.parts]});
    ++linear.parts;
  }
  int i = 0;
  for (const Part& part : parts) {
    if (!bias) break;
    slots.push_back({prefix + part.name + ".bias", Shape{part.out}, false, i > 0, &linear.bias[i]});
    ++i;
  }
}

int64_t bytes_of(const auto& slots) {
  int64_t bytes = 0;
  for (const auto& slot : slots)
    bytes += slot.view->numel() * static_cast<int64_t>(size_of(slot.view->dtype()));
  return bytes;
}

}  // namespace

void FrozenWeights::fill_outer(const ModelConfig& c, const Fill& fill_group) {
  std::vector<Slot> slots;
  add_matrix(slots, "model.embed_tokens.weight", c.vocab_size, c.hidden_size, embedding_);
  if (head_) {
    add_norm(slots, "model.norm.weight", c.hidden_size, final_norm_);
    lm_head_.parts = 1;
    if (!c.tie_word_embeddings) {
      add_matrix(slots, "lm_head.weight", c.vocab_size, c.hidden_size, lm_head_.weight[0]);
    }
  }
  fill_group(slots);
  if (head_ && c.tie_word_embeddings) lm_head_.weight[0] = embedding_;
  bytes_ += bytes_of(slots);
}

void FrozenWeights::fill_layer(const ModelConfig& c, int64_t i, LayerWeights& layer, const Fill& fill_group) {
  const int64_t q_size = c.num_heads * c.head_dim;
  const int64_t kv_size = c.num_kv_heads * c.head_dim;
  const std::string prefix = fmt::format("model.layers.{}.", i);
  const std::string attention = prefix + "self_attn.";
  const std::string mlp = prefix + "mlp.";
  std::vector<Slot> slots;
  add_norm(slots, prefix + "input_layernorm.weight", c.hidden_size, layer.input_norm);
  add_norm(slots, prefix + "post_attention_layernorm.weight", c.hidden_size, layer.post_norm);
  if (c.qk_norm) {
    add_norm(slots, attention + "q_norm.weight", c.head_dim, layer.q_norm);
    add_norm(slots, attention + "k_norm.weight", c.head_dim, layer.k_norm);
  }
  add_stack(slots, attention, {{"q_proj", q_size}, {"k_proj", kv_size}, {"v_proj", kv_size}}, c.hidden_size,
            c.qkv_bias, layer.qkv);
  add_stack(slots, attention, {{"o_proj", c.hidden_size}}, q_size, c.o_bias, layer.o);
  add_stack(slots, mlp, {{"gate_proj", c.intermediate_size}, {"up_proj", c.intermediate_size}}, c.hidden_size,
            c.mlp_bias, layer.gate_up);
  add_stack(slots, mlp, {{"down_proj", c.hidden_size}}, c.intermediate_size, c.mlp_bias, layer.down);
  fill_group(slots);
}

void FrozenWeights::fill(const ModelConfig& c, const Fill& fill_group) {
  fill_outer(c, fill_group);
  layers_.resize(c.num_layers);
  for (int64_t i = 0; i < c.num_layers; ++i) {
    fill_layer(c, i, layers_[i], [&](std::span<const Slot> slots) {
      fill_group(slots);
      bytes_ += bytes_of(slots);
      if (i == 0) layer_bytes_ = bytes_of(slots);
    });
  }
}

}  // namespace seer
