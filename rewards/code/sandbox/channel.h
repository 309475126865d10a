// Messages with descriptors over a SOCK_SEQPACKET socket. Built into the grader and into the helper
// programs, so it uses nothing but the C library.
#pragma once

#include <sys/types.h>

#include <cstddef>

#include "rewards/code/sandbox/protocol.h"

namespace r1::rewards::code {

// Descriptors that came with a message. Owned: closed unless taken out (set to -1).
struct Descriptors {
  int fds[kDescriptorsMax];
  int count = 0;

  Descriptors() = default;
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
  ~Descriptors() { CloseAll(); }
  void CloseAll();
  int Take(int index);
};

// Sends all or nothing; false sets errno. Never raises SIGPIPE.
bool SendMessage(int socket, const void* data, size_t bytes, const int* fds, int fd_count);

// Bytes received, 0 when the other end is closed, -1 with errno (EMSGSIZE: not of this size). The
// descriptors are close-on-exec.
ssize_t ReceiveMessage(int socket, void* data, size_t bytes, Descriptors& descriptors);

}  // namespace r1::rewards::code
