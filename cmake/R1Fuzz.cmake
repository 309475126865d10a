# r1_add_fuzz_target(name SRCS x_fuzz.cc … DEPS libs… CORPUS folder COVERS files…
#                    [DICTIONARY file] [MUTATIONS count] [LENGTH_MAX bytes])
#
# A target is a file with LLVMFuzzerTestOneInput. With R1_FUZZ (presets fuzz and coverage, clang) it
# is linked with libFuzzer, and what tests/fuzz/run.py needs to know of it is written to
# BUILD/fuzz_targets/<name>.json; otherwise it is linked with tests/fuzz/corpus_main.cc, which runs
# the corpus and `count` mutations of it, the same ones every time, so that every compiler and
# sanitizer runs every target as an ordinary test of label `fuzz`.
#
# COVERS are the sources, relative to the project's root, of the parser that the target is there
# for: of them the coverage is reported.
function(r1_json_list variable)
  list(TRANSFORM ARGN REPLACE "(.+)" "\"\\1\"")
  list(JOIN ARGN ", " joined)
  set(${variable} "[${joined}]" PARENT_SCOPE)
endfunction()

function(r1_add_fuzz_target name)
  cmake_parse_arguments(ARG "" "CORPUS;DICTIONARY;MUTATIONS;LENGTH_MAX" "SRCS;DEPS;COVERS" ${ARGN})
  if(NOT ARG_MUTATIONS)
    set(ARG_MUTATIONS 20000)
  endif()
  if(NOT ARG_LENGTH_MAX)
    set(ARG_LENGTH_MAX 4096)
  endif()
  foreach(source IN LISTS ARG_COVERS)
    if(NOT EXISTS "${PROJECT_SOURCE_DIR}/${source}")
      message(FATAL_ERROR "${name} covers ${source}, which is not there")
    endif()
  endforeach()
  get_filename_component(corpus "${ARG_CORPUS}" ABSOLUTE)
  if(ARG_DICTIONARY)
    get_filename_component(dictionary "${ARG_DICTIONARY}" ABSOLUTE)
  endif()

  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE r1_flags ${ARG_DEPS})
  if(R1_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    set(options -timeout=10 -rss_limit_mb=1024 -max_len=${ARG_LENGTH_MAX} -print_final_stats=1)
    if(ARG_DICTIONARY)
      list(APPEND options "-dict=${dictionary}")
    endif()
    # libFuzzer keeps what it finds in the first folder, so that the corpus in git stays as it is.
    set(found "${PROJECT_BINARY_DIR}/fuzz_found/${name}")
    file(MAKE_DIRECTORY "${found}")
    add_test(NAME ${name}
      COMMAND ${name} ${options} -seed=1 -runs=${ARG_MUTATIONS} "${found}" "${corpus}")
    r1_json_list(options_json ${options})
    r1_json_list(covers_json ${ARG_COVERS})
    file(WRITE "${PROJECT_BINARY_DIR}/fuzz_targets/${name}.json"
      "{\"program\": \"${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/${name}\", \"options\": ${options_json}, "
      "\"corpus\": \"${corpus}\", \"covers\": ${covers_json}}\n")
  else()
    if(NOT TARGET r1_corpus_main)
      r1_add_library(r1_corpus_main
        SRCS "${PROJECT_SOURCE_DIR}/tests/fuzz/corpus_main.cc" PUBLIC r1_common)
    endif()
    target_link_libraries(${name} PRIVATE r1_corpus_main)
    r1_set_rpath(${name})
    set(options --mutations ${ARG_MUTATIONS} --length-max ${ARG_LENGTH_MAX})
    if(ARG_DICTIONARY)
      list(APPEND options --dictionary "${dictionary}")
    endif()
    add_test(NAME ${name} COMMAND ${name} ${options} "${corpus}")
  endif()
  set_tests_properties(${name} PROPERTIES
    LABELS fuzz TIMEOUT 300 WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
endfunction()
