// The frozen base model's tensors, by layer: const views, never gradients.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/io/model_files.h"
#include "src/model/layer_gather.h"
#include "src/model/model_config.h"
#include "src/ops/backend.h"

namespace seer {

/// One decoder layer (SEMANTICS 1). Norm weights are in the backend's activation dtype, matrices as stored.
struct LayerWeights {
  ConstTensor input_norm;  ///< [hidden]
  ConstTensor post_norm;   ///< [hidden]
  ConstTensor q_norm;      ///< [D], or empty
  ConstTensor k_norm;      ///< [D], or empty
  StackedLinear qkv;       ///< q [H*D, hidden], k and v [G*D, hidden]
  StackedLinear o;         ///< [hidden, H*D]
  StackedLinear gate_up;   ///< gate and up [intermediate, hidden]
  StackedLinear down;      ///< [hidden, intermediate]
};

struct WeightOptions {
  /// Layers are read from the files as the sweep comes to them (WeightStream), not kept on the device.
  bool stream = false;
  int read_threads = 4;  ///< Of a stream
  /// Whether final_norm() and lm_head() are wanted: training has no use for them.
  bool head = true;
  /// The ranks that keep one copy of the layers between them, a slice of every layer each; null: this rank has all.
  Communicator* shard = nullptr;
  Queue* exchange = nullptr;  ///< Of the collectives of `shard`
};

/// All weights of a model. Where the backend reads host memory, matrices are views of the memory-mapped
/// files, so a layer costs memory only while its pages are in use; elsewhere they are copied to the backend
/// once.
class FrozenWeights {
 public:
  /// Opens the model in `folder` and checks every tensor's presence, shape and dtype (bf16, fp16 or fp32)
  /// against `config`. Throws Error naming file and tensor. Needs the queue only during construction.
  FrozenWeights(Backend& backend, Queue& queue, const ModelConfig& config,
                const std::filesystem::path& folder, const WeightOptions& options = {});

  /// Views with no memory behind them, for planning; dtypes are those of `files`, or bf16 if that is null.
  static FrozenWeights shapes(const ModelConfig& config, const Backend& backend, const ModelFiles* files,
                              const WeightOptions& options = {});

  /// A model of this shape with random bf16 weights (matrices normal with standard deviation 0.02, norms 1), for
  /// measurements.
  static FrozenWeights random(Backend& backend, Queue& queue, const ModelConfig& config, uint64_t seed,
                              const WeightOptions& options = {});

  /// The same views without what stands behind them: for planning sweeps, which touch nothing.
  FrozenWeights shapes_of(int64_t num_layers) const;

  ConstTensor embedding() const { return embedding_; }  ///< [vocab, hidden]
  /// Not of layers that come and go.
  const LayerWeights& layer(int64_t i) const;

  /// A layer for the operations that `queue` is given until end_layer(). Streamed layers must be taken in their order,
  /// one sweep after another.
  const LayerWeights& begin_layer(Queue& queue, int64_t i);
  /// Between the two, once: the layer after it may be brought here, behind the exchanges enqueued so far.
  void prefetch_layer();
  void end_layer(Queue& queue, int64_t i);
  ConstTensor final_norm() const { return final_norm_; }     ///< [hidden]
  const StackedLinear& lm_head() const { return lm_head_; }  ///< [vocab, hidden], the embedding's if tied
  /// Bytes of all tensors as they are held: of streamed layers, those that are on the device at a time.
  int64_t bytes() const { return bytes_; }
  bool streamed() const { return streamed_; }
  /// Bytes that a sweep reads from the files; 0 if the weights are not streamed.
  int64_t bytes_read_per_sweep() const;
  /// ModelFiles::fingerprint() of a model read from files.
  uint32_t fingerprint() const { return files_->fingerprint(); }

 private:
  struct Slot;
  class Uploader;
  class Placement;
  /// Sets the views of one group of slots: a layer, or what is outside the layers.
  using Fill = std::function<void(std::span<const Slot>)>;
  /// What a tensor is stored as, and its values.
  using StoredDType = std::function<DType(const Slot&)>;
  using Values = std::function<const std::byte*(const Slot&)>;

  FrozenWeights() = default;
  void fill_outer(const ModelConfig& config, const Fill& fill_group);
  static void fill_layer(const ModelConfig& config, int64_t i, LayerWeights& layer, const Fill& fill_group);
  void fill(const ModelConfig& config, const Fill& fill_group);
  void load_group(std::span<const Slot> slots, Backend& backend, Uploader& uploader);
  void copy_group(std::span<const Slot> slots, Backend& backend, Uploader& uploader,
                  const StoredDType& stored, const Values& values);
  std::vector<std::vector<WeightStream::Piece>> list_pieces(Backend& backend, const ModelConfig& config);
  void start_stream(Backend& backend, const ModelConfig& config, const WeightOptions& options);
  void keep_slices(Backend& backend, const ModelConfig& config, const WeightOptions& options,
                   Uploader& uploader, const StoredDType& stored, const Values& values);
  void view_slots(const Backend& backend, const ModelConfig& config, const StoredDType& stored,
                  const std::function<void*(int)>& slot);

  std::optional<ModelFiles> files_;
  std::vector<Buffer>
      owned_;  // one for each group that holds what could not be left where the file is mapped
  ConstTensor embedding_;
  ConstTensor final_norm_;
  StackedLinear lm_head_;
  std::vector<LayerWeights> layers_;  // where they come and go: one for each slot
  bool head_ = true;
  bool streamed_ = false;
  bool in_slots_ = false;  // layers come and go: streamed, sharded or both
  int64_t bytes_ = 0;
  int64_t layer_bytes_ = 0;               // of one layer, where all are held
  std::unique_ptr<WeightStream> stream_;  // reads files_
  std::unique_ptr<LayerGather> gather_;   // may have a stream of its own
};

}  // namespace seer
