#include "data/corpus_reader.h"

#include <utility>

#include "src/core/error.h"

namespace seer {
namespace {

constexpr size_t kGroupBytes = size_t{1} << 18;

using Emit = std::function<bool(std::unique_ptr<RecordGroup>)>;

/// The records of one file from index `first` on; false if `emit` said so.
bool read_file(const LoaderOptions& options, const DataFile& file, const RecordGroup& origin, int64_t first,
               const Emit& emit) {
  const auto source = open_records(file, options.max_document_bytes);
  Record record;
  for (int64_t skipped = 0; skipped < first; ++skipped) {
    if (!source->next(record))
      fail("{}: holds {} records, but the checkpoint continues at record {}: the file has changed",
           file.path.string(), skipped, first);
  }
  const auto new_group = [&](int64_t first_record) {
    auto group = std::make_unique<RecordGroup>();
    group->epoch = origin.epoch;
    group->place = origin.place;
    group->file = &file;
    group->first_record = first_record;
    return group;
  };
  auto group = new_group(first);
  size_t weight = 0;
  while (source->next(record)) {
    weight += sizeof(Record) + record.bytes.size() + static_cast<size_t>(record.count) * sizeof(int32_t);
    group->records.push_back(std::move(record));
    if (weight < kGroupBytes) continue;
    const int64_t next_record = group->first_record + static_cast<int64_t>(group->records.size());
    if (!emit(std::exchange(group, new_group(next_record)))) return false;
    weight = 0;
  }
  return group->records.empty() || emit(std::move(group));
}

}  // namespace

void read_corpus(const LoaderOptions& options, const std::vector<DataFile>& files, const RestartPoint& start,
                 const Emit& emit) {
  const auto count = static_cast<int64_t>(files.size());
  RecordGroup origin;
  int64_t first_record = start.record;
  for (origin.epoch = start.epoch, origin.place = start.file;
       options.max_epochs == 0 || origin.epoch < options.max_epochs; ++origin.epoch, origin.place = 0) {
    const std::vector<int64_t> order = file_order(count, options.seed, origin.epoch, options.shuffle);
    for (; origin.place < count; ++origin.place) {
      const DataFile& file = files[static_cast<size_t>(order[static_cast<size_t>(origin.place)])];
      if (!read_file(options, file, origin, std::exchange(first_record, 0), emit)) return;
    }
    auto end = std::make_unique<RecordGroup>();
    end->epoch = origin.epoch;
    end->ends_epoch = true;
    if (!emit(std::move(end))) return;
  }
}

}  // namespace seer
