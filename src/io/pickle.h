// A restricted machine for Python pickles: it builds data and never runs anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/core/dtype.h"

namespace seer {

using PickleId = uint32_t;  ///< Position of a value in PickleGraph::values.

/// A tensor as the pickle describes it: a strided window into a storage record. Numbers are unchecked but
/// not negative; offset and strides count elements.
struct PickledTensor {
  DType dtype = DType::kF32;
  std::string storage_key;  ///< Names the record "data/<key>".
  int64_t storage_numel = 0;
  int64_t offset = 0;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  ///< As many as extents.
};

/// One value. Values refer to each other by id, so they may be shared and, in a hostile file, cyclic.
struct PickleValue {
  enum class Kind : uint8_t {
    kInt,      ///< integer
    kString,   ///< text
    kList,     ///< items
    kTuple,    ///< items
    kDict,     ///< items: key, value, key, value, ...; OrderedDict too
    kTensor,   ///< integer: position in PickleGraph::tensors
    kStorage,  ///< integer: position in PickleGraph::tensors, with shape and offset unset
    kGlobal,   ///< text: "module.name"
    kOther,    ///< None, bool, float, bytes, integers beyond 64 bits: the value itself is not kept
  };
  Kind kind = Kind::kOther;
  int64_t integer = 0;
  std::string text;
  std::vector<PickleId> items;
};

struct PickleGraph {
  std::vector<PickleValue> values;
  std::vector<PickledTensor> tensors;
  PickleId root = 0;
};

/// Runs a pickle of protocol 2 to 5. Allowed globals: torch._utils._rebuild_tensor_v2 and _rebuild_parameter,
/// collections.OrderedDict, torch.{BFloat16,Half,Float,Double,Long,Int,Short,Char,Byte,Bool}Storage; a BUILD
/// may only set `_metadata`, which is dropped. Throws an Error naming `file`, the offset and the global or
/// opcode for everything else. Time and memory are proportional to the pickle, which may have 16 MiB.
PickleGraph run_pickle(std::span<const std::byte> pickle, const std::string& file);

}  // namespace seer
