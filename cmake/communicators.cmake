# What ranks talk through: Gloo between CPUs, NCCL between GPUs. Both are optional; a build without one says so when
# several ranks are asked for.

# An option that is on where `header` and `library` were found, and may not be on where they were not.
function(seer_communicator option what header library missing)
  set(found OFF)
  if(${header} AND ${library})
    set(found ON)
  endif()
  option(${option} "${what}" ${found})
  if(${option} AND NOT found)
    message(FATAL_ERROR "${option}=ON, but ${missing}")
  endif()
endfunction()

find_path(SEER_GLOO_INCLUDE gloo/rendezvous/context.h)
find_library(SEER_GLOO_LIBRARY gloo)
seer_communicator(SEER_GLOO "Several ranks on CPUs, through Gloo" SEER_GLOO_INCLUDE SEER_GLOO_LIBRARY
                  "libgloo-dev is not installed: run tools/setup.sh")
if(SEER_CUDA)
  find_path(SEER_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} /usr/local/cuda/include)
  find_library(SEER_NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS /usr/local/cuda/lib64 /usr/local/cuda/lib)
  seer_communicator(SEER_NCCL "Several ranks on GPUs, through NCCL" SEER_NCCL_INCLUDE SEER_NCCL_LIBRARY
                    "nccl.h and libnccl are not installed (NVIDIA's packages libnccl-dev, libnccl2)")
endif()
message(STATUS "seer-train: SEER_GLOO=${SEER_GLOO}, SEER_NCCL=${SEER_NCCL}")
