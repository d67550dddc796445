#include "data/packer.h"

#include <algorithm>
#include <utility>

#include "src/core/error.h"

namespace seer {
namespace {

int64_t length(const std::vector<int32_t>& ids) {
  return static_cast<int64_t>(ids.size());
}

}  // namespace

Packer::Packer(DataLayout layout, int64_t sequence_length, int64_t min_document_tokens, Sink sink)
    : layout_(layout),
      sequence_length_(sequence_length),
      min_document_tokens_(std::max<int64_t>(min_document_tokens, 1)),
      sink_(std::move(sink)) {
  SEER_CHECK(sequence_length > 0, "sequence_length {}", sequence_length);
}

void Packer::restore(std::vector<int32_t> carry, std::vector<int64_t> boundaries) {
  ids_ = std::move(carry);
  ends_ = std::move(boundaries);
}

void Packer::add(std::span<const int32_t> ids, bool begins_document, bool ends_document, DataStats& stats) {
  if (layout_ == DataLayout::kJoined) return join(ids);
  if (begins_document) {
    document_.clear();
    document_tokens_ = 0;
  }
  document_tokens_ += static_cast<int64_t>(ids.size());
  const int64_t room = sequence_length_ - length(document_);
  const auto kept = ids.first(std::min(ids.size(), static_cast<size_t>(room)));
  if (begins_document && ends_document) {
    pack(kept);
  } else {
    document_.insert(document_.end(), kept.begin(), kept.end());
    if (!ends_document) return;
    pack(document_);
  }
  if (document_tokens_ < min_document_tokens_) {
    ++stats.short_documents;
    stats.dropped_tokens += document_tokens_;
  } else if (document_tokens_ > sequence_length_) {
    ++stats.cut_documents;
    stats.dropped_tokens += document_tokens_ - sequence_length_;
  }
}

void Packer::end_epoch(DataStats& stats) {
  if (layout_ == DataLayout::kPacked) {
    if (!ids_.empty()) complete();
    return;
  }
  stats.dropped_tokens += length(ids_);
  ids_.clear();
}

void Packer::join(std::span<const int32_t> ids) {
  while (!ids.empty()) {
    const auto room = static_cast<size_t>(sequence_length_ - length(ids_));
    const auto part = ids.first(std::min(ids.size(), room));
    ids_.insert(ids_.end(), part.begin(), part.end());
    ids = ids.subspan(part.size());
    if (length(ids_) == sequence_length_) complete();
  }
}

void Packer::pack(std::span<const int32_t> document) {
  if (document_tokens_ < min_document_tokens_) return;
  if (length(ids_) + static_cast<int64_t>(document.size()) > sequence_length_) complete();
  ids_.insert(ids_.end(), document.begin(), document.end());
  ends_.push_back(length(ids_));
  if (length(ids_) == sequence_length_) complete();
}

void Packer::complete() {
  TokenSequence sequence;
  sequence.cu_seqlens.reserve(ends_.size() + 2);
  sequence.cu_seqlens.push_back(0);
  if (layout_ == DataLayout::kPacked)
    sequence.cu_seqlens.insert(sequence.cu_seqlens.end(), ends_.begin(), ends_.end());
  else
    sequence.cu_seqlens.push_back(length(ids_));
  sequence.ids = std::move(ids_);
  ids_.clear();
  ends_.clear();
  sink_(std::move(sequence));
}

}  // namespace seer
