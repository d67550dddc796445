#include "src/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "src/io/safetensors_header.h"
#include "src/io/tensor_name.h"

namespace seer {

static_assert(std::endian::native == std::endian::little, "tensor files are little-endian and used in place");

namespace {

using Entry = SafetensorsHeader::Entry;

// Every range has the size that dtype and shape ask for, and together they tile the data.
void check_ranges(const std::vector<Entry>& sorted, uint64_t data_bytes, const std::string& file) {
  uint64_t expected = 0;
  const Entry* previous = nullptr;
  for (const Entry& entry : sorted) {
    if (entry.begin > entry.end || entry.end > data_bytes) {
      fail("{}: tensor {}: data_offsets [{}, {}] do not lie within the {} bytes of data", file,
           quote_name(entry.name), entry.begin, entry.end, data_bytes);
    }
    const std::optional<int64_t> bytes = checked_bytes(entry.shape, entry.dtype);
    if (!bytes) {
      fail("{}: tensor {}: the size of {} {} overflows", file, quote_name(entry.name), name_of(entry.dtype),
           shape_text(entry.shape));
    }
    if (static_cast<uint64_t>(*bytes) != entry.end - entry.begin) {
      fail("{}: tensor {}: {} {} takes {} bytes, but data_offsets [{}, {}] hold {}", file,
           quote_name(entry.name), name_of(entry.dtype), shape_text(entry.shape), *bytes, entry.begin,
           entry.end, entry.end - entry.begin);
    }
    if (entry.begin < expected) {
      fail("{}: tensor {} at [{}, {}] overlaps tensor {}, which ends at {}", file, quote_name(entry.name),
           entry.begin, entry.end, quote_name(previous->name), expected);
    }
    if (entry.begin > expected) {
      fail("{}: hole of {} bytes in the data before tensor {} at [{}, {}]", file, entry.begin - expected,
           quote_name(entry.name), entry.begin, entry.end);
    }
    expected = entry.end;
    previous = &entry;
  }
  if (expected != data_bytes) {
    fail("{}: the tensors end at {}, but the file holds {} bytes of data", file, expected, data_bytes);
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : display_name_(path.string()), mapping_(path) {
  read(mapping_->data());
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, const std::string& display_name) {
  SafetensorsFile file;
  file.display_name_ = display_name;
  file.read(bytes);
  return file;
}

void SafetensorsFile::read(std::span<const std::byte> bytes) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) {
    fail("{}: not a safetensors file: {} bytes, shorter than the 8 of the header's length", display_name_,
         bytes.size());
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  const auto rest = bytes.subspan(sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes) {
    fail("{}: not a safetensors file: the header claims {} bytes, more than the {} allowed", display_name_,
         header_bytes, kMaxHeaderBytes);
  }
  if (header_bytes > rest.size()) {
    fail("{}: truncated: the header claims {} bytes, but only {} follow", display_name_, header_bytes,
         rest.size());
  }
  const auto text = rest.first(header_bytes);
  const auto data = rest.subspan(header_bytes);

  SafetensorsHeader header =
      parse_safetensors_header({reinterpret_cast<const char*>(text.data()), text.size()}, display_name_);
  std::vector<Entry>& entries = header.entries;
  // An empty tensor shares its offset with the next one and comes first.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  by_name_.resize(entries.size());
  std::iota(by_name_.begin(), by_name_.end(), size_t{0});
  std::sort(by_name_.begin(), by_name_.end(),
            [&](size_t a, size_t b) { return entries[a].name < entries[b].name; });
  const auto twice = std::adjacent_find(by_name_.begin(), by_name_.end(), [&](size_t a, size_t b) {
    return entries[a].name == entries[b].name;
  });
  if (twice != by_name_.end()) {
    fail("{}: the tensor name {} occurs twice", display_name_, quote_name(entries[*twice].name));
  }
  check_ranges(entries, data.size(), display_name_);

  metadata_ = std::move(header.metadata);
  tensors_.reserve(entries.size());
  for (Entry& entry : entries) {
    tensors_.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape),
                        data.subspan(entry.begin, entry.end - entry.begin)});
  }
}

const NamedTensor* SafetensorsFile::find(std::string_view name) const {
  const auto it = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                   [&](size_t i, std::string_view n) { return tensors_[i].name < n; });
  if (it == by_name_.end() || tensors_[*it].name != name) return nullptr;
  return &tensors_[*it];
}

const NamedTensor& SafetensorsFile::at(std::string_view name) const {
  if (const NamedTensor* tensor = find(name)) return *tensor;
  std::vector<std::string_view> known;
  known.reserve(tensors_.size());
  for (const NamedTensor& tensor : tensors_) known.push_back(tensor.name);
  fail("{}: no tensor {} among its {}{}", display_name_, quote_name(name), tensors_.size(),
       nearest_names(name, known));
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensor*> order;
  order.reserve(tensors.size());
  for (const NamedTensor& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    const size_t size_a = size_of(a->dtype), size_b = size_of(b->dtype);
    return size_a != size_b ? size_a > size_b : a->name < b->name;
  });

  SafetensorsHeader header;
  header.metadata = metadata;
  header.entries.reserve(order.size());
  uint64_t offset = 0;
  for (const NamedTensor* tensor : order) {
    const std::optional<int64_t> bytes = checked_bytes(tensor->shape, tensor->dtype);
    if (!bytes || static_cast<uint64_t>(*bytes) != tensor->bytes.size()) {
      fail("cannot write {}: tensor {} is {} {} but has {} bytes", path.string(), quote_name(tensor->name),
           name_of(tensor->dtype), shape_text(tensor->shape), tensor->bytes.size());
    }
    header.entries.push_back(
        {tensor->name, tensor->dtype, tensor->shape, offset, offset + tensor->bytes.size()});
    offset += tensor->bytes.size();
  }
  const std::string text = format_safetensors_header(header, path.string());
  const uint64_t header_bytes = text.size();

  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(text);
  for (const NamedTensor* tensor : order) file.write(tensor->bytes);
  file.commit();
}

}  // namespace seer
