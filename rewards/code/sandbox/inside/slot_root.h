// The file system of a slot: a tmpfs that becomes the root, with the system's /usr read-only and
// little besides. Everything else of the host is gone after this.
//
//   /usr            the host's, read-only; /bin, /lib, … as on the host (links into /usr)
//   /etc            passwd, group and the host's links in /etc/alternatives
//   /dev            null, zero, full, random, urandom; shm is a link into /box
//   /r1             the Python zygote; precompiled <bits/stdc++.h>
//   /box            where each run mounts a tmpfs of its own; /tmp is a link into it
//   /proc           an empty folder: nothing to read there
#pragma once

#include "rewards/code/sandbox/inside/failure.h"
#include "rewards/code/sandbox/protocol.h"

namespace r1::rewards::code {

// For the first process of the slot's mount namespace.
Failure BuildSlotRoot(const SlotSettings& settings);

// In a run's mount namespace: its own tmpfs at /box.
Failure MountRunFiles(uint64_t bytes);

}  // namespace r1::rewards::code
