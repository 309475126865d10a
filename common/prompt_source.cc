#include "common/prompt_source.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace r1 {
namespace {

class TaskSource : public PromptSource {
 public:
  explicit TaskSource(std::shared_ptr<const Task> task) : task_(std::move(task)) {}
  uint64_t size(Split split) const override { return task_->size(split); }
  PromptRow Prompt(Split split, uint64_t run_seed, uint32_t stage_index,
                   uint64_t index) const override {
    return task_->Prompt(split, run_seed, stage_index, index);
  }

 private:
  const std::shared_ptr<const Task> task_;
};

// Appends the ids of text[begin, end).
absl::Status AppendPart(const Tokenizer& tokenizer, absl::string_view text, size_t begin,
                        size_t end, bool parse_added_tokens, std::vector<int32_t>& ids) {
  const auto part = tokenizer.Encode(text.substr(begin, end - begin), parse_added_tokens);
  if (!part.ok()) return Annotate(part.status(), absl::StrCat("from byte ", begin));
  ids.insert(ids.end(), part->begin(), part->end());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> EncodeTemplated(const Tokenizer& tokenizer,
                                                     absl::string_view text, size_t data_begin,
                                                     size_t data_end) {
  R1_CHECK(data_begin <= data_end);
  R1_CHECK(data_end <= text.size());
  std::vector<int32_t> ids;
  if (tokenizer.bos_id() >= 0) ids.push_back(tokenizer.bos_id());
  R1_RETURN_IF_ERROR(AppendPart(tokenizer, text, 0, data_begin, true, ids));
  R1_RETURN_IF_ERROR(AppendPart(tokenizer, text, data_begin, data_end, false, ids));
  R1_RETURN_IF_ERROR(AppendPart(tokenizer, text, data_end, text.size(), true, ids));
  return ids;
}

}  // namespace

std::unique_ptr<PromptSource> MakeTaskSource(std::shared_ptr<const Task> task) {
  return std::make_unique<TaskSource>(std::move(task));
}

absl::StatusOr<std::vector<int32_t>> EncodePrompt(const Tokenizer& tokenizer,
                                                  const PromptRow& row) {
  auto ids = EncodeTemplated(tokenizer, row.prompt, row.data_begin, row.data_end);
  if (!ids.ok()) return Annotate(ids.status(), absl::StrCat("prompt ", row.prompt_id));
  return ids;
}

absl::StatusOr<EncodedText> EncodeText(const Tokenizer& tokenizer, const TextRow& row) {
  auto prompt = EncodeTemplated(tokenizer, row.prompt, row.data_begin, row.data_end);
  if (!prompt.ok()) return Annotate(prompt.status(), "prompt");
  auto completion = tokenizer.Encode(row.completion);
  if (!completion.ok()) return Annotate(completion.status(), "completion");
  EncodedText text{.ids = *std::move(prompt)};
  text.first_target = static_cast<int>(text.ids.size());
  text.ids.insert(text.ids.end(), completion->begin(), completion->end());
  if (tokenizer.eos_id() >= 0) text.ids.push_back(tokenizer.eos_id());
  return text;
}

}  // namespace r1
