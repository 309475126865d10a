// A built-in task: prompts with verifiable answers, pre-training documents and demonstrations, made from a counter-based
// random stream. One file a task; registered by name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/registry.h"
#include "common/rng.h"

namespace r1 {

// A prompt with its gold answer; also one row of a dataset file.
struct PromptRow {
  std::string prompt_id;     // hash of the row, 16 hex digits
  std::string prompt;        // text the model continues (without <bos>)
  std::string answer;
  std::string columns_json;  // all other dataset columns, a JSON object
  bool think_prefilled = false;
};

// A training text: the loss is on `completion` only.
struct TextRow {
  std::string prompt;
  std::string completion;  // without <eos>
};

// Which part of the hold-out split a prompt must lie in.
enum class Split { kTrain, kDev, kEval };

// Stateless; thread-safe. Row `index` of a split is a pure function of (run_seed, stage_index, index); evaluation and dev
// prompts depend on nothing but the index, so that every run and stage measures the same ones.
class Task {
 public:
  virtual ~Task() = default;
  virtual PromptRow Prompt(Split split, uint64_t run_seed, uint32_t stage_index, uint64_t index) const = 0;
  // The same question in the form that pre-training documents call "textbook"; the answer is the whole working.
  virtual PromptRow TextbookPrompt(Split split, uint64_t index) const = 0;
  virtual TextRow Document(uint64_t run_seed, uint32_t stage_index, uint64_t index) const = 0;
  virtual TextRow Demonstration(uint64_t run_seed, uint32_t stage_index, uint64_t index) const = 0;
};

using TaskRegistry = Registry<std::unique_ptr<Task>()>;

}  // namespace r1
