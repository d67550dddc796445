// Reads the files epoch by epoch, from any place on.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "data/data_cursor.h"
#include "data/loader_options.h"
#include "data/record_group.h"

namespace seer {

/// Calls `emit` with the records of the corpus from `start` (its epoch, file and record) on, in groups, and
/// with one empty group at the end of each epoch, until `max_epochs` are read or `emit` returns false. Throws
/// an Error naming the file that cannot be read.
void read_corpus(const LoaderOptions& options, const std::vector<DataFile>& files, const RestartPoint& start,
                 const std::function<bool(std::unique_ptr<RecordGroup>)>& emit);

}  // namespace seer
