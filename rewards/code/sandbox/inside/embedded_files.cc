#include "rewards/code/sandbox/inside/embedded_files.h"

// R1_ZYGOTE_LIBRARY, R1_ZYGOTE_SCRIPT and R1_REMOTE_SCRIPT are paths, from CMakeLists.txt.
asm(".section .rodata\n"
    "r1_zygote_library_begin: .incbin \"" R1_ZYGOTE_LIBRARY
    "\"\n"
    "r1_zygote_library_end:\n"
    "r1_zygote_script_begin: .incbin \"" R1_ZYGOTE_SCRIPT
    "\"\n"
    "r1_zygote_script_end:\n"
    "r1_remote_script_begin: .incbin \"" R1_REMOTE_SCRIPT
    "\"\n"
    "r1_remote_script_end:\n"
    ".previous\n");

extern "C" {
extern const char r1_zygote_library_begin[];
extern const char r1_zygote_library_end[];
extern const char r1_zygote_script_begin[];
extern const char r1_zygote_script_end[];
extern const char r1_remote_script_begin[];
extern const char r1_remote_script_end[];
}

namespace r1::rewards::code {

EmbeddedFile ZygoteLibrary() {
  return {r1_zygote_library_begin,
          static_cast<size_t>(r1_zygote_library_end - r1_zygote_library_begin)};
}

EmbeddedFile ZygoteScript() {
  return {r1_zygote_script_begin,
          static_cast<size_t>(r1_zygote_script_end - r1_zygote_script_begin)};
}

EmbeddedFile RemoteScript() {
  return {r1_remote_script_begin,
          static_cast<size_t>(r1_remote_script_end - r1_remote_script_begin)};
}

}  // namespace r1::rewards::code
