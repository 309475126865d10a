// The files that a slot needs inside, carried by the helper program so that it depends on no path.
#pragma once

#include <cstddef>

namespace r1::rewards::code {

struct EmbeddedFile {
  const char* data;
  size_t bytes;
};

EmbeddedFile ZygoteLibrary();  // zygote_library.cc, as a shared library
EmbeddedFile ZygoteScript();   // zygote.py
EmbeddedFile RemoteScript();   // remote.py

}  // namespace r1::rewards::code
