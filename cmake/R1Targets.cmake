# The ways this project adds a target, so that every folder's CMakeLists.txt is a list of names.

# Flags of our own code; third-party headers are SYSTEM and keep theirs.
add_library(r1_flags INTERFACE)
target_include_directories(r1_flags INTERFACE "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}")
target_compile_options(r1_flags INTERFACE
  -Wall -Wextra -Werror -Werror=unused-result -fno-math-errno -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(r1_flags INTERFACE -Wthread-safety)
endif()
if(R1_SANITIZE)
  target_compile_options(r1_flags INTERFACE
    -fsanitize=${R1_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(r1_flags INTERFACE -fsanitize=${R1_SANITIZE})
  # With sanitizers GCC sees reads of a variant's other alternatives, and overlapping copies of
  # strings, that are not there; the release build has these warnings.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(r1_flags INTERFACE -Wno-maybe-uninitialized -Wno-restrict)
  endif()
endif()
if(R1_FUZZ)
  target_compile_options(r1_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

if(R1_COVERAGE)
  target_compile_options(r1_flags INTERFACE -fprofile-instr-generate -fcoverage-mapping)
  target_link_options(r1_flags INTERFACE -fprofile-instr-generate)
endif()

# r1_add_library(name SRCS a.cc … PUBLIC deps… PRIVATE deps… [REGISTRY])
# REGISTRY: the sources register themselves, so dependents must link the archive whole
# (<name>_whole).
function(r1_add_library name)
  cmake_parse_arguments(ARG "REGISTRY" "" "SRCS;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SRCS})
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE r1_flags ${ARG_PRIVATE})
  if(ARG_REGISTRY)
    add_library(${name}_whole INTERFACE)
    target_link_libraries(${name}_whole INTERFACE $<LINK_LIBRARY:WHOLE_ARCHIVE,${name}>)
  endif()
endfunction()

# Programs find LibTorch relative to themselves first, so that a clone can be moved.
function(r1_set_rpath name)
  file(RELATIVE_PATH to_deps "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" "${R1_DEPS_DIR}/site")
  set_target_properties(${name} PROPERTIES
    BUILD_RPATH "$ORIGIN/${to_deps}/torch/lib;$ORIGIN/${to_deps}/nvidia/cu13/lib"
    BUILD_RPATH_USE_ORIGIN ON)
endfunction()

# r1_add_test(name SRCS a_test.cc … DEPS libs… LABELS unit [TIMEOUT seconds])
function(r1_add_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE
    r1_flags ${ARG_DEPS} GTest::gmock GTest::gtest GTest::gtest_main)
  r1_set_rpath(${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
