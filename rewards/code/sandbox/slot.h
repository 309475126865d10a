// A slot of the sandbox, from the grader's side: starts the helper program, talks to the server
// inside, and ends all of it. One thread at a time uses a slot.
#pragma once

#include <sys/types.h>

#include <memory>
#include <vector>

#include "common/status.h"
#include "rewards/code/sandbox/owned_fd.h"
#include "rewards/code/sandbox/protocol.h"

namespace r1::rewards::code {

class Slot {
 public:
  // Unavailable names the step that the kernel refused and the knob that allows it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Slot>> Start(SlotSettings settings);
  ~Slot() { End(); }

  // Kills everything in it and reaps the helper; what was running is dead when this returns.
  void End();

  [[nodiscard]] absl::Status Send(const RunRequest& request, const std::vector<int>& fds);
  // The next Reply; `init` is the pidfd of kRunStarted. Blocks: poll control() first.
  [[nodiscard]] absl::StatusOr<Reply> Receive(OwnedFd& init);
  int control() const { return control_.get(); }
  pid_t helper() const { return helper_; }
  const SlotSettings& settings() const { return settings_; }
  // True after End, or when its protocol went wrong: of no more use.
  bool is_broken() const { return is_broken_; }

 private:
  Slot(SlotSettings settings, OwnedFd control, pid_t helper)
      : settings_(settings), control_(std::move(control)), helper_(helper) {}

  const SlotSettings settings_;
  OwnedFd control_;
  pid_t helper_;
  bool is_broken_ = false;
};

}  // namespace r1::rewards::code
