#include "learner/sample_writer.h"

#include <zstd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "learner/checkpoint.h"

namespace r1::learner {
namespace {

constexpr absl::string_view kSuffix = ".jsonl.zst";
constexpr absl::string_view kEvalMark = ".eval_";
constexpr absl::string_view kTemporarySuffix = ".tmp";
constexpr int kZstdLevel = 3;

std::string FileName(const SampleBatch& batch) {
  std::string name = CheckpointName{batch.stage_index, batch.stage, batch.step}.ToString();
  if (!batch.eval_set.empty()) absl::StrAppend(&name, kEvalMark, batch.eval_set);
  return absl::StrCat(name, kSuffix);
}

// Stage, step and evaluation set; `samples` stay empty. nullopt for files of somebody else.
std::optional<SampleBatch> ParseFileName(absl::string_view name) {
  if (!absl::ConsumeSuffix(&name, kSuffix)) return std::nullopt;
  SampleBatch batch;
  if (const size_t mark = name.find(kEvalMark); mark != absl::string_view::npos) {
    batch.eval_set = std::string(name.substr(mark + kEvalMark.size()));
    if (batch.eval_set.find('/') != std::string::npos) return std::nullopt;
    name = name.substr(0, mark);
  }
  const auto stem = CheckpointName::Parse(name);
  if (!stem || stem->revision != 1) return std::nullopt;
  batch.stage = stem->stage_name;
  batch.stage_index = stem->stage_index;
  batch.step = stem->step;
  return batch;
}

const char* FinishReasonText(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    default:
      return "unknown";
  }
}

// One frame with a content checksum, so that `zstd -t` notices damage.
absl::StatusOr<std::string> Compress(const std::string& text) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                     &ZSTD_freeCCtx);
  R1_CHECK(context != nullptr);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kZstdLevel);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  std::string compressed(ZSTD_compressBound(text.size()), '\0');
  const size_t bytes =
      ZSTD_compress2(context.get(), compressed.data(), compressed.size(), text.data(), text.size());
  if (ZSTD_isError(bytes)) {
    return absl::InternalError(absl::StrCat("zstd: ", ZSTD_getErrorName(bytes)));
  }
  compressed.resize(bytes);
  return compressed;
}

bool IsPending(const SampleBatch& file, const v1::CheckpointState& checkpoint) {
  return file.stage_index == checkpoint.stage_index() &&
         std::any_of(checkpoint.pending_evals().begin(), checkpoint.pending_evals().end(),
                     [&](const v1::PendingEval& eval) {
                       return eval.set() == file.eval_set && eval.step() == file.step;
                     });
}

bool BelongsTo(const SampleBatch& file, const v1::CheckpointState& checkpoint) {
  return std::make_tuple(file.stage_index, file.step) <=
             std::make_tuple(checkpoint.stage_index(), checkpoint.step()) &&
         !IsPending(file, checkpoint);
}

}  // namespace

std::string FormatSample(const SampleBatch& batch, const v1::SampleRecord& sample) {
  nlohmann::ordered_json line;
  line["stage"] = batch.stage;
  line["step"] = batch.step;
  line["purpose"] = batch.eval_set.empty() ? "train" : "eval";
  if (!batch.eval_set.empty()) line["eval_set"] = batch.eval_set;
  line["group_id"] = sample.group_id();
  line["sample_index"] = sample.sample_index();
  line["prompt"] = sample.prompt();
  line["think_prefilled"] = sample.think_prefilled();
  line["answer"] = sample.answer();
  line["text"] = sample.text();
  line["tokens"] = sample.tokens();
  line["reward"] = sample.reward();
  line["masked"] = sample.masked();
  line["parts"] = nlohmann::ordered_json::array();
  for (const v1::RewardPart& part : sample.parts()) {
    nlohmann::ordered_json entry;
    entry["name"] = part.name();
    entry["value"] = part.value();
    entry["reason"] = part.reason();
    for (const v1::RewardSubScore& score : part.sub_scores()) {
      entry["parts"][score.name()] = score.value();
    }
    if (!part.error().empty()) entry["error"] = part.error();
    line["parts"].push_back(std::move(entry));
  }
  if (batch.eval_set.empty()) line["advantage"] = sample.advantage();
  line["policy_version"] = sample.policy_version();
  line["finish_reason"] = FinishReasonText(sample.finish_reason());
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

absl::StatusOr<std::unique_ptr<SampleWriter>> SampleWriter::Open(FileSystem& filesystem,
                                                                 Options options) {
  R1_CHECK(options.every_n >= 1);
  std::unique_ptr<SampleWriter> writer(new SampleWriter(filesystem, std::move(options)));
  const std::string& folder = writer->options_.folder;
  R1_RETURN_IF_ERROR(filesystem.CreateDirectories(folder));
  R1_ASSIGN_OR_RETURN(const std::vector<std::string> names, filesystem.List(folder));
  for (const std::string& name : names) {
    if (!ParseFileName(name)) continue;
    R1_ASSIGN_OR_RETURN(const uint64_t bytes, filesystem.Size(JoinPath(folder, name)));
    writer->bytes_ += bytes;
  }
  return writer;
}

absl::StatusOr<bool> SampleWriter::Write(const SampleBatch& batch) {
  if (batch.samples.empty()) return false;
  if (bytes_ >= options_.bytes_max && batch.step % options_.every_n != 0) return false;
  const std::string name = FileName(batch);
  R1_CHECK(ParseFileName(name).has_value());  // or a resume would not find it
  std::string text;
  for (const v1::SampleRecord& sample : batch.samples) text += FormatSample(batch, sample);
  R1_ASSIGN_OR_RETURN(const std::string compressed, Compress(text));

  const std::string path = JoinPath(options_.folder, name);
  const std::string temporary = absl::StrCat(path, kTemporarySuffix);
  uint64_t replaced = 0;
  if (filesystem_.Exists(path)) {
    R1_ASSIGN_OR_RETURN(replaced, filesystem_.Size(path));
  }
  const auto write = [&]() -> absl::Status {
    R1_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, filesystem_.Create(temporary));
    R1_RETURN_IF_ERROR(file->Append(compressed));
    R1_RETURN_IF_ERROR(file->Close());
    return filesystem_.Rename(temporary, path);
  };
  if (absl::Status status = write(); !status.ok()) {
    status.Update(filesystem_.RemoveAll(temporary));  // keeps the first error
    return status;
  }
  bytes_ += compressed.size() - replaced;
  unsynced_.push_back(path);
  return true;
}

absl::Status SampleWriter::Sync() {
  for (const std::string& path : unsynced_) {
    R1_ASSIGN_OR_RETURN(const auto file, filesystem_.OpenForAppend(path));
    R1_RETURN_IF_ERROR(file->Sync());
    R1_RETURN_IF_ERROR(file->Close());
  }
  if (!unsynced_.empty()) R1_RETURN_IF_ERROR(filesystem_.SyncDirectory(options_.folder));
  unsynced_.clear();
  return absl::OkStatus();
}

absl::Status CutBackSamples(FileSystem& filesystem, const std::string& folder,
                            const v1::CheckpointState* checkpoint) {
  const auto names = filesystem.List(folder);
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const bool temporary = absl::EndsWith(name, kTemporarySuffix);
    const auto file = ParseFileName(absl::StripSuffix(name, kTemporarySuffix));
    if (!file || (!temporary && checkpoint != nullptr && BelongsTo(*file, *checkpoint))) continue;
    R1_RETURN_IF_ERROR(filesystem.RemoveAll(JoinPath(folder, name)));
  }
  return absl::OkStatus();
}

}  // namespace r1::learner
