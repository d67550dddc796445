// Finds and opens cuDNN at run time, so that seer-train neither links it nor needs it to run.
#pragma once

#include <cstddef>
#include <string>

namespace seer::cuda {

struct CudnnLibrary {
  std::string path;    ///< Of libcudnn.so.9, symbolic links resolved
  size_t version = 0;  ///< As cudnnGetVersion() has it: 91900 is 9.19.0
  void* handle = nullptr;
};

/// Opens `path` (the library, or a folder that holds it); if that is empty, what the environment variable SEER_CUDNN
/// names; else the newest cuDNN 9 among LD_LIBRARY_PATH, the system's and CUDA's folders, and the site-packages of every
/// Python on PATH. It stays open: a process can hold one cuDNN, and a later call that asks for another throws Error,
/// as does one that finds none.
const CudnnLibrary& load_cudnn(const std::string& path = "");

/// "9.19.0" for 91900.
std::string cudnn_version_text(size_t version);

}  // namespace seer::cuda
