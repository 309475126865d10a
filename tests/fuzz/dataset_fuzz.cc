// JSON lines and datasets: an error that can be printed, or rows that survive the round through a
// prompt. Input: a flag byte (bit 0: completions, bit 1: a marker, bit 2: a template), then a JSONL
// file.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/dataset.h"
#include "common/json.h"
#include "common/utf8.h"

namespace {

// A file in memory that has a path.
class MemoryFile {
 public:
  explicit MemoryFile(absl::string_view content) : file_(memfd_create("r1_fuzz", MFD_CLOEXEC)) {
    R1_CHECK(file_ >= 0);
    R1_CHECK(write(file_, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
  }
  ~MemoryFile() { close(file_); }
  std::string path() const { return absl::StrCat("/proc/self/fd/", file_); }

 private:
  const int file_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const r1::Tokenizer& tokenizer =
      *r1::Tokenizer::Parse(*r1::Tokenizer::BuiltinJson("bytes")).value().release();
  if (size == 0) return 0;
  const MemoryFile file({reinterpret_cast<const char*>(data) + 1, size - 1});
  r1::v1::DataConfig config;
  config.add_train_files(file.path());
  config.set_answer_marker((data[0] & 2) != 0 ? "####" : "");
  config.set_prompt_template((data[0] & 4) != 0 ? "Q: {prompt} <think>" : "{prompt}");
  config.set_prompt_tokens_max(200);
  const auto kind =
      (data[0] & 1) != 0 ? r1::Dataset::Kind::kCompletions : r1::Dataset::Kind::kAnswers;
  const auto dataset = r1::Dataset::Load(config, kind, tokenizer);
  if (!dataset.ok()) {
    R1_CHECK(!dataset.status().message().empty());
    R1_CHECK(r1::IsValidUtf8(dataset.status().message()));
    return 0;
  }
  for (const r1::Split split : {r1::Split::kTrain, r1::Split::kDev, r1::Split::kEval}) {
    for (uint64_t i = 0; i < (*dataset)->size(split); ++i) {
      const r1::PromptRow row = (*dataset)->Prompt(split, 1, 0, i);
      R1_CHECK(row.prompt_id.size() == 16);
      R1_CHECK(r1::IsValidUtf8(row.prompt));
      R1_CHECK(r1::ParseJson(row.columns_json, "columns").ok());
      const auto ids = r1::EncodePrompt(tokenizer, row);
      R1_CHECK(ids.ok());
      R1_CHECK(ids->size() <= 200);
      R1_CHECK(tokenizer.Decode(*ids) == absl::StrCat("<bos>", row.prompt));
    }
  }
  return 0;
}
