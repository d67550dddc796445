#include "src/gate/gate_config.h"

#include "src/core/error.h"

namespace seer {
namespace {

/// Consumes "max", "min", "avg", each at most once and in that order.
PoolSet take_pools(std::string_view& text) {
  const auto take = [&](std::string_view pool) {
    if (!text.starts_with(pool)) return false;
    text.remove_prefix(pool.size());
    return true;
  };
  PoolSet pools;
  pools.max = take("max");
  pools.min = take("min");
  pools.avg = take("avg");
  return pools;
}

std::string pool_names(const PoolSet& pools) {
  return fmt::format("{}{}{}", pools.max ? "max" : "", pools.min ? "min" : "", pools.avg ? "avg" : "");
}

}  // namespace

GateType parse_gate_type(std::string_view name) {
  std::string_view rest = name;
  GateType type;
  bool good = rest.starts_with('Q');
  if (good) {
    rest.remove_prefix(1);
    type.q = take_pools(rest);
    good = type.q.count() > 0 && rest.starts_with("_K");
  }
  if (good) {
    rest.remove_prefix(2);
    type.k = take_pools(rest);
    good = type.k.count() > 0 && rest.empty();
  }
  if (!good) {
    fail_usage(
        "gate type \"{}\" is not known: expected Q<pools>_K<pools>, pools being max, min, avg in that order, "
        "e.g. Qavg_Kmaxminavg",
        name);
  }
  return type;
}

std::string to_string(const GateType& type) {
  return fmt::format("Q{}_K{}", pool_names(type.q), pool_names(type.k));
}

}  // namespace seer
