# cmake -DFROM=kernel.cu -DTO=kernel.cpp -P host_source.cmake: the kernel for a compiler of the host. What is not C++ is
# written as calls of launch.h: launches, and the name of dynamic shared memory.
file(READ "${FROM}" source)
string(REGEX REPLACE "([A-Za-z_]+)<<<([^>]+)>>>\\(" "::seer::emulation::launch(\\1, \\2, " source "${source}")
string(REGEX REPLACE "extern __shared__ [^;]* ([A-Za-z_]+)\\[\\]" "auto* const \\1 = ::seer::emulation::shared_memory()"
       source "${source}")
file(WRITE "${TO}" "#include \"tests/cuda/emulation/cuda_words.h\"\n#line 1 \"${FROM}\"\n${source}")
