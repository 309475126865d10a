// Landlock: a job reads and executes the system's programs, writes only below /box, executes
// nothing that it wrote, opens no TCP port and signals nobody outside of itself.
#pragma once

#include "rewards/code/sandbox/inside/failure.h"

namespace r1::rewards::code {

// The kernel's version of Landlock, 0 when it has none or it is switched off.
int LandlockVersion();

// For the calling thread and all that it starts; needs no_new_privs.
Failure RestrictWithLandlock(int version);

}  // namespace r1::rewards::code
