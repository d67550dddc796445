#include <ostream>

#include "src/cpu/cpu_backend.h"
#include "tests/support/backends.h"

namespace seer::test {

const std::vector<BackendChoice>& backends() {
  static const std::vector<BackendChoice> choices = {
      {"cpu_1_thread", [] { return make_cpu_backend({.threads = 1}); }},
      {"cpu_3_threads", [] { return make_cpu_backend({.threads = 3}); }},
  };
  return choices;
}

std::unique_ptr<Backend> backend_with_own_memory() {
  return make_cpu_backend({.threads = 2, .reads_host_memory = false});
}

void PrintTo(const BackendChoice& choice, std::ostream* out) {
  *out << choice.name;
}

}  // namespace seer::test
