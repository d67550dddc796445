// Benches that measure a GPU, where there is none.
#pragma once

namespace seer {

/// Throws Error naming the bench and what is missing, if no GPU can be used.
void require_gpu(const char* bench);

}  // namespace seer
