// A built-in task: prompts with verifiable answers, pre-training documents and demonstrations, made
// from a counter-based random stream. One file a task; registered by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/registry.h"
#include "common/rng.h"
#include "common/status.h"

namespace r1 {

// A prompt with its gold answer; also one row of a dataset file.
struct PromptRow {
  std::string prompt_id;  // PromptId of the row
  std::string prompt;     // text the model continues (without <bos>)
  std::string answer;
  std::string columns_json;  // all other dataset columns, a JSON object
  bool think_prefilled = false;
  // The bytes of `prompt` that come from data, not from a template: "<eos>" or "<think>" in them is
  // text and never becomes an added token.
  size_t data_begin = 0;
  size_t data_end = 0;
};

// A training text: the loss is on `completion` only.
struct TextRow {
  std::string prompt;
  std::string completion;  // without <eos>
  size_t data_begin = 0;   // in `prompt`, as in PromptRow
  size_t data_end = 0;
};

// Which part of the hold-out split a prompt must lie in.
enum class Split { kTrain, kDev, kEval };

// The side of a prompt text by Fnv1a64Finalized % 10: 0 = eval, 1 = dev, 2-9 = train.
Split SplitOf(absl::string_view prompt);

// Identity of a prompt with its answer: 16 hex digits of XXH3.
std::string PromptId(absl::string_view prompt, absl::string_view answer);

// Thread-safe. Row `index` of the train split is a pure function of (run_seed, stage_index, index);
// evaluation and dev prompts depend on nothing but the index, so that every run and stage measures
// the same ones, and are distinct.
class Task {
 public:
  virtual ~Task() = default;
  // Prompts of a split; UINT64_MAX when there is no end to them. An index must be below.
  virtual uint64_t size(Split split) const = 0;
  virtual PromptRow Prompt(Split split, uint64_t run_seed, uint32_t stage_index,
                           uint64_t index) const = 0;
  // The same question in the form that pre-training documents call "textbook"; the answer is the
  // whole working. Depends on nothing but split and index.
  virtual PromptRow TextbookPrompt(Split split, uint64_t index) const = 0;
  // Documents and demonstrations are about prompts of the train split only.
  virtual TextRow Document(uint64_t run_seed, uint32_t stage_index, uint64_t index) const = 0;
  virtual TextRow Demonstration(uint64_t run_seed, uint32_t stage_index, uint64_t index) const = 0;
};

using TaskRegistry = Registry<std::unique_ptr<Task>()>;

// InvalidArgument names the unknown task, the nearest one and all known ones.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Task>> MakeTask(const std::string& name);

}  // namespace r1
