// The data set that a rejection_sampling stage makes, in files that only grow until its end:
//
//   <folder>/NAME.jsonl          a row a kept sample, with its provenance; mixed rows behind them
//   <folder>/NAME.prompts.jsonl  a row a prompt, with its pass rate
//   <folder>/NAME.report.json    counts; its presence says that the set is complete
//
// What a checkpoint must remember is in RejectionSamplingState; a resumed stage cuts the files back
// to it, so that they end in the same bytes. Rows are described in docs/stages.md.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "common/filesystem.h"
#include "common/status.h"
#include "common/tasks/task.h"
#include "learner/append_file.h"
#include "learner/sample_selection.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/rollout.pb.h"

namespace r1::learner {

// What all samples of a stage have in common.
struct SampledSetIdentity {
  std::string stage;
  uint32_t stage_index = 0;
  uint64_t run_seed = 0;
  std::string weights_digest;  // WeightsSnapshot::Digest, hex
  std::string isa;             // of the run's numerics
  double temperature = 1;
  int64_t response_tokens_max = 0;
  std::string prompt_template;  // empty: a task's prompts, which have none
  std::string init;             // as the config has it
};

// Not thread-safe. Borrows the file system.
class SampledSet {
 public:
  // Cut back to `state`, which is empty at the start of the stage. DataLoss: a file is shorter than
  // the state says.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SampledSet>> Open(
      FileSystem& filesystem, const std::string& folder, SampledSetIdentity identity,
      const v1::RejectionSamplingConfig& config, const v1::RejectionSamplingState& state);

  struct GroupResult {
    int passed = 0;
    int kept = 0;
  };
  [[nodiscard]] absl::StatusOr<GroupResult> AddGroup(const PromptRow& prompt,
                                                     const v1::Group& group);
  // Makes the rows durable, and adds what a resumed stage needs to the state.
  [[nodiscard]] absl::Status Save(v1::RejectionSamplingState& state);
  // Appends the mixed rows and writes the report. `count_tokens` of a text, for its averages.
  using CountTokens = std::function<absl::StatusOr<uint64_t>(const std::string& text)>;
  [[nodiscard]] absl::Status Finish(const CountTokens& count_tokens);

  uint64_t kept() const;
  // The counts as people read them: a line a source and category, and a total.
  std::string Table() const;

 private:
  SampledSet(FileSystem& filesystem, std::string folder, SampledSetIdentity identity,
             const v1::RejectionSamplingConfig& config)
      : filesystem_(filesystem),
        folder_(std::move(folder)),
        identity_(std::move(identity)),
        config_(config),
        selector_(config) {}
  std::string Path(absl::string_view suffix) const;
  absl::Status OpenFiles(const v1::RejectionSamplingState& state);
  absl::Status RememberRows();
  absl::Status MixSource(int index, const v1::MixSourceConfig& source, uint64_t own_rows,
                         const CountTokens& count_tokens);
  std::string ReportJson() const;

  FileSystem& filesystem_;
  const std::string folder_;
  const SampledSetIdentity identity_;
  const v1::RejectionSamplingConfig config_;
  SampleSelector selector_;
  std::unique_ptr<AppendFile> rows_;
  std::unique_ptr<AppendFile> prompts_;
  std::map<std::pair<std::string, std::string>, v1::CategoryCounts> counts_;  // source, category
  std::map<std::string, uint64_t> rejected_;                                  // by reason
};

}  // namespace r1::learner
