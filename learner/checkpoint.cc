#include "learner/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/log.h"
#include "common/utf8.h"

namespace r1::learner {
namespace {

constexpr char kTemporaryMark[] = ".tmp-";
constexpr char kDamagedMark[] = ".damaged";
constexpr absl::string_view kStepMark = "_step_";
constexpr size_t kStageNameBytesMax = 100;

bool IsPlainStageName(absl::string_view name) {
  if (name.empty() || name.size() > kStageNameBytesMax) return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-';
  });
}

auto AgeOf(const CheckpointName& name) {
  return std::make_tuple(name.stage_index, name.step, name.revision);
}

// Part manifests of a save by several ranks, merged and removed by Commit.
std::string ModelPart() { return absl::StrCat(kManifestName, ".model"); }
std::string RankPart(int rank) { return absl::StrCat(kManifestName, ".rank_", rank); }

}  // namespace

std::string CheckpointName::ToString() const {
  std::string name = absl::StrFormat("%02d_%s_step_%06d", stage_index, stage_name, step);
  if (revision > 1) absl::StrAppend(&name, ".r", revision);
  return name;
}

std::optional<CheckpointName> CheckpointName::Parse(absl::string_view name) {
  CheckpointName parsed;
  absl::string_view rest = name;
  if (const size_t mark = rest.rfind(".r"); mark != absl::string_view::npos) {
    if (!absl::SimpleAtoi(rest.substr(mark + 2), &parsed.revision)) return std::nullopt;
    rest = rest.substr(0, mark);
  }
  const size_t step = rest.rfind(kStepMark);
  const size_t stage_name = rest.find('_');
  if (step == absl::string_view::npos || stage_name >= step) return std::nullopt;
  parsed.stage_name = std::string(rest.substr(stage_name + 1, step - stage_name - 1));
  if (!absl::SimpleAtoi(rest.substr(0, stage_name), &parsed.stage_index) ||
      !absl::SimpleAtoi(rest.substr(step + kStepMark.size()), &parsed.step) || parsed.step < 0 ||
      !IsPlainStageName(parsed.stage_name) || parsed.ToString() != name) {
    return std::nullopt;
  }
  return parsed;
}

CheckpointStore::CheckpointStore(FileSystem& filesystem, Options options)
    : filesystem_(filesystem), options_(std::move(options)) {
  R1_CHECK(options_.keep >= 2);
  R1_CHECK(options_.files.shard_bytes_max > 0);
}

std::string CheckpointStore::NextNonce() { return absl::StrCat(getpid(), "-", ++nonces_); }

absl::StatusOr<std::vector<CheckpointName>> CheckpointStore::Names() const {
  const auto entries = filesystem_.List(options_.folder);
  if (absl::IsNotFound(entries.status())) return std::vector<CheckpointName>();
  if (!entries.ok()) return entries.status();
  std::vector<CheckpointName> names;
  for (const std::string& entry : *entries) {
    if (auto name = CheckpointName::Parse(entry)) names.push_back(*std::move(name));
  }
  std::sort(names.begin(), names.end(),
            [](const CheckpointName& a, const CheckpointName& b) { return AgeOf(a) < AgeOf(b); });
  return names;
}

absl::StatusOr<std::vector<std::string>> CheckpointStore::List() const {
  R1_ASSIGN_OR_RETURN(const std::vector<CheckpointName> names, Names());
  std::vector<std::string> result;
  for (const CheckpointName& name : names) result.push_back(name.ToString());
  return result;
}

// --- Saving ---

absl::StatusOr<std::string> CheckpointStore::Save(const CheckpointContents& contents,
                                                  const std::vector<v1::Group>& groups) {
  R1_ASSIGN_OR_RETURN(const std::string temporary, BeginSave(contents.state));
  absl::Status status = WriteModel(temporary, contents);
  status.Update(WriteShard(temporary, 0, groups));
  if (!status.ok()) {
    Abandon(temporary);
    return status;
  }
  return Commit(temporary, 1);
}

absl::StatusOr<std::string> CheckpointStore::BeginSave(const v1::CheckpointState& state) {
  R1_CHECK(state.step() >= 0);
  CheckpointName name{state.stage_index(), state.stage_name(), state.step()};
  if (!IsPlainStageName(name.stage_name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint: a stage name has letters, digits, '_' and '-' only, and 1 to ",
                     kStageNameBytesMax, " of them, found ", Quoted(name.stage_name)));
  }
  if (!filesystem_.Exists(options_.folder)) {
    R1_RETURN_IF_ERROR(filesystem_.CreateDirectories(options_.folder));
    R1_RETURN_IF_ERROR(filesystem_.SyncDirectory(ParentPath(options_.folder)));
  }
  R1_ASSIGN_OR_RETURN(const std::vector<CheckpointName> names, Names());
  for (const CheckpointName& existing : names) {
    if (existing.stage_index == name.stage_index && existing.step == name.step) {
      name.revision = std::max(name.revision, existing.revision + 1);
    }
  }
  const std::string temporary =
      JoinPath(options_.folder, absl::StrCat(name.ToString(), kTemporaryMark, NextNonce()));
  R1_RETURN_IF_ERROR(filesystem_.RemoveAll(temporary));  // of a process that had our id
  if (absl::Status status = filesystem_.CreateDirectories(temporary); !status.ok()) {
    Abandon(temporary);
    return status;
  }
  return temporary;
}

absl::Status CheckpointStore::WritePart(const std::string& temporary, const std::string& part,
                                        std::vector<ManifestEntry> entries) {
  const std::string text = FormatManifest(std::move(entries));
  R1_ASSIGN_OR_RETURN(const auto file, filesystem_.Create(JoinPath(temporary, part)));
  R1_RETURN_IF_ERROR(file->Append(text));
  R1_RETURN_IF_ERROR(file->Sync());
  return file->Close();
}

absl::Status CheckpointStore::WriteModel(const std::string& temporary,
                                         const CheckpointContents& contents) {
  R1_ASSIGN_OR_RETURN(std::vector<ManifestEntry> entries,
                      WriteModelFiles(filesystem_, temporary, contents, options_.files));
  return WritePart(temporary, ModelPart(), std::move(entries));
}

absl::Status CheckpointStore::WriteShard(const std::string& temporary, int rank,
                                         const std::vector<v1::Group>& groups) {
  R1_ASSIGN_OR_RETURN(ManifestEntry entry, WriteGroupsFile(filesystem_, temporary, rank, groups));
  return WritePart(temporary, RankPart(rank), {std::move(entry)});
}

absl::StatusOr<std::string> CheckpointStore::Commit(const std::string& temporary, int ranks) {
  absl::StatusOr<std::string> path = CommitParts(temporary, ranks);
  if (!path.ok()) {
    Abandon(temporary);
    return path;
  }
  if (absl::Status status = RemoveOld(); !status.ok()) {
    R1_LOG(kWarning) << "cannot remove old checkpoints, will try again after the next one: "
                     << status.message();
  }
  return path;
}

absl::StatusOr<std::string> CheckpointStore::CommitParts(const std::string& temporary, int ranks) {
  std::vector<std::string> parts = {ModelPart()};
  for (int rank = 0; rank < ranks; ++rank) parts.push_back(RankPart(rank));
  std::vector<ManifestEntry> entries;
  for (const std::string& part : parts) {
    const auto text = filesystem_.Read(JoinPath(temporary, part), kManifestBytesMax);
    if (absl::IsNotFound(text.status())) {
      return absl::FailedPreconditionError(absl::StrCat(
          temporary, ": ", part, " is missing: that part of the checkpoint was not written"));
    }
    if (!text.ok()) return text.status();
    R1_ASSIGN_OR_RETURN(const std::vector<ManifestEntry> some, ParseManifest(*text));
    entries.insert(entries.end(), some.begin(), some.end());
    R1_RETURN_IF_ERROR(filesystem_.RemoveAll(JoinPath(temporary, part)));
  }
  for (const std::string& folder : CheckpointFolders(filesystem_, temporary)) {
    R1_RETURN_IF_ERROR(filesystem_.SyncDirectory(folder));
  }
  R1_RETURN_IF_ERROR(WritePart(temporary, kManifestName, std::move(entries)));
  R1_RETURN_IF_ERROR(filesystem_.SyncDirectory(temporary));

  const std::string path = temporary.substr(0, temporary.rfind(kTemporaryMark));
  R1_RETURN_IF_ERROR(filesystem_.Rename(temporary, path));
  R1_RETURN_IF_ERROR(filesystem_.SyncDirectory(options_.folder));
  return path;
}

void CheckpointStore::Abandon(const std::string& temporary) {
  R1_CHECK(absl::StrContains(temporary, kTemporaryMark));
  if (absl::Status status = filesystem_.RemoveAll(temporary); !status.ok()) {
    R1_LOG(kWarning) << "cannot remove an unfinished checkpoint, the next start will: "
                     << status.message();
  }
}

absl::Status CheckpointStore::RemoveFrom(uint32_t stage_index) {
  R1_ASSIGN_OR_RETURN(const std::vector<CheckpointName> names, Names());
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (name->stage_index < stage_index) break;
    R1_RETURN_IF_ERROR(Remove({name->ToString()}));
  }
  return absl::OkStatus();
}

absl::Status CheckpointStore::RemoveOld() {
  R1_ASSIGN_OR_RETURN(const std::vector<CheckpointName> names, Names());
  int kept = 0;
  std::vector<std::string> removed;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    const bool superseded = name != names.rbegin() &&
                            name->stage_index == (name - 1)->stage_index &&
                            name->step == (name - 1)->step;
    const bool ends_stage = name == names.rbegin() || name->stage_index != (name - 1)->stage_index;
    if (!superseded && kept++ < options_.keep) continue;
    if (!superseded && ends_stage && options_.keep_stage_ends) continue;
    removed.push_back(name->ToString());
  }
  return Remove(removed);
}

// Renamed first, and that is made durable, so that no half-removed folder ever has a checkpoint's
// name.
absl::Status CheckpointStore::Remove(const std::vector<std::string>& names) {
  std::vector<std::string> removed;
  for (const std::string& name : names) {
    const std::string path = JoinPath(options_.folder, name);
    removed.push_back(absl::StrCat(path, kTemporaryMark, NextNonce()));
    R1_RETURN_IF_ERROR(filesystem_.Rename(path, removed.back()));
  }
  if (removed.empty()) return absl::OkStatus();
  R1_RETURN_IF_ERROR(filesystem_.SyncDirectory(options_.folder));
  for (const std::string& path : removed) R1_RETURN_IF_ERROR(filesystem_.RemoveAll(path));
  return absl::OkStatus();
}

// --- Loading ---

absl::StatusOr<LoadedCheckpoint> CheckpointStore::Load(const std::string& name) const {
  const std::string path = JoinPath(options_.folder, name);
  if (!filesystem_.Exists(path)) {
    return absl::NotFoundError(absl::StrCat(path, ": no such checkpoint"));
  }
  std::vector<std::string> problems;
  R1_ASSIGN_OR_RETURN(CheckpointFiles files, ReadCheckpointFiles(filesystem_, path, problems));
  return LoadedCheckpoint{name, std::move(files.contents), std::move(files.groups), {}, {}};
}

absl::StatusOr<LoadedCheckpoint> CheckpointStore::LoadStageEnd(uint32_t stage_index) const {
  R1_ASSIGN_OR_RETURN(const std::vector<CheckpointName> names, Names());
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (name->stage_index != stage_index) continue;
    R1_ASSIGN_OR_RETURN(LoadedCheckpoint loaded, Load(name->ToString()));
    if (loaded.contents.state.stage_done()) return loaded;
    break;
  }
  return absl::NotFoundError(absl::StrCat(options_.folder, ": expected a checkpoint of the end of ",
                                          "stage ", stage_index, ", found none"));
}

absl::StatusOr<LoadedCheckpoint> CheckpointStore::LoadNewest() const {
  R1_ASSIGN_OR_RETURN(const std::vector<std::string> names, List());
  if (names.empty()) {
    return absl::NotFoundError(absl::StrCat(options_.folder, ": no checkpoint yet"));
  }
  LoadedCheckpoint loaded;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    std::vector<std::string> problems;
    auto files = ReadCheckpointFiles(filesystem_, JoinPath(options_.folder, *name), problems);
    if (files.ok()) {
      loaded.name = *name;
      loaded.contents = std::move(files->contents);
      loaded.groups = std::move(files->groups);
      return loaded;
    }
    if (!absl::IsDataLoss(files.status())) return files.status();
    loaded.damaged.push_back(*name);
    for (const std::string& problem : problems) {
      loaded.problems.push_back(absl::StrCat(*name, ": ", problem));
    }
  }
  return absl::DataLossError(
      absl::StrCat(options_.folder, ": none of ", names.size(),
                   " checkpoints is intact: ", absl::StrJoin(loaded.problems, "; ")));
}

absl::StatusOr<LoadedCheckpoint> CheckpointStore::Recover() {
  if (absl::Status status = RemoveTemporaries(); !status.ok()) {
    R1_LOG(kWarning) << "cannot remove what an interrupted save left: " << status.message();
  }
  R1_ASSIGN_OR_RETURN(LoadedCheckpoint loaded, LoadNewest());
  for (const std::string& problem : loaded.problems) {
    R1_LOG(kError) << "damaged checkpoint " << problem;
  }
  for (const std::string& name : loaded.damaged) {
    const std::string path = JoinPath(options_.folder, name);
    const std::string aside = absl::StrCat(path, kDamagedMark);
    R1_RETURN_IF_ERROR(filesystem_.RemoveAll(aside));
    R1_RETURN_IF_ERROR(filesystem_.Rename(path, aside));
    R1_LOG(kError) << "set aside " << aside << "; going on from the older " << loaded.name;
  }
  if (!loaded.damaged.empty()) R1_RETURN_IF_ERROR(filesystem_.SyncDirectory(options_.folder));
  return loaded;
}

absl::Status CheckpointStore::RemoveTemporaries() {
  const auto entries = filesystem_.List(options_.folder);
  if (absl::IsNotFound(entries.status())) return absl::OkStatus();
  if (!entries.ok()) return entries.status();
  for (const std::string& entry : *entries) {
    const size_t mark = entry.find(kTemporaryMark);
    if (mark == std::string::npos || !CheckpointName::Parse(entry.substr(0, mark))) continue;
    R1_RETURN_IF_ERROR(filesystem_.RemoveAll(JoinPath(options_.folder, entry)));
  }
  return absl::OkStatus();
}

}  // namespace r1::learner
