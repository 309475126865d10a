#include "common/tasks/task.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/hash.h"
#include "common/nearest_name.h"
#include "common/utf8.h"

namespace r1 {

Split SplitOf(absl::string_view prompt) {
  switch (Fnv1a64Finalized(prompt) % 10) {
    case 0:
      return Split::kEval;
    case 1:
      return Split::kDev;
    default:
      return Split::kTrain;
  }
}

std::string PromptId(absl::string_view prompt, absl::string_view answer) {
  // NUL between them, so that moving the border gives another id.
  return absl::StrFormat("%016x", Xxh3(absl::StrCat(prompt, absl::string_view("\0", 1), answer)));
}

absl::StatusOr<std::unique_ptr<Task>> MakeTask(const std::string& name) {
  if (const TaskRegistry::Factory* make = TaskRegistry::FindOrNull(name)) return (*make)();
  const std::vector<std::string> known = TaskRegistry::Names();
  return absl::InvalidArgumentError(absl::StrCat("task: expected one of ",
                                                 absl::StrJoin(known, ", "), ", found ",
                                                 Quoted(name), DidYouMean(name, known)));
}

}  // namespace r1
