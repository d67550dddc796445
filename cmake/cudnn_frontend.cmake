# Looks for NVIDIA's header-only cudnn-frontend and cuDNN's own headers, which cuda/bench compiles to measure cuDNN's
# attention beside ours. cuDNN itself is opened at run time: nothing here is linked, or needed to train.
#
# Sets SEER_HAVE_CUDNN_FRONTEND; if ON, the target seer_cudnn_frontend carries the include folders. By hand:
#   python3 -m pip download nvidia-cudnn-frontend==1.32.0 --no-deps -d /tmp && unzip /tmp/nvidia_cudnn_frontend-*.whl 'include/*' -d DIR
#   cmake -DSEER_CUDNN_FRONTEND_DIR=DIR/include ...
set(SEER_CUDNN_FRONTEND_DIR "" CACHE PATH "Folder that holds cudnn_frontend.h (from pip's nvidia-cudnn-frontend)")
set(SEER_CUDNN_FRONTEND_LEAST 1.18.0)  # the first with which cuda/bench/cudnn_attention.cpp was compiled

find_path(SEER_CUDNN_FRONTEND_INCLUDE cudnn_frontend.h
          HINTS ${SEER_CUDNN_FRONTEND_DIR} "$ENV{HOME}/.cache/seer-train/cudnn-frontend/include")
find_path(SEER_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS} /usr/local/cuda/include)
mark_as_advanced(SEER_CUDNN_FRONTEND_INCLUDE SEER_CUDNN_INCLUDE)

set(SEER_HAVE_CUDNN_FRONTEND OFF)
if(NOT SEER_CUDNN_FRONTEND_INCLUDE)
  message(STATUS "seer-train: bench without cuDNN (no cudnn_frontend.h; tools/setup.sh --gpu gets it)")
elseif(NOT SEER_CUDNN_INCLUDE)
  message(STATUS "seer-train: bench without cuDNN (no cudnn.h; it comes with cuDNN's -dev package)")
else()
  file(READ ${SEER_CUDNN_FRONTEND_INCLUDE}/cudnn_frontend_version.h seer_frontend_text)
  set(seer_frontend_version "")
  foreach(part MAJOR MINOR PATCH)
    if(seer_frontend_text MATCHES "#define CUDNN_FRONTEND_${part}_VERSION ([0-9]+)")
      list(APPEND seer_frontend_version ${CMAKE_MATCH_1})
    endif()
  endforeach()
  list(JOIN seer_frontend_version "." seer_frontend_version)
  if(seer_frontend_version VERSION_LESS SEER_CUDNN_FRONTEND_LEAST)
    message(STATUS "seer-train: bench without cuDNN (cudnn-frontend ${seer_frontend_version} in ${SEER_CUDNN_FRONTEND_INCLUDE} is "
                   "older than ${SEER_CUDNN_FRONTEND_LEAST}; tools/setup.sh --gpu gets a newer one)")
  else()
    message(STATUS "seer-train: bench with cuDNN (cudnn-frontend ${seer_frontend_version})")
    set(SEER_HAVE_CUDNN_FRONTEND ON)
    add_library(seer_cudnn_frontend INTERFACE)
    target_include_directories(seer_cudnn_frontend SYSTEM INTERFACE ${SEER_CUDNN_FRONTEND_INCLUDE} ${SEER_CUDNN_INCLUDE})
  endif()
endif()
