#include "learner/rewind_run.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config.h"
#include "common/filesystem.h"
#include "common/log.h"
#include "learner/checkpoint.h"
#include "learner/run_directory.h"

namespace r1::learner {
namespace {

constexpr char kConfigName[] = "config.toml";
constexpr char kReportName[] = "report.json";
constexpr uint64_t kConfigBytesMax = 16 << 20;

std::string CheckpointsOf(const v1::Config& config) {
  return JoinPath(config.run().dir(), "checkpoints");
}

// Fields that differ and lie outside of the stages from `index` on.
std::vector<std::string> EarlierChanges(const v1::Config& then, const v1::Config& now, int index) {
  // Both cut to the earlier stages: what comes later may have changed, even in number.
  const auto cut = [index](const v1::Config& config) {
    v1::Config earlier = config;
    earlier.mutable_run()->clear_dir();  // a run may be moved
    // Defaults of stages stand in the stages that are left, too.
    earlier.clear_data();
    earlier.clear_optimizer();
    earlier.clear_sampling();
    earlier.clear_eval();
    while (earlier.stage_size() > index) earlier.mutable_stage()->RemoveLast();
    return earlier;
  };
  return ChangedFields(cut(then), cut(now), /*include_safe=*/false);
}

}  // namespace

absl::Status RewindRun(const v1::Config& config, int index) {
  const std::string& dir = config.run().dir();
  FileSystem& files = RealFileSystem();
  const std::string config_path = JoinPath(dir, kConfigName);
  const std::string& stage = config.stage(index).name();
  if (!files.Exists(config_path)) {
    if (index == 0) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        dir, ": expected a run that has come to the end of stage ", config.stage(index - 1).name(),
        ", found none; leave --from-stage and --only-stage away"));
  }
  R1_RETURN_IF_ERROR(CheckNotHeld(dir));
  R1_ASSIGN_OR_RETURN(const std::string text, files.Read(config_path, kConfigBytesMax));
  R1_ASSIGN_OR_RETURN(const LoadedConfig then, LoadConfigText(config_path, text, {}));
  const std::vector<std::string> changes = EarlierChanges(then.config, config, index);
  if (!changes.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(dir, ": from stage ", stage, " on the config may change, but not in ",
                     absl::StrJoin(changes, ", "), "; begin a new run with --set run.dir=…"));
  }
  CheckpointStore store(files, {.folder = CheckpointsOf(config)});
  if (index > 0) {
    const auto before = store.LoadStageEnd(static_cast<uint32_t>(index - 1));
    if (!before.ok()) {
      return Annotate(before.status(), absl::StrCat("stage ", stage, " cannot begin"));
    }
  }
  R1_RETURN_IF_ERROR(files.RemoveAll(JoinPath(dir, kReportName)));
  R1_RETURN_IF_ERROR(store.RemoveFrom(static_cast<uint32_t>(index)));
  R1_LOG(kInfo) << dir << ": stage " << stage << " begins again";
  return WriteFileAtomically(files, config_path, ConfigToToml(config));
}

absl::StatusOr<bool> IsInsideStage(const v1::Config& config, int index) {
  const CheckpointStore store(RealFileSystem(), {.folder = CheckpointsOf(config)});
  const absl::StatusOr<LoadedCheckpoint> newest = store.LoadNewest();
  if (absl::IsNotFound(newest.status())) return false;
  if (!newest.ok()) return newest.status();
  const v1::CheckpointState& state = newest->contents.state;
  return state.stage_index() == static_cast<uint32_t>(index) && !state.stage_done();
}

}  // namespace r1::learner
