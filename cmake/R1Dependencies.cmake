# Third-party libraries, each as one imported target. Debian packages and the LibTorch wheel in
# R1_DEPS_DIR; nothing is downloaded here (cmake/setup.sh does that).

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # A precompiled header is cacheable only when ccache is told to trust it.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${CCACHE_PROGRAM})
endif()

find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(absl REQUIRED CONFIG)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED CONFIG)
find_package(OpenSSL REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
find_package(ZLIB REQUIRED)
find_package(GTest REQUIRED)

# FLINT 3 (Ubuntu 24.04) has Arb inside; with FLINT 2 (Debian 12) it is a library of its own.
find_library(R1_FLINT_LIBRARY flint REQUIRED)
find_library(R1_GMP_LIBRARY gmp REQUIRED)  # FLINT's headers call it
find_path(R1_FLINT_ARB_HEADER flint/arb.h)
add_library(r1_flint INTERFACE)
target_link_libraries(r1_flint INTERFACE "${R1_FLINT_LIBRARY}" "${R1_GMP_LIBRARY}")
if(NOT R1_FLINT_ARB_HEADER)
  find_library(R1_ARB_LIBRARY NAMES flint-arb arb REQUIRED)
  target_link_libraries(r1_flint INTERFACE "${R1_ARB_LIBRARY}")
endif()

if(R1_PARSERS_ONLY)
  return()
endif()

find_package(gRPC REQUIRED CONFIG)
find_package(MPI REQUIRED COMPONENTS CXX)
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)

# LibTorch: two shared libraries of the PyPI wheel. The wheel's own TorchConfig.cmake insists on
# CUDA, so it is not used.
set(R1_TORCH_DIR "${R1_DEPS_DIR}/site/torch")
if(NOT EXISTS "${R1_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "no LibTorch in ${R1_TORCH_DIR}: run cmake/setup.sh first")
endif()
if(EXISTS "${R1_TORCH_DIR}/include/google")
  message(FATAL_ERROR "${R1_TORCH_DIR}/include/google holds old protobuf headers: "
                      "run cmake/setup.sh, which removes them")
endif()
foreach(name c10 torch_cpu)
  add_library(r1_${name} SHARED IMPORTED)
  set_target_properties(r1_${name} PROPERTIES
    IMPORTED_LOCATION "${R1_TORCH_DIR}/lib/lib${name}.so"
    INTERFACE_INCLUDE_DIRECTORIES
    "${R1_TORCH_DIR}/include;${R1_TORCH_DIR}/include/torch/csrc/api/include")
endforeach()
target_link_libraries(r1_torch_cpu INTERFACE r1_c10)
# libtorch_cpu.so needs libcudart and libcupti, which the small CUDA wheels beside it hold.
target_link_options(r1_torch_cpu INTERFACE "LINKER:-rpath-link,${R1_DEPS_DIR}/site/nvidia/cu13/lib"
                                           "LINKER:-rpath-link,${R1_TORCH_DIR}/lib")

# CUDA is optional: without it every CUDA target is left out and `r1 version` says so.
set(R1_HAVE_CUDA OFF)
if(R1_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(R1_HAVE_CUDA ON)
    set(CMAKE_CUDA_ARCHITECTURES OFF)  # kernels/cuda says which
    enable_language(CUDA)
    # CMake 3.25 does not know that nvcc takes C++20.
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    find_package(CUDAToolkit REQUIRED)
  endif()
endif()
message(STATUS "r1: CUDA kernels: ${R1_HAVE_CUDA}")
