#include "src/model/weight_stream.h"

#include <algorithm>

#include "src/core/ceil_div.h"

namespace seer {
namespace {

constexpr size_t kStageBytes = size_t{32} << 20;
constexpr int64_t kReadBytes = int64_t{4} << 20;  ///< One worker's share

}  // namespace

WeightStream::WeightStream(Backend& backend, std::vector<std::vector<Piece>> layers, size_t slot_bytes,
                           int read_threads)
    : backend_(backend),
      layers_(std::move(layers)),
      readers_(read_threads),
      copy_queue_(backend.make_queue("weights")) {
  for (const auto& layer : layers_) {
    for (const Piece& piece : layer) {
      auto& file = files_[piece.from.path];
      if (file == nullptr) file = std::make_unique<FileReader>(piece.from.path);
    }
  }
  for (int s = 0; s < kSlots; ++s) {
    slots_[s] = backend.allocate(slot_bytes, Memory::kDevice);
    ready_[s] = backend.make_event();
    free_[s] = backend.make_event();
  }
  for (Stage& stage : stages_) {
    stage = {backend.allocate(kStageBytes, Memory::kHostPinned), backend.make_event()};
  }
  thread_ = std::thread([this] { read_layers(); });
}

WeightStream::~WeightStream() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
  try {
    backend_.synchronize(*copy_queue_);
  } catch (const Error&) {  // nobody waits for these layers any more
  }
}

size_t WeightStream::device_bytes() const {
  size_t bytes = 0;
  for (const Buffer& slot : slots_) bytes += slot.bytes();
  return bytes;
}

int64_t WeightStream::bytes_per_sweep() const {
  int64_t bytes = 0;
  for (const auto& layer : layers_) {
    for (const Piece& piece : layer) bytes += piece.numel * static_cast<int64_t>(size_of(piece.stored));
  }
  return bytes;
}

int WeightStream::begin(Queue& queue, int64_t layer) {
  const auto count = static_cast<int64_t>(layers_.size());
  std::unique_lock lock(mutex_);
  SEER_CHECK(begun_ % count == layer, "layer {} was asked for, {} is next", layer, begun_ % count);
  changed_.wait(lock, [&] { return copied_ > begun_ || failure_ != nullptr; });
  if (copied_ <= begun_) std::rethrow_exception(failure_);
  const auto slot = static_cast<int>(begun_++ % kSlots);
  lock.unlock();
  backend_.wait(queue, *ready_[slot]);
  return slot;
}

void WeightStream::end(Queue& queue, int64_t layer) {
  const auto count = static_cast<int64_t>(layers_.size());
  std::unique_lock lock(mutex_);
  SEER_CHECK(ended_ < begun_ && ended_ % count == layer, "layer {} is ended, {} is next", layer,
             ended_ % count);
  backend_.record(queue, *free_[ended_ % kSlots]);
  ++ended_;
  lock.unlock();
  changed_.notify_all();
}

/// False when it is time to stop.
bool WeightStream::wait_for_room(int64_t turn) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stop_ || turn < ended_ + kSlots; });
  return !stop_;
}

void WeightStream::read_layers() {
  try {
    for (int64_t turn = 0; wait_for_room(turn); ++turn) {
      const auto slot = static_cast<size_t>(turn % kSlots);
      if (turn >= kSlots) backend_.wait(*copy_queue_, *free_[slot]);
      read_layer(layers_[turn % static_cast<int64_t>(layers_.size())], slots_[slot].data());
      backend_.record(*copy_queue_, *ready_[slot]);
      {
        const std::lock_guard lock(mutex_);
        copied_ = turn + 1;
      }
      changed_.notify_all();
    }
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
    changed_.notify_all();
  }
}

void WeightStream::read_layer(const std::vector<Piece>& pieces, void* slot) {
  for (const Piece& piece : pieces) {
    const auto element = static_cast<int64_t>(size_of(piece.dtype));
    const int64_t step = static_cast<int64_t>(kStageBytes) / element;
    for (int64_t begin = 0; begin < piece.numel; begin += step) {
      const int64_t count = std::min(step, piece.numel - begin);
      Stage& stage = stages_[next_stage_++ % stages_.size()];
      backend_.synchronize(*stage.copied);
      fill_stage(piece, begin, count, stage.host.data());
      char* to = static_cast<char*>(slot) + piece.offset + begin * element;
      backend_.copy(*copy_queue_, ConstTensor(stage.host.data(), piece.dtype, Shape{count}),
                    Tensor(to, piece.dtype, Shape{count}));
      backend_.record(*copy_queue_, *stage.copied);
    }
  }
}

/// Reads elements [begin, begin + count), in shares that the workers take in parallel.
void WeightStream::fill_stage(const Piece& piece, int64_t begin, int64_t count, void* to) {
  const auto stored = static_cast<int64_t>(size_of(piece.stored));
  const auto element = static_cast<int64_t>(size_of(piece.dtype));
  const int64_t share = kReadBytes / stored;
  const FileReader& file = *files_.at(piece.from.path);
  readers_.run(ceil_div(count, share), [&](int64_t part, int) {
    const int64_t first = begin + part * share;
    const int64_t size = std::min(share, begin + count - first);
    char* out = static_cast<char*>(to) + (first - begin) * element;
    const int64_t offset = piece.from.offset + first * stored;
    if (piece.stored == piece.dtype) {
      file.read(offset, size * stored, out);
      return;
    }
    std::vector<char> raw(size * stored);
    std::vector<float> wide(size);
    file.read(offset, size * stored, raw.data());
    convert_to_f32(raw.data(), piece.stored, size, wide.data());
    convert_from_f32(wide.data(), size, piece.dtype, out);
  });
}

}  // namespace seer
