// Where a stage's prompts come from: a built-in task or a dataset, behind one interface.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/status.h"
#include "common/tasks/task.h"
#include "common/tokenizer.h"

namespace r1 {

// Thread-safe. Row `index` is a pure function of the arguments (and, for a dataset, of its files).
class PromptSource {
 public:
  virtual ~PromptSource() = default;
  // Different rows of a split. kTrain: rows of an epoch, UINT64_MAX when there is no end to them.
  // kDev, kEval: an index must be below, and an evaluation of more prompts takes as many as there
  // are.
  virtual uint64_t size(Split split) const = 0;
  virtual PromptRow Prompt(Split split, uint64_t run_seed, uint32_t stage_index,
                           uint64_t index) const = 0;
};

std::unique_ptr<PromptSource> MakeTaskSource(std::shared_ptr<const Task> task);

// Ids of a prompt as the model is given it: <bos> (when the vocabulary has it) and the text. Added
// tokens are parsed in the template's part of it and are plain text in the data's part.
// InvalidArgument names the prompt_id and the character that the vocabulary lacks.
[[nodiscard]] absl::StatusOr<std::vector<int32_t>> EncodePrompt(const Tokenizer& tokenizer,
                                                                const PromptRow& row);

// A training sequence: the prompt as EncodePrompt has it, the completion (added tokens parsed),
// <eos>.
struct EncodedText {
  std::vector<int32_t> ids;
  int first_target =
      0;  // index of the completion's first token; the loss is on it and all after it
};
[[nodiscard]] absl::StatusOr<EncodedText> EncodeText(const Tokenizer& tokenizer,
                                                     const TextRow& row);

}  // namespace r1
