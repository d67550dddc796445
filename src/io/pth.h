// PyTorch checkpoints (.pth, .pt): the zip format that torch.save writes since PyTorch 1.6.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/io/named_tensor.h"

namespace seer {

/// A tensor with its own bytes, row-major and contiguous.
struct OwnedTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  /// A view that lives as long as `bytes` stays where it is.
  NamedTensor view() const { return {name, dtype, shape, bytes}; }
};

/// The tensors of a checkpoint. The pickle inside is read by a machine that knows dicts, lists, tuples,
/// numbers, strings and the few globals that rebuild tensors (SEMANTICS section 6): nothing is executed, and
/// a pickle that asks for any other global is refused by its name.
///
/// The checkpoint is a dict, possibly of dicts: a tensor at {"model": {"w": t}} is called "model.w", one in a
/// list or tuple carries its position ("params.0"). Values that are no tensors are listed in skipped().
/// Shared, strided and 0-d tensors are copied out to contiguous bytes, after checking that every element
/// lies inside its storage. Views can repeat elements, so a small file could ask for any amount of memory:
/// together the contiguous tensors may take 64 MiB plus 16 times the bytes of the file.
///
/// Throws an Error naming the file, and the tensor where there is one, for: no zip file at all, the formats
/// before PyTorch 1.6 and tar files (by name), big-endian or compressed records, complex, quantised or sparse
/// tensors, two tensors of one name, and anything truncated or inconsistent.
class PthFile {
 public:
  explicit PthFile(const std::filesystem::path& path);

  /// Reads a checkpoint from memory; `display_name` stands for the path in error messages. Nothing is kept
  /// of `bytes`.
  static PthFile parse(std::span<const std::byte> bytes, const std::string& display_name);

  /// All tensors, in the order of the pickle.
  const std::vector<OwnedTensor>& tensors() const { return tensors_; }

  /// The tensor of that name, or null.
  const OwnedTensor* find(std::string_view name) const;

  /// The tensor of that name; throws an Error naming the file, the tensor and the nearest names there are.
  const OwnedTensor& at(std::string_view name) const;

  /// Names of the values that are no tensors (numbers, strings, None, ...), in the order of the pickle.
  const std::vector<std::string>& skipped() const { return skipped_; }

  const std::string& display_name() const { return display_name_; }

 private:
  PthFile() = default;
  void read(std::span<const std::byte> bytes);

  std::string display_name_;
  std::vector<OwnedTensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  std::vector<std::string> skipped_;
};

/// Writes a checkpoint atomically, as torch.save writes a plain dict of contiguous tensors on the CPU: pickle
/// protocol 2, records stored without compression under the file's stem, payloads aligned to 64 bytes.
/// torch.load(weights_only=True) reads it. Refuses duplicate and empty names, empty tensors and tensors whose
/// bytes do not match dtype and shape.
void write_pth(const std::filesystem::path& path, std::span<const NamedTensor> tensors);

}  // namespace seer
