#include "src/io/pickle_flatten.h"

#include "src/core/error.h"
#include "src/io/tensor_name.h"

namespace seer {
namespace {

using Kind = PickleValue::Kind;

constexpr int kMaxDepth = 64;
constexpr size_t kMaxVisits = size_t{1} << 20;
constexpr size_t kMaxName = 4096;
constexpr size_t kMaxNameBytes = size_t{64} << 20;  // of all names together

class Flattener {
 public:
  Flattener(const PickleGraph& graph, const std::string& file) : graph_(graph), file_(file) {}

  FlatPickle run() {
    if (graph_.values[graph_.root].kind != Kind::kDict) {
      fail("{}: the checkpoint is no dict; expected a dict of tensors", file_);
    }
    visit(graph_.root, 0);
    return std::move(flat_);
  }

 private:
  void visit(PickleId id, int depth) {
    if (++visits_ > kMaxVisits) fail("{}: the checkpoint unfolds to more than {} values", file_, kMaxVisits);
    if (depth > kMaxDepth)
      fail("{}: {} is nested deeper than {} levels", file_, quote_name(name_), kMaxDepth);
    const PickleValue& value = graph_.values[id];
    switch (value.kind) {
      case Kind::kDict:
        for (size_t i = 0; i < value.items.size(); i += 2) {
          visit_named(key_text(graph_.values[value.items[i]]), value.items[i + 1], depth);
        }
        break;
      case Kind::kList:
      case Kind::kTuple:
        for (size_t i = 0; i < value.items.size(); ++i) visit_named(std::to_string(i), value.items[i], depth);
        break;
      case Kind::kTensor:
        count_name();
        flat_.tensors.emplace_back(name_, static_cast<size_t>(value.integer));
        break;
      default:
        count_name();
        flat_.skipped.push_back(name_);
    }
  }

  void visit_named(const std::string& key, PickleId id, int depth) {
    const size_t length = name_.size();
    if (depth > 0) name_ += '.';
    name_ += key;
    if (name_.size() > kMaxName) {
      fail("{}: the name {} is longer than {} bytes", file_, quote_name(name_), kMaxName);
    }
    visit(id, depth + 1);
    name_.resize(length);
  }

  std::string key_text(const PickleValue& key) const {
    if (key.kind == Kind::kString) return key.text;
    if (key.kind == Kind::kInt) return std::to_string(key.integer);
    fail("{}: a key in {} is neither a string nor an integer", file_, quote_name(name_));
  }

  void count_name() {
    name_bytes_ += name_.size();
    if (name_bytes_ > kMaxNameBytes) {
      fail("{}: the names in the checkpoint take more than {} bytes", file_, kMaxNameBytes);
    }
  }

  const PickleGraph& graph_;
  const std::string& file_;
  FlatPickle flat_;
  std::string name_;  // of the value being visited
  size_t visits_ = 0;
  size_t name_bytes_ = 0;
};

}  // namespace

FlatPickle flatten_pickle(const PickleGraph& graph, const std::string& file) {
  return Flattener(graph, file).run();
}

}  // namespace seer
