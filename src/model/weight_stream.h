// Layers of a frozen model that does not fit the device: read from its files, layer by layer, while the layer
// before computes.
//
//   reader thread   | read 0 | read 1 | ...        | read 2 |          pread in parallel into pinned stages
//   copy queue        copy 0 | copy 1              | copy 2 |          into slot 0, 1, 0, ..
//   compute queue             begin(0) .. end(0) | begin(1) .. end(1) | begin(2) ..
//
// Layers come in the order 0 .. L-1, again and again, as sweeps take them: layer 0 of the next sweep is read during
// the last layers of this one.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "src/core/thread_pool.h"
#include "src/io/file_reader.h"
#include "src/io/model_files.h"
#include "src/ops/backend.h"

namespace seer {

class WeightStream {
 public:
  static constexpr int kSlots = 2;

  /// One tensor of a layer: where its bytes lie in the files, and where they go in a slot.
  struct Piece {
    FileLocation from;
    DType stored;
    int64_t numel;
    size_t offset;  ///< In the slot
    DType dtype;    ///< In the slot; converted on the way if it is not `stored`
  };

  /// Starts reading at once. `layers` holds the pieces of every layer, which all end within `slot_bytes`.
  WeightStream(Backend& backend, std::vector<std::vector<Piece>> layers, size_t slot_bytes, int read_threads);
  ~WeightStream();
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  /// Waits until the layer's copy is under way, and makes `queue` wait until it has arrived; returns the slot's number.
  /// Layers must be asked for in their order. Throws what reading failed with.
  int begin(Queue& queue, int64_t layer);
  /// What `queue` was given until now is the last that uses the layer.
  void end(Queue& queue, int64_t layer);

  void* slot(int number) const { return slots_[number].data(); }
  size_t device_bytes() const;
  /// As the files hold them.
  int64_t bytes_per_sweep() const;

 private:
  /// A pinned buffer on its way to the device.
  struct Stage {
    Buffer host;
    std::unique_ptr<Event> copied;
  };

  void read_layers();
  bool wait_for_room(int64_t turn);
  void read_layer(const std::vector<Piece>& pieces, void* slot);
  void fill_stage(const Piece& piece, int64_t begin, int64_t count, void* to);

  Backend& backend_;
  const std::vector<std::vector<Piece>> layers_;
  std::map<std::filesystem::path, std::unique_ptr<FileReader>> files_;
  std::array<Buffer, kSlots> slots_;
  std::array<std::unique_ptr<Event>, kSlots> ready_;
  std::array<std::unique_ptr<Event>, kSlots> free_;
  std::array<Stage, 3> stages_;
  size_t next_stage_ = 0;
  ThreadPool readers_;

  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t copied_ = 0;  // turns whose copies have been enqueued; turn t is layer t % L in slot t % kSlots
  int64_t begun_ = 0;
  int64_t ended_ = 0;
  bool stop_ = false;
  std::exception_ptr failure_;

  std::unique_ptr<Queue> copy_queue_;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace seer
