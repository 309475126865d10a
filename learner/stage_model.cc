#include "learner/stage_model.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace r1::learner {
namespace {

absl::StatusOr<StageModel> LoadEndOfStage(const v1::Config& config, int index,
                                          const CheckpointStore& store) {
  absl::StatusOr<LoadedCheckpoint> checkpoint = store.LoadStageEnd(static_cast<uint32_t>(index));
  if (!checkpoint.ok()) {
    return Annotate(checkpoint.status(),
                    absl::StrCat("the weights of stage ", config.stage(index).name()));
  }
  const CheckpointContents& contents = checkpoint->contents;
  StageModel model;
  R1_ASSIGN_OR_RETURN(model.model, ParseRunModel(contents.hf_config_json, contents.tokenizer_json,
                                                 contents.tokenizer_config_json));
  model.weights = contents.weights;
  model.origin = absl::StrCat("checkpoint ", checkpoint->name);
  return model;
}

}  // namespace

absl::StatusOr<StageModel> LoadFirstModel(const v1::ModelConfig& config) {
  StageModel model;
  R1_ASSIGN_OR_RETURN(model.model, LoadRunModel(config));
  R1_ASSIGN_OR_RETURN(std::optional<WeightsSnapshot> weights,
                      LoadRunWeights(config, model.model.spec));
  if (weights) model.weights = std::make_shared<WeightsSnapshot>(*std::move(weights));
  model.origin = config.path().empty() ? absl::StrCat("preset ", config.preset())
                                       : absl::StrCat("folder ", config.path());
  return model;
}

absl::StatusOr<StageModel> LoadStageModel(const v1::Config& config, int index,
                                          const StageInit& init, const CheckpointStore& store) {
  v1::ModelConfig model = config.model();
  if (init.kind == StageInit::Kind::kPreset) {
    model.clear_path();
    model.set_preset(init.name);
    if (!init.tokenizer.empty()) model.set_tokenizer(init.tokenizer);
    return LoadFirstModel(model);
  }
  if (init.kind == StageInit::Kind::kFolder) {
    model.set_path(init.name);
    return LoadFirstModel(model);
  }
  const int source = SourceStage(config, index, init);
  return source < 0 ? LoadFirstModel(model) : LoadEndOfStage(config, source, store);
}

}  // namespace r1::learner
