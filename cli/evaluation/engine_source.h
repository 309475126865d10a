// Samples from a model folder, by the engine in this process. A sample is a function of model,
// suite, seed and its own id alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/evaluation/sample_source.h"
#include "common/chat_template_files.h"
#include "common/evaluation/problems.h"
#include "common/models/model_spec.h"
#include "common/tokenizer.h"
#include "common/weights.h"
#include "proto/evaluation.pb.h"
#include "rollout/engine/engine.h"

namespace r1::cli {

class EngineSource : public SampleSource {
 public:
  struct Options {
    std::string model;
    uint64_t seed = 1;
    rollout::EngineOptions engine;
  };

  // Reads the folder; the engine starts with the first samples. Borrows suite and problems.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<EngineSource>> Load(
      const Options& options, const v1::EvaluationSuite& suite,
      const std::vector<EvaluationProblem>& problems);

  absl::Status Generate(const std::vector<SampleId>& wanted, const OnSample& on_sample,
                        std::map<std::string, int64_t>& failures) override;
  std::string ExamplePrompt() const override;

  // Of the weights: 16 hex digits.
  std::string ModelDigest() const;
  // Longest response where the suite asks for more than the model has positions.
  int64_t positions_max() const { return spec_.positions_max; }

 private:
  struct Prompt {
    std::vector<int32_t> ids;
    std::string text;
    bool think_prefilled = false;
  };
  // The samples of one problem that are drawn together.
  struct Group {
    size_t problem = 0;
    bool greedy = false;
    bool think_prefilled = false;
    std::vector<uint32_t> samples;
  };

  EngineSource(const Options& options, const v1::EvaluationSuite& suite,
               const std::vector<EvaluationProblem>& problems)
      : options_(options), suite_(suite), problems_(problems) {}
  absl::StatusOr<Prompt> MakePrompt(const EvaluationProblem& problem) const;
  absl::Status StartEngine();
  absl::Status Submit(uint64_t request_id, Group& group, const OnSample& on_sample);
  RawSample Describe(rollout::GeneratedSample sample, const Group& group) const;

  const Options options_;
  const v1::EvaluationSuite& suite_;
  const std::vector<EvaluationProblem>& problems_;
  ModelSpec spec_;
  std::unique_ptr<Tokenizer> tokenizer_;
  absl::StatusOr<ModelChatTemplate> template_;
  WeightsSnapshot weights_;
  std::vector<int32_t> stop_ids_;
  std::unique_ptr<rollout::Engine> engine_;
};

}  // namespace r1::cli
