#include "rewards/code/sandbox/channel.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace r1::rewards::code {

void Descriptors::CloseAll() {
  for (int i = 0; i < count; ++i) {
    if (fds[i] >= 0) close(fds[i]);
  }
  count = 0;
}

int Descriptors::Take(int index) {
  const int fd = fds[index];
  fds[index] = -1;
  return fd;
}

bool SendMessage(int socket, const void* data, size_t bytes, const int* fds, int fd_count) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kDescriptorsMax)] = {};
  iovec part{.iov_base = const_cast<void*>(data), .iov_len = bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd_count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * static_cast<size_t>(fd_count));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * static_cast<size_t>(fd_count));
    memcpy(CMSG_DATA(header), fds, sizeof(int) * static_cast<size_t>(fd_count));
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(bytes);
}

ssize_t ReceiveMessage(int socket, void* data, size_t bytes, Descriptors& descriptors) {
  descriptors.CloseAll();
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kDescriptorsMax)];
  iovec part{.iov_base = data, .iov_len = bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t received;
  do {
    received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return -1;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count && descriptors.count < kDescriptorsMax; ++i) {
      memcpy(&descriptors.fds[descriptors.count++], CMSG_DATA(header) + i * sizeof(int),
             sizeof(int));
    }
  }
  const bool is_cut = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  if (received != 0 && (is_cut || received != static_cast<ssize_t>(bytes))) {
    errno = EMSGSIZE;
    return -1;
  }
  return received;
}

}  // namespace r1::rewards::code
