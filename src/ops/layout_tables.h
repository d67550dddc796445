// The tables of layouts where operations read them: host lists, uploaded to the device once per batch.
#pragma once

#include "src/ops/backend.h"

namespace seer {

/// Fixed memory for the tables of some layouts, on the host (pinned) and on the device.
class LayoutTables {
 public:
  LayoutTables(Backend& backend, size_t bytes);

  /// Enough for one BatchLayout and `score_layouts` ScoreLayouts of at most `segments` segments each.
  static size_t bytes_for(int64_t segments, int64_t score_layouts);

  /// Forgets what was uploaded. The queue must have finished with it.
  void reset() { used_ = 0; }

  /// Uploads every table of the layout and points its `device` members there. The layout's lists may be changed
  /// afterwards: the copy reads memory of its own.
  void upload(Backend& backend, Queue& queue, BatchLayout& layout);
  void upload(Backend& backend, Queue& queue, ScoreLayout& layout);

  template <typename T>
  void upload(Backend& backend, Queue& queue, Table<T>& table) {
    table.device = upload(backend, queue, table.host.data(), table.host.size() * sizeof(T));
  }

  size_t device_bytes() const { return device_.bytes(); }

 private:
  ConstTensor upload(Backend& backend, Queue& queue, const void* data, size_t bytes);

  Buffer host_;
  Buffer device_;
  size_t used_ = 0;
};

}  // namespace seer
