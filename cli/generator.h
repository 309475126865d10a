// Prompts to responses with a model folder, for r1 generate: rows of a file together, continuously
// batched, or one prompt whose text is handed out as it grows.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cli/generation_settings.h"
#include "common/chat_template_files.h"
#include "common/growing_text.h"
#include "common/jsonl.h"
#include "common/models/model_spec.h"
#include "common/tokenizer.h"

namespace r1::cli {

class Generator {
 public:
  // The folder's model, and its tokenizer and chat template when it has them. Errors of these two
  // wait until a row needs them.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Generator>> Load(const std::string& folder,
                                                                       GenerationSettings settings);

  // Called with each piece of a sample's text; empty when there is none yet.
  using OnText = std::function<void(absl::string_view piece)>;

  // Results in the order of the rows. A row {prompt}, {messages} or {ids} gives {ids, text,
  // logprobs, finish_reason}, or {samples} with a list of them when several are asked for. `text`
  // is null without a tokenizer. `on_text` hears the first sample of each row.
  std::vector<absl::StatusOr<nlohmann::ordered_json>> Run(const std::vector<JsonlRow>& rows,
                                                          const OnText& on_text = nullptr);

  // The row of a prompt given by hand.
  JsonlRow PromptRow(const std::string& prompt) const;

 private:
  // One row's request and what has come of it.
  struct Task {
    size_t row;
    std::vector<GrowingText> texts;  // of each sample; empty without a tokenizer
    std::vector<nlohmann::ordered_json> samples;
    size_t missing = 0;  // samples
  };

  Generator(GenerationSettings settings, ModelSpec spec, const std::string& folder);
  absl::StatusOr<std::vector<int32_t>> PromptIds(const JsonlRow& row) const;
  absl::StatusOr<std::vector<int32_t>> MessageIds(const JsonlRow& row) const;
  absl::Status Submit(const JsonlRow& row, Task* task, const OnText& on_text);
  bool IsStopId(int32_t id) const;
  nlohmann::ordered_json Describe(rollout::GeneratedSample sample, Task* task) const;

  const GenerationSettings settings_;
  const ModelSpec spec_;
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer_;
  absl::StatusOr<ModelChatTemplate> chat_template_;
  std::vector<int32_t> stop_ids_;
  std::unique_ptr<rollout::Engine> engine_;
  uint64_t rows_done_ = 0;  // numbers the random streams
};

}  // namespace r1::cli
