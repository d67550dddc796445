#include "src/io/pickle.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "src/core/error.h"
#include "src/io/pickle_opcodes.h"
#include "src/io/tensor_name.h"

namespace seer {
namespace {

using Kind = PickleValue::Kind;

constexpr size_t kMaxPickleBytes = size_t{16} << 20;
constexpr size_t kMaxValues = size_t{2} << 20;
constexpr size_t kMaxRank = 64;  // PyTorch's own limit

constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kOrderedDict = "collections.OrderedDict";

class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> pickle, const std::string& file) : pickle_(pickle), file_(file) {
    // One value for all of a kind: these take one byte in a pickle and have no identity.
    other_ = add({Kind::kOther});
    empty_tuple_ = add({Kind::kTuple});
  }

  PickleGraph run() {
    while (true) {
      opcode_at_ = position_;
      const uint8_t opcode = read<uint8_t>();
      if (opcode == opcode::kStop) break;
      step(opcode);
    }
    graph_.root = pop();
    if (!stack_.empty() || !marks_.empty()) refuse("values are left on the stack at its end");
    return std::move(graph_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail("{}: data.pkl, offset {}: {}", file_, opcode_at_, fmt::format(format, std::forward<Args>(args)...));
  }

  // ---- input

  std::string_view take(uint64_t count) {
    if (count > pickle_.size() - position_) refuse("truncated: {} more bytes expected", count);
    const char* begin = reinterpret_cast<const char*>(pickle_.data()) + position_;
    position_ += count;
    return {begin, count};
  }

  template <typename T>
  T read() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::string_view read_line() {
    const char* begin = reinterpret_cast<const char*>(pickle_.data()) + position_;
    const void* end = std::memchr(begin, '\n', pickle_.size() - position_);
    if (end == nullptr) refuse("truncated: no end of line");
    const std::string_view line(begin, static_cast<const char*>(end) - begin);
    position_ += line.size() + 1;
    return line;
  }

  // ---- values and stack

  PickleId add(PickleValue value) {
    if (graph_.values.size() >= kMaxValues) refuse("more than {} values", kMaxValues);
    graph_.values.push_back(std::move(value));
    return static_cast<PickleId>(graph_.values.size() - 1);
  }

  PickleValue& at(PickleId id) { return graph_.values[id]; }

  void push(PickleId id) { stack_.push_back(id); }
  void push_int(int64_t value) { push(add({Kind::kInt, value})); }
  void push_string(std::string_view text) { push(add({Kind::kString, 0, std::string(text)})); }

  size_t stack_floor() const { return marks_.empty() ? 0 : marks_.back(); }

  PickleId top() const {
    if (stack_.size() <= stack_floor()) refuse("the stack is empty");
    return stack_.back();
  }

  PickleId pop() {
    const PickleId id = top();
    stack_.pop_back();
    return id;
  }

  std::vector<PickleId> pop_last(size_t count) {
    if (stack_.size() - stack_floor() < count) refuse("the stack holds fewer than {} values", count);
    std::vector<PickleId> items(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return items;
  }

  std::vector<PickleId> pop_to_mark() {
    if (marks_.empty()) refuse("no mark on the stack");
    std::vector<PickleId> items = pop_last(stack_.size() - marks_.back());
    marks_.pop_back();
    return items;
  }

  void push_tuple(std::vector<PickleId> items) { push(add({Kind::kTuple, 0, "", std::move(items)})); }

  void append_to_top(Kind kind, const std::vector<PickleId>& items) {
    PickleValue& target = at(top());
    if (target.kind != kind)
      refuse("items are added to a value that is no {}", kind == Kind::kDict ? "dict" : "list");
    if (kind == Kind::kDict && items.size() % 2 != 0) refuse("a dict gets a key without a value");
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  void put(uint64_t slot) { memo_[slot] = top(); }

  void get(uint64_t slot) {
    const auto it = memo_.find(slot);
    if (it == memo_.end()) refuse("memo slot {} is empty", slot);
    push(it->second);
  }

  // ---- opcodes with more than a line

  void step(uint8_t opcode);

  void push_long(uint64_t bytes) {
    const std::string_view digits = take(bytes);
    if (bytes > sizeof(int64_t)) return push(other_);
    // Little-endian two's complement.
    uint64_t value = !digits.empty() && (digits.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
    std::memcpy(&value, digits.data(), digits.size());
    push_int(static_cast<int64_t>(value));
  }

  void push_global(std::string_view module, std::string_view name) {
    std::string full = fmt::format("{}.{}", module, name);
    if (full != kRebuildTensor && full != kRebuildParameter && full != kOrderedDict && !storage_dtype(full)) {
      refuse("asks for {}; only tensors, dicts, lists and plain values are read", quote_name(full));
    }
    push(add({Kind::kGlobal, 0, std::move(full)}));
  }

  static std::optional<DType> storage_dtype(std::string_view global) {
    static constexpr std::array<std::pair<std::string_view, DType>, 10> kStorages = {
        {{"torch.BFloat16Storage", DType::kBF16},
         {"torch.HalfStorage", DType::kF16},
         {"torch.FloatStorage", DType::kF32},
         {"torch.DoubleStorage", DType::kF64},
         {"torch.LongStorage", DType::kI64},
         {"torch.IntStorage", DType::kI32},
         {"torch.ShortStorage", DType::kI16},
         {"torch.CharStorage", DType::kI8},
         {"torch.ByteStorage", DType::kU8},
         {"torch.BoolStorage", DType::kBool}}};
    const auto* it =
        std::find_if(kStorages.begin(), kStorages.end(), [&](const auto& s) { return s.first == global; });
    if (it == kStorages.end()) return std::nullopt;
    return it->second;
  }

  // ('storage', torch.XStorage, key, location, numel); the location (cpu, cuda:0) does not matter here.
  void push_storage(const PickleValue& id) {
    if (id.kind != Kind::kTuple || id.items.size() != 5 || at(id.items[0]).text != "storage") {
      refuse("a persistent id is no ('storage', class, key, location, numel)");
    }
    const PickleValue& type = at(id.items[1]);
    const PickleValue& key = at(id.items[2]);
    const PickleValue& numel = at(id.items[4]);
    const std::optional<DType> dtype =
        type.kind == Kind::kGlobal ? storage_dtype(type.text) : std::optional<DType>();
    if (!dtype || key.kind != Kind::kString || numel.kind != Kind::kInt || numel.integer < 0) {
      refuse("a persistent id has a wrong class, key or number of elements");
    }
    graph_.tensors.push_back({*dtype, key.text, numel.integer});
    push(add({Kind::kStorage, static_cast<int64_t>(graph_.tensors.size()) - 1}));
  }

  void reduce() {
    const PickleId arguments_id = pop();
    const PickleValue& callable = at(pop());
    const PickleValue& arguments = at(arguments_id);
    if (callable.kind != Kind::kGlobal || arguments.kind != Kind::kTuple) {
      refuse("REDUCE needs a global and a tuple");
    }
    if (callable.text == kOrderedDict) {
      if (!arguments.items.empty()) refuse("OrderedDict is called with arguments");
      push(add({Kind::kDict}));
    } else if (callable.text == kRebuildTensor) {
      push_tensor(arguments.items);
    } else if (callable.text == kRebuildParameter) {
      // (tensor, requires_grad, hooks): a Parameter is its tensor.
      if (arguments.items.size() != 3 || at(arguments.items[0]).kind != Kind::kTensor) {
        refuse("wrong arguments for {}", kRebuildParameter);
      }
      push(arguments.items[0]);
    } else {
      refuse("calls {}", callable.text);
    }
  }

  // (storage, offset, shape, strides, requires_grad, hooks [, metadata])
  void push_tensor(const std::vector<PickleId>& arguments) {
    if (arguments.size() < 6 || arguments.size() > 7 || at(arguments[0]).kind != Kind::kStorage ||
        at(arguments[1]).kind != Kind::kInt || at(arguments[1]).integer < 0) {
      refuse("wrong arguments for {}", kRebuildTensor);
    }
    if (arguments.size() == 7 && at(arguments[6]).kind != Kind::kOther && !at(arguments[6]).items.empty()) {
      refuse("a tensor carries metadata (a conjugate or negative view), which is not supported");
    }
    PickledTensor tensor = graph_.tensors[static_cast<size_t>(at(arguments[0]).integer)];
    tensor.offset = at(arguments[1]).integer;
    tensor.shape = integers(at(arguments[2]));
    tensor.strides = integers(at(arguments[3]));
    if (tensor.shape.size() != tensor.strides.size()) {
      refuse("a tensor has {} extents and {} strides", tensor.shape.size(), tensor.strides.size());
    }
    graph_.tensors.push_back(std::move(tensor));
    push(add({Kind::kTensor, static_cast<int64_t>(graph_.tensors.size()) - 1}));
  }

  std::vector<int64_t> integers(const PickleValue& tuple) {
    if (tuple.kind != Kind::kTuple || tuple.items.size() > kMaxRank) {
      refuse("a tensor's shape or strides are no tuple of at most {} integers", kMaxRank);
    }
    std::vector<int64_t> values;
    values.reserve(tuple.items.size());
    for (const PickleId id : tuple.items) {
      if (at(id).kind != Kind::kInt || at(id).integer < 0) {
        refuse("a tensor's shape or strides hold something else than integers >= 0");
      }
      values.push_back(at(id).integer);
    }
    return values;
  }

  // state_dict() of a module carries version numbers in an attribute `_metadata`.
  void build() {
    const PickleValue& state = at(pop());
    const bool metadata_only = state.kind == Kind::kDict && state.items.size() == 2 &&
                               at(state.items[0]).kind == Kind::kString &&
                               at(state.items[0]).text == "_metadata";
    if (!metadata_only || at(top()).kind != Kind::kDict) {
      refuse("BUILD sets something else than _metadata of a dict");
    }
  }

  std::span<const std::byte> pickle_;
  const std::string& file_;
  size_t position_ = 0;
  size_t opcode_at_ = 0;
  PickleGraph graph_;
  std::vector<PickleId> stack_;
  std::vector<size_t> marks_;  // heights of the stack
  std::map<uint64_t, PickleId> memo_;
  PickleId other_ = 0;
  PickleId empty_tuple_ = 0;
};

void PickleMachine::step(uint8_t opcode) {
  switch (opcode) {
    case opcode::kProto: {
      const int protocol = read<uint8_t>();
      if (protocol < 2 || protocol > 5) refuse("pickle protocol {}; expected 2 to 5", protocol);
      return;
    }
    case opcode::kFrame:
      read<uint64_t>();
      return;

    case opcode::kNone:
    case opcode::kNewTrue:
    case opcode::kNewFalse:
      return push(other_);
    case opcode::kBinInt:
      return push_int(read<int32_t>());
    case opcode::kBinInt1:
      return push_int(read<uint8_t>());
    case opcode::kBinInt2:
      return push_int(read<uint16_t>());
    case opcode::kLong1:
      return push_long(read<uint8_t>());
    case opcode::kLong4:
      return push_long(read<uint32_t>());
    case opcode::kBinFloat:
      take(sizeof(double));
      return push(other_);
    case opcode::kBinUnicode:
      return push_string(take(read<uint32_t>()));
    case opcode::kShortBinUnicode:
      return push_string(take(read<uint8_t>()));
    case opcode::kBinUnicode8:
      return push_string(take(read<uint64_t>()));
    case opcode::kBinBytes:
      take(read<uint32_t>());
      return push(other_);
    case opcode::kShortBinBytes:
      take(read<uint8_t>());
      return push(other_);

    case opcode::kMark:
      marks_.push_back(stack_.size());
      return;
    case opcode::kEmptyTuple:
      return push(empty_tuple_);
    case opcode::kTuple1:
      return push_tuple(pop_last(1));
    case opcode::kTuple2:
      return push_tuple(pop_last(2));
    case opcode::kTuple3:
      return push_tuple(pop_last(3));
    case opcode::kTuple:
      return push_tuple(pop_to_mark());
    case opcode::kEmptyList:
      return push(add({Kind::kList}));
    case opcode::kAppend:
      return append_to_top(Kind::kList, pop_last(1));
    case opcode::kAppends:
      return append_to_top(Kind::kList, pop_to_mark());
    case opcode::kEmptyDict:
      return push(add({Kind::kDict}));
    case opcode::kSetItem:
      return append_to_top(Kind::kDict, pop_last(2));
    case opcode::kSetItems:
      return append_to_top(Kind::kDict, pop_to_mark());

    case opcode::kBinPut:
      return put(read<uint8_t>());
    case opcode::kLongBinPut:
      return put(read<uint32_t>());
    case opcode::kMemoize:
      return put(memo_.size());
    case opcode::kBinGet:
      return get(read<uint8_t>());
    case opcode::kLongBinGet:
      return get(read<uint32_t>());

    case opcode::kGlobal: {
      const std::string_view module = read_line();
      return push_global(module, read_line());
    }
    case opcode::kStackGlobal: {
      const std::vector<PickleId> names = pop_last(2);
      if (at(names[0]).kind != Kind::kString || at(names[1]).kind != Kind::kString) {
        refuse("STACK_GLOBAL needs two strings");
      }
      // Copies, because adding a value may move the others.
      const std::string module = at(names[0]).text;
      const std::string name = at(names[1]).text;
      return push_global(module, name);
    }
    case opcode::kBinPersId:
      return push_storage(at(pop()));
    case opcode::kReduce:
      return reduce();
    case opcode::kBuild:
      return build();
    default:
      refuse("opcode {:#04x} is not allowed in a checkpoint", opcode);
  }
}

}  // namespace

PickleGraph run_pickle(std::span<const std::byte> pickle, const std::string& file) {
  if (pickle.size() > kMaxPickleBytes) {
    fail("{}: data.pkl has {} bytes, more than the {} accepted", file, pickle.size(), kMaxPickleBytes);
  }
  return PickleMachine(pickle, file).run();
}

}  // namespace seer
