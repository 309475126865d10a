// Prompts from JSONL files: rows with `prompt` or `question`, `answer`, and for fine-tuning
// `completion`; every other column is kept for the rewards. Exact repetitions are left out and
// counted, as are prompts that are too long, and training prompts that also stand in the evaluation
// files.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/prompt_source.h"
#include "common/status.h"
#include "proto/config.pb.h"

namespace r1 {

// Immutable once loaded; thread-safe.
class Dataset : public PromptSource {
 public:
  enum class Kind {
    kAnswers,  // rows need `answer`, or the `tests` of a program
    // Rows need `completion`; `answer` may be missing. A worked answer, parted by
    // data.answer_marker, stands for a missing completion:
    // <think>working</think><answer>…</answer>.
    kCompletions,
  };

  struct File {
    std::string path;
    std::string sha256;
    uint64_t rows = 0;  // before anything was left out
  };

  struct LeftOut {
    uint64_t too_long = 0;   // prompts of more than data.prompt_tokens_max tokens
    uint64_t repeated = 0;   // rows equal to an earlier one of their files
    uint64_t evaluated = 0;  // training rows whose prompt is in the evaluation files
    uint64_t pass_rate = 0;  // training rows outside of data.pass_rate_min to pass_rate_max
  };

  // InvalidArgument, with path:line, for a row that cannot be used; for a file that is empty or has
  // nothing but repetitions; for training files without one prompt that fits. NotFound.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Dataset>> Load(const v1::DataConfig& config,
                                                                     Kind kind,
                                                                     const Tokenizer& tokenizer);

  // Without evaluation files, SplitOf holds eval and dev rows out of the training files; with them,
  // dev rows only.
  uint64_t size(Split split) const override;
  // Training rows come in a new order every epoch, or by data.order; dev and evaluation rows in the
  // files' order.
  PromptRow Prompt(Split split, uint64_t run_seed, uint32_t stage_index,
                   uint64_t index) const override;
  // Prompt and completion of a training row, in the same order. Kind::kCompletions only.
  TextRow Demonstration(uint64_t run_seed, uint32_t stage_index, uint64_t index) const;

  const std::vector<File>& files() const { return files_; }
  const LeftOut& left_out() const { return left_out_; }

 private:
  friend class DatasetLoader;

  struct Row {
    std::string prompt_id;
    std::string prompt;  // the row's own, without the template
    std::string answer;
    std::string completion;
    std::string columns_json;
    std::optional<double> pass_rate;  // the row's column
  };

  PromptRow MakePrompt(const Row& row) const;
  const Row& TrainingRow(uint64_t run_seed, uint32_t stage_index, uint64_t index) const;
  const std::vector<Row>& rows(Split split) const { return rows_[static_cast<size_t>(split)]; }

  // The template around {prompt}.
  std::string before_prompt_;
  std::string after_prompt_;
  bool think_prefilled_ = false;  // the template ends in <think>
  Kind kind_ = Kind::kAnswers;
  bool shuffled_ = true;
  std::vector<Row> rows_[3];  // by Split
  std::vector<File> files_;
  LeftOut left_out_;
};

}  // namespace r1
