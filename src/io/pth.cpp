#include "src/io/pth.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <set>

#include "src/core/error.h"
#include "src/io/mmap_file.h"
#include "src/io/pickle_flatten.h"
#include "src/io/pickle_writer.h"
#include "src/io/strided_copy.h"
#include "src/io/tensor_name.h"
#include "src/io/zip_reader.h"
#include "src/io/zip_writer.h"

namespace seer {
namespace {

constexpr uint64_t kMaxPickleRecord = uint64_t{16} << 20;
constexpr uint64_t kMaxSmallRecord = 64;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Says by name what else people call a .pth file.
void check_is_zip(std::span<const std::byte> bytes, const std::string& file) {
  using namespace std::string_view_literals;
  const std::string_view text = text_of(bytes);
  if (text.starts_with("PK\x03\x04"sv)) return;
  // PROTO <n>, LONG1 of ten bytes: the number 0x1950a86a20f9469cfc6c.
  constexpr std::string_view kLegacy = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv;
  constexpr size_t kProto = 2;
  constexpr size_t kTarMagicAt = 257;
  const char* format = nullptr;
  if (text.size() > kProto && text.substr(kProto).starts_with(kLegacy)) {
    format = "the legacy format of PyTorch before 1.6";
  } else if (text.size() > kTarMagicAt && text.substr(kTarMagicAt).starts_with("ustar"sv)) {
    format = "a tar file, as PyTorch wrote before 0.1.10";
  }
  if (format != nullptr) {
    fail("{}: is {}, which is not read: load it with torch and save it again", file, format);
  }
  fail("{}: not a PyTorch checkpoint: it does not start like a zip file", file);
}

// "<name>/", the folder inside the archive that holds data.pkl.
std::string archive_prefix(const ZipReader& zip, const std::string& file) {
  constexpr std::string_view kPickle = "/data.pkl";
  std::optional<std::string> prefix;
  for (const std::string_view name : zip.names()) {
    if (!name.ends_with(kPickle) || name.find('/') != name.size() - kPickle.size()) continue;
    if (prefix) fail("{}: two records are a data.pkl: {} and {}data.pkl", file, name, *prefix);
    prefix = name.substr(0, name.size() - kPickle.size() + 1);
  }
  if (!prefix) fail("{}: not a PyTorch checkpoint: the zip file holds no <name>/data.pkl", file);
  if (zip.has(*prefix + "constants.pkl")) {
    fail("{}: is a TorchScript program, not a checkpoint of tensors", file);
  }
  return *prefix;
}

void check_version_and_byte_order(const ZipReader& zip, const std::string& prefix, const std::string& file) {
  constexpr int kMinVersion = 1, kMaxVersion = 10;  // what torch.load accepts
  const std::vector<std::byte> version = zip.read_up_to(prefix + "version", kMaxSmallRecord);
  const std::string_view digits = text_of(version);
  int number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (number < kMinVersion || number > kMaxVersion) {
    fail("{}: record version says {}; expected {} to {}", file, quote_name(digits), kMinVersion, kMaxVersion);
  }
  // Files of PyTorch before 2.1 lack this record; they are little-endian.
  if (!zip.has(prefix + "byteorder")) return;
  const std::vector<std::byte> order = zip.read_up_to(prefix + "byteorder", kMaxSmallRecord);
  if (text_of(order) != "little") {
    fail("{}: byteorder is {}; only 'little' is read", file, quote_name(text_of(order)));
  }
}

// Reads each storage once, when the first tensor asks, and frees it after the last one.
class Storages {
 public:
  Storages(const ZipReader& zip, std::string prefix, uint64_t budget, const std::string& file)
      : zip_(zip), prefix_(std::move(prefix)), budget_(budget), file_(file) {}

  void expect(const PickledTensor& tensor) { ++storages_[tensor.storage_key].uses; }

  /// Hands the storage's bytes to `use`; they have as many bytes as the tensor says its storage has.
  template <typename Use>
  void with(const PickledTensor& tensor, const std::string& name, const Use& use) {
    const auto it = storages_.find(tensor.storage_key);
    Storage& storage = it->second;
    int64_t bytes = 0;
    if (__builtin_mul_overflow(tensor.storage_numel, static_cast<int64_t>(size_of(tensor.dtype)), &bytes)) {
      fail("{}: tensor {}: a storage of {} elements is too large", file_, quote_name(name),
           tensor.storage_numel);
    }
    if (!storage.read) {
      storage.bytes = zip_.read(prefix_ + "data/" + tensor.storage_key, static_cast<uint64_t>(bytes));
      storage.read = true;
      // Records that overlap could make a small file look large.
      if (storage.bytes.size() > budget_) fail("{}: its storages are larger than the file", file_);
      budget_ -= storage.bytes.size();
    }
    if (storage.bytes.size() != static_cast<size_t>(bytes)) {
      fail("{}: tensor {}: its storage has {} bytes; expected {}", file_, quote_name(name),
           storage.bytes.size(), bytes);
    }
    use(std::span<const std::byte>(storage.bytes));
    if (--storage.uses == 0) storages_.erase(it);
  }

 private:
  struct Storage {
    size_t uses = 0;  // tensors that will still ask
    bool read = false;
    std::vector<std::byte> bytes;
  };

  const ZipReader& zip_;
  std::string prefix_;
  uint64_t budget_;
  const std::string& file_;
  std::map<std::string, Storage> storages_;
};

// Bytes of the tensor when contiguous, after checking that each element lies inside the storage.
int64_t checked_window(const PickledTensor& tensor, const std::string& name, const std::string& file) {
  const std::optional<int64_t> bytes = checked_bytes(tensor.shape, tensor.dtype);
  if (!bytes) {
    fail("{}: tensor {}: the size of {} {} overflows", file, quote_name(name), name_of(tensor.dtype),
         shape_text(tensor.shape));
  }
  if (*bytes == 0) return 0;
  int64_t last = tensor.offset;
  bool overflow = false;
  for (size_t axis = 0; axis < tensor.shape.size(); ++axis) {
    int64_t reach = 0;
    overflow |= __builtin_mul_overflow(tensor.shape[axis] - 1, tensor.strides[axis], &reach);
    overflow |= __builtin_add_overflow(last, reach, &last);
  }
  if (overflow || last >= tensor.storage_numel) {
    fail("{}: tensor {}: shape {}, strides {} and offset {} reach beyond its storage of {} elements", file,
         quote_name(name), shape_text(tensor.shape), shape_text(tensor.strides), tensor.offset,
         tensor.storage_numel);
  }
  return *bytes;
}

}  // namespace

PthFile::PthFile(const std::filesystem::path& path) : display_name_(path.string()) {
  const MmapFile file(path);
  read(file.data());
}

PthFile PthFile::parse(std::span<const std::byte> bytes, const std::string& display_name) {
  PthFile file;
  file.display_name_ = display_name;
  file.read(bytes);
  return file;
}

void PthFile::read(std::span<const std::byte> bytes) {
  check_is_zip(bytes, display_name_);
  const ZipReader zip(bytes, display_name_);
  const std::string prefix = archive_prefix(zip, display_name_);
  check_version_and_byte_order(zip, prefix, display_name_);
  const PickleGraph graph = run_pickle(zip.read_up_to(prefix + "data.pkl", kMaxPickleRecord), display_name_);
  FlatPickle flat = flatten_pickle(graph, display_name_);

  const int64_t limit = (int64_t{64} << 20) + 16 * static_cast<int64_t>(bytes.size());
  int64_t total = 0;
  Storages storages(zip, prefix, bytes.size(), display_name_);
  for (const auto& [name, position] : flat.tensors) {
    if (__builtin_add_overflow(total, checked_window(graph.tensors[position], name, display_name_), &total) ||
        total > limit) {
      fail("{}: tensor {}: the tensors unfold to more than {} bytes, too many for a file of {}",
           display_name_, quote_name(name), limit, bytes.size());
    }
    if (!index_.emplace(name, index_.size()).second) {
      fail("{}: two tensors are called {}", display_name_, quote_name(name));
    }
    storages.expect(graph.tensors[position]);
  }
  tensors_.reserve(flat.tensors.size());
  for (auto& [name, position] : flat.tensors) {
    const PickledTensor& pickled = graph.tensors[position];
    OwnedTensor& tensor = tensors_.emplace_back();
    tensor.name = std::move(name);
    tensor.dtype = pickled.dtype;
    tensor.shape = pickled.shape;
    storages.with(pickled, tensor.name, [&](std::span<const std::byte> storage) {
      tensor.bytes =
          copy_strided(storage, size_of(pickled.dtype), pickled.offset, pickled.shape, pickled.strides);
    });
  }
  skipped_ = std::move(flat.skipped);
}

const OwnedTensor* PthFile::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

const OwnedTensor& PthFile::at(std::string_view name) const {
  if (const OwnedTensor* tensor = find(name)) return *tensor;
  std::vector<std::string_view> known;
  known.reserve(index_.size());
  for (const auto& [key, position] : index_) known.push_back(key);
  fail("{}: no tensor {} among its {}{}", display_name_, quote_name(name), tensors_.size(),
       nearest_names(name, known));
}

void write_pth(const std::filesystem::path& path, std::span<const NamedTensor> tensors) {
  std::set<std::string_view> names;
  for (const NamedTensor& tensor : tensors) {
    const std::optional<int64_t> bytes = checked_bytes(tensor.shape, tensor.dtype);
    if (tensor.name.empty()) fail("cannot write {}: a tensor has no name", path.string());
    if (!names.insert(tensor.name).second) {
      fail("cannot write {}: two tensors are called {}", path.string(), quote_name(tensor.name));
    }
    if (!bytes || static_cast<uint64_t>(*bytes) != tensor.bytes.size()) {
      fail("cannot write {}: tensor {} is {} {} but has {} bytes", path.string(), quote_name(tensor.name),
           name_of(tensor.dtype), shape_text(tensor.shape), tensor.bytes.size());
    }
    if (tensor.bytes.empty()) {
      fail("cannot write {}: tensor {} of shape {} is empty", path.string(), quote_name(tensor.name),
           shape_text(tensor.shape));
    }
  }
  const std::string pickle = write_tensor_pickle(tensors);
  const std::string prefix = path.stem().string() + "/";
  const auto text = [](std::string_view t) { return std::as_bytes(std::span(t.data(), t.size())); };

  ZipWriter zip(path);
  zip.add(prefix + "data.pkl", text(pickle));
  zip.add(prefix + "byteorder", text("little"));
  for (size_t i = 0; i < tensors.size(); ++i) {
    zip.add(prefix + "data/" + std::to_string(i), tensors[i].bytes);
  }
  zip.add(prefix + "version", text("3\n"));
  zip.commit();
}

}  // namespace seer
