// Texts to fine-tune on: JSONL rows with `messages`, or with `prompt` and `completion`. The loss is
// on what the model itself has to write: the completion, or every message of the assistant, each to
// its end of turn.
//
// A conversation becomes the text that the chat template makes of it. Where the template shows an
// earlier turn otherwise once later ones follow (the R1 distillations drop the thinking of earlier
// turns), the turns cannot share one sequence: each becomes a sequence of its own, with the prompt
// that the model would really see. What the template writes and what a user wrote are encoded
// apart, so that no message can put a special token into a prompt (common/chat_template.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/chat_template_files.h"
#include "common/status.h"
#include "common/token_range.h"
#include "common/tokenizer.h"

namespace r1 {

struct TrainText {
  std::vector<int32_t> ids;
  std::vector<TokenRange> targets;  // with loss; from 1 on, ascending, disjoint, none empty
};

// How rows become token ids. Borrowed for the call or the set's life.
struct TrainTextOptions {
  const Tokenizer& tokenizer;
  // {prompt} is replaced by the row's `prompt`; not for rows with `messages`.
  std::string prompt_template = "{prompt}";
  // Null: rows with `messages` are refused.
  const ModelChatTemplate* chat_template = nullptr;
};

// The sequences of one row, at least one. InvalidArgument, with `where` in front: neither messages
// nor a prompt with its completion; no message of the assistant; a text that the tokenizer or the
// template refuses.
[[nodiscard]] absl::StatusOr<std::vector<TrainText>> EncodeTrainRow(
    const std::string& row_json, const std::string& where, const TrainTextOptions& options);

// Whether the file's first row has `messages`. NotFound, InvalidArgument.
[[nodiscard]] absl::StatusOr<bool> HasMessages(const std::string& path);

// Immutable once loaded; thread-safe.
class TrainingSet {
 public:
  struct LeftOut {
    uint64_t too_long = 0;  // sequences of more than tokens_max tokens
    uint64_t repeated = 0;  // rows equal to an earlier one
  };

  // Every row is encoded once, so that a bad one is known before the training begins.
  // InvalidArgument, with path:line, for a row that cannot be used, and when nothing is left.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TrainingSet>> Load(
      const std::vector<std::string>& paths, int64_t tokens_max, TrainTextOptions options);

  // Sequences of an epoch.
  uint64_t size() const { return places_.size(); }
  // Position of the endless stream of epochs, each in a new order.
  TrainText Sequence(uint64_t run_seed, uint32_t stage_index, uint64_t position) const;

  const LeftOut& left_out() const { return left_out_; }
  uint64_t tokens() const { return tokens_; }  // of an epoch

 private:
  explicit TrainingSet(TrainTextOptions options) : options_(std::move(options)) {}
  absl::Status AddRow(std::string text, const std::string& where, int64_t tokens_max);

  const TrainTextOptions options_;
  std::vector<std::string> rows_;                      // as they stand in the files
  std::vector<std::pair<uint32_t, uint32_t>> places_;  // row, and which of its sequences
  LeftOut left_out_;
  uint64_t tokens_ = 0;
};

}  // namespace r1
