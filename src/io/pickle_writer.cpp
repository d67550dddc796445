#include "src/io/pickle_writer.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string_view>

#include "src/core/error.h"
#include "src/io/pickle_opcodes.h"

namespace seer {
namespace {

std::string_view storage_class(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "DoubleStorage";
    case DType::kF32:
      return "FloatStorage";
    case DType::kBF16:
      return "BFloat16Storage";
    case DType::kF16:
      return "HalfStorage";
    case DType::kI64:
      return "LongStorage";
    case DType::kI32:
      return "IntStorage";
    case DType::kI16:
      return "ShortStorage";
    case DType::kI8:
      return "CharStorage";
    case DType::kU8:
      return "ByteStorage";
    case DType::kBool:
      return "BoolStorage";
  }
  fail("no PyTorch storage for dtype {}", static_cast<int>(dtype));
}

// Python's pickler gives every string, tuple, global and object a memo slot when it first writes it.
class PickleWriter {
 public:
  std::string write(std::span<const NamedTensor> tensors) {
    // Python's batch of one MARK .. SETITEMS; a batch of one item is a SETITEM.
    constexpr size_t kBatch = 1000;
    byte(opcode::kProto);
    byte(2);
    byte(opcode::kEmptyDict);
    put();
    for (size_t begin = 0; begin < tensors.size(); begin += kBatch) {
      const size_t end = std::min(begin + kBatch, tensors.size());
      if (end - begin > 1) byte(opcode::kMark);
      for (size_t i = begin; i < end; ++i) {
        string(tensors[i].name);
        tensor(tensors[i], i);
      }
      byte(end - begin > 1 ? opcode::kSetItems : opcode::kSetItem);
    }
    byte(opcode::kStop);
    return std::move(out_);
  }

 private:
  void tensor(const NamedTensor& tensor, size_t index) {
    global("torch._utils", "_rebuild_tensor_v2");
    byte(opcode::kMark);
    storage(tensor, index);
    integer(0);  // offset
    extents(tensor.shape);
    extents(contiguous_strides(tensor.shape));
    byte(opcode::kNewFalse);  // requires_grad
    global("collections", "OrderedDict");
    byte(opcode::kEmptyTuple);
    byte(opcode::kReduce);
    put();
    byte(opcode::kTuple);
    put();
    byte(opcode::kReduce);
    put();
  }

  void storage(const NamedTensor& tensor, size_t index) {
    byte(opcode::kMark);
    shared_string("storage");
    global("torch", storage_class(tensor.dtype));
    string(std::to_string(index));
    shared_string("cpu");
    integer(tensor.numel());
    byte(opcode::kTuple);
    put();
    byte(opcode::kBinPersId);
  }

  static std::vector<int64_t> contiguous_strides(std::span<const int64_t> shape) {
    std::vector<int64_t> strides(shape.size());
    int64_t stride = 1;
    for (size_t axis = shape.size(); axis-- > 0;) {
      strides[axis] = stride;
      stride *= shape[axis];
    }
    return strides;
  }

  void extents(std::span<const int64_t> values) {
    if (values.empty()) return byte(opcode::kEmptyTuple);
    if (values.size() > 3) byte(opcode::kMark);
    for (const int64_t value : values) integer(value);
    switch (values.size()) {
      case 1:
        byte(opcode::kTuple1);
        break;
      case 2:
        byte(opcode::kTuple2);
        break;
      case 3:
        byte(opcode::kTuple3);
        break;
      default:
        byte(opcode::kTuple);
    }
    put();
  }

  // Values are >= 0 here.
  void integer(int64_t value) {
    if (value <= std::numeric_limits<uint8_t>::max()) {
      byte(opcode::kBinInt1);
      little_endian(value, 1);
    } else if (value <= std::numeric_limits<uint16_t>::max()) {
      byte(opcode::kBinInt2);
      little_endian(value, 2);
    } else if (value <= std::numeric_limits<int32_t>::max()) {
      byte(opcode::kBinInt);
      little_endian(value, 4);
    } else {
      // The shortest two's complement that keeps the sign bit clear.
      int bytes = 4;
      while (bytes < 8 && (value >> (8 * bytes - 1)) != 0) ++bytes;
      byte(opcode::kLong1);
      byte(static_cast<uint8_t>(bytes));
      little_endian(value, bytes);
    }
  }

  void string(std::string_view text) {
    byte(opcode::kBinUnicode);
    little_endian(static_cast<int64_t>(text.size()), 4);
    out_ += text;
    put();
  }

  void shared_string(std::string_view text) {
    if (!get(text)) {
      slots_[std::string(text)] = next_slot_;
      string(text);
    }
  }

  void global(std::string_view module, std::string_view name) {
    std::string line = fmt::format("{}\n{}\n", module, name);
    if (get(line)) return;
    byte(opcode::kGlobal);
    out_ += line;
    slots_[std::move(line)] = next_slot_;
    put();
  }

  bool get(std::string_view shared) {
    const auto it = slots_.find(shared);
    if (it == slots_.end()) return false;
    slot(it->second, opcode::kBinGet, opcode::kLongBinGet);
    return true;
  }

  void put() { slot(next_slot_++, opcode::kBinPut, opcode::kLongBinPut); }

  void slot(int64_t number, uint8_t short_opcode, uint8_t long_opcode) {
    const bool fits = number <= std::numeric_limits<uint8_t>::max();
    byte(fits ? short_opcode : long_opcode);
    little_endian(number, fits ? 1 : 4);
  }

  void byte(uint8_t value) { out_.push_back(static_cast<char>(value)); }

  void little_endian(int64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) byte(static_cast<uint8_t>(value >> (8 * i)));
  }

  std::string out_;
  int64_t next_slot_ = 0;
  std::map<std::string, int64_t, std::less<>> slots_;  // of strings and globals that are written once
};

}  // namespace

std::string write_tensor_pickle(std::span<const NamedTensor> tensors) {
  return PickleWriter().write(tensors);
}

}  // namespace seer
