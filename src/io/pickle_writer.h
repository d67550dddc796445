// The pickle inside a .pth file.
#pragma once

#include <span>
#include <string>

#include "src/io/named_tensor.h"

namespace seer {

/// The data.pkl that torch.save writes for a plain dict of contiguous CPU tensors (pickle protocol 2): tensor
/// i of `tensors` is the whole of storage "i".
std::string write_tensor_pickle(std::span<const NamedTensor> tensors);

}  // namespace seer
