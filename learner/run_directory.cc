#include "learner/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/config.h"
#include "common/config_schema.h"
#include "common/filesystem.h"
#include "common/json.h"
#include "common/log.h"
#include "learner/sample_writer.h"

namespace r1::learner {
namespace {

constexpr char kConfigName[] = "config.toml";
constexpr char kBuildName[] = "build.json";
constexpr char kIdentityName[] = "run.json";
constexpr char kMetricsName[] = "metrics.jsonl";
constexpr char kReportName[] = "report.json";
constexpr char kEndpointName[] = "endpoint.json";
constexpr char kLockName[] = "lock";
constexpr uint64_t kSmallFileBytesMax = 16 << 20;
constexpr int64_t kCountMax = int64_t{1} << 53;  // exact in every JSON reader
constexpr int kAttemptsMax = 1000000;

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

absl::Status ErrnoStatus(const std::string& path, absl::string_view what) {
  return absl::UnavailableError(absl::StrCat(path, ": ", what, ": ", std::strerror(errno)));
}

absl::StatusOr<nlohmann::json> ReadJsonObject(const std::string& path) {
  R1_ASSIGN_OR_RETURN(const std::string text, RealFileSystem().Read(path, kSmallFileBytesMax));
  R1_ASSIGN_OR_RETURN(nlohmann::json object, ParseJson(text, path));
  if (!object.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected a JSON object"));
  }
  return object;
}

// "runs/x" -> "runs/x-2", the first that does not exist.
std::string FreshFolder(const std::string& folder) {
  const absl::string_view stem = absl::StripSuffix(folder, "/");
  for (int i = 2;; ++i) {
    const std::string fresh = absl::StrCat(stem, "-", i);
    if (!RealFileSystem().Exists(fresh)) return fresh;
  }
}

// Only the launcher and an interrupted start leave a folder without a config.
absl::Status CheckFolderIsFree(const std::string& path) {
  R1_ASSIGN_OR_RETURN(const std::vector<std::string> names, RealFileSystem().List(path));
  for (const std::string& name : names) {
    if (name == "lock" || name == "logs" || absl::StartsWith(name, kConfigName)) continue;
    return absl::InvalidArgumentError(absl::StrCat(path, ": the folder is not empty (", name,
                                                   ") and is no run, because it has no ",
                                                   kConfigName, "; choose another run.dir"));
  }
  return absl::OkStatus();
}

// One line for each field that is not safe to change: "grpo.kl_coef: 0.001 in the run, 0 now".
absl::StatusOr<std::vector<std::string>> UnsafeChanges(const std::string& path,
                                                       const v1::Config& now) {
  const std::string config_path = JoinPath(path, kConfigName);
  R1_ASSIGN_OR_RETURN(const std::string text,
                      RealFileSystem().Read(config_path, kSmallFileBytesMax));
  absl::StatusOr<LoadedConfig> loaded = LoadConfigText(config_path, text, {});
  if (!loaded.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the run in ", path, " has a config that this program does not take:\n",
                     loaded.status().message(),
                     "\nuse the program that began it, or --set run.dir=", FreshFolder(path)));
  }
  v1::Config& then = loaded->config;
  then.mutable_run()->set_dir(now.run().dir());  // a run may be moved
  std::map<std::string, std::string> values_then, values_now;
  for (const FlatField& field : FlattenConfig(then)) values_then[field.path] = field.value;
  for (const FlatField& field : FlattenConfig(now)) values_now[field.path] = field.value;
  const auto value_in = [](const std::map<std::string, std::string>& values,
                           const std::string& field) {
    const auto value = values.find(field);
    return value == values.end() ? std::string("absent") : value->second;
  };
  std::vector<std::string> lines;
  for (const std::string& field : ChangedFields(then, now, /*include_safe=*/false)) {
    lines.push_back(absl::StrCat("  ", field, ": ", value_in(values_then, field), " in the run, ",
                                 value_in(values_now, field), " now"));
  }
  return lines;
}

absl::Status HeldByAnother(const std::string& run) {
  const auto holder = RealFileSystem().Read(JoinPath(run, kLockName), kSmallFileBytesMax);
  return absl::FailedPreconditionError(
      absl::StrCat(run, ": another learner holds this run: ",
                   holder.ok() ? absl::StripSuffix(*holder, "\n") : "unknown process",
                   "; stop it first, or choose another run.dir"));
}

absl::StatusOr<std::string> NewRunId() {
  const int file = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (file < 0) return ErrnoStatus("/dev/urandom", "open");
  char bytes[8];
  const ssize_t got = read(file, bytes, sizeof(bytes));
  close(file);
  if (got != sizeof(bytes)) return ErrnoStatus("/dev/urandom", "read");
  return absl::BytesToHexString(absl::string_view(bytes, sizeof(bytes)));
}

}  // namespace

absl::StatusOr<RunInspection> InspectRun(const v1::Config& config) {
  const std::string& path = config.run().dir();
  R1_CHECK(!path.empty());  // a resolved config has one
  RunInspection inspection;
  if (!RealFileSystem().Exists(path)) return inspection;
  if (!RealFileSystem().Exists(JoinPath(path, kConfigName))) {
    R1_RETURN_IF_ERROR(CheckFolderIsFree(path));
    return inspection;
  }
  inspection.is_new = false;
  R1_ASSIGN_OR_RETURN(const std::vector<std::string> changes, UnsafeChanges(path, config));
  if (!changes.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " is the run of another config; it cannot go on with\n", absl::StrJoin(changes, "\n"),
        "\nput the config back, or begin a new run with --set run.dir=", FreshFolder(path)));
  }
  const std::string report_path = JoinPath(path, kReportName);
  if (RealFileSystem().Exists(report_path)) {
    inspection.finished = true;
    R1_ASSIGN_OR_RETURN(inspection.report_json,
                        RealFileSystem().Read(report_path, kSmallFileBytesMax));
  }
  return inspection;
}

absl::Status CheckNotHeld(const std::string& run) {
  const std::string path = JoinPath(run, kLockName);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(path, "open");
  const bool is_held = flock(file, LOCK_SH | LOCK_NB) != 0;
  close(file);
  return is_held ? HeldByAnother(run) : absl::OkStatus();
}

absl::StatusOr<std::string> CreateAttemptFolder(const std::string& run) {
  const std::string logs = JoinPath(run, "logs");
  R1_RETURN_IF_ERROR(RealFileSystem().CreateDirectories(logs));
  for (int attempt = 1; attempt < kAttemptsMax; ++attempt) {
    const std::string name = absl::StrCat("attempt_", attempt);
    const std::string path = JoinPath(logs, name);
    std::error_code error;
    if (!std::filesystem::create_directory(path, error)) {
      if (error) return absl::UnavailableError(absl::StrCat(path, ": ", error.message()));
      continue;  // exists: of an earlier start
    }
    const std::string temporary = absl::StrCat(path, ".link");
    std::filesystem::create_symlink(name, temporary, error);
    if (!error) std::filesystem::rename(temporary, JoinPath(logs, "latest"), error);
    if (error)
      R1_LOG(kWarning) << "cannot point logs/latest to " << name << ": " << error.message();
    return path;
  }
  return absl::ResourceExhaustedError(absl::StrCat(logs, ": too many attempts, remove old ones"));
}

absl::StatusOr<Endpoint> ReadEndpoint(const std::string& run) {
  const std::string path = JoinPath(run, kEndpointName);
  R1_ASSIGN_OR_RETURN(const nlohmann::json object, ReadJsonObject(path));
  const JsonFields fields(object, path);
  Endpoint endpoint;
  R1_ASSIGN_OR_RETURN(endpoint.grpc_address, fields.String("grpc_address"));
  R1_ASSIGN_OR_RETURN(endpoint.http_address, fields.String("http_address"));
  R1_ASSIGN_OR_RETURN(endpoint.host, fields.String("host"));
  R1_ASSIGN_OR_RETURN(endpoint.pid, fields.Integer("pid", {1, kCountMax}));
  R1_ASSIGN_OR_RETURN(endpoint.run_id, fields.String("run_id"));
  R1_ASSIGN_OR_RETURN(const int64_t incarnation, fields.Integer("incarnation", {1, kCountMax}));
  endpoint.incarnation = static_cast<uint64_t>(incarnation);
  return endpoint;
}

absl::StatusOr<std::unique_ptr<RunDirectory>> RunDirectory::Open(const v1::Config& config,
                                                                 const std::string& build_json) {
  const std::string& path = config.run().dir();
  R1_RETURN_IF_ERROR(InspectRun(config).status());  // before anything is created
  FileSystem& files = RealFileSystem();
  if (!files.Exists(path)) {
    R1_RETURN_IF_ERROR(files.CreateDirectories(path));
    R1_RETURN_IF_ERROR(files.SyncDirectory(ParentPath(path)));
  }
  std::unique_ptr<RunDirectory> run(new RunDirectory(path));
  R1_RETURN_IF_ERROR(run->TakeLock());
  R1_ASSIGN_OR_RETURN(run->inspection_, InspectRun(config));  // nobody else changes it from here on
  R1_RETURN_IF_ERROR(run->LoadIdentity());
  if (run->finished()) return run;
  run->RemoveLeftovers();
  R1_RETURN_IF_ERROR(run->WriteDescription(config, build_json));
  ++run->incarnation_;
  const nlohmann::ordered_json identity = {{"run_id", run->run_id_},
                                           {"incarnation", run->incarnation_}};
  R1_RETURN_IF_ERROR(
      WriteFileAtomically(files, JoinPath(path, kIdentityName), identity.dump() + "\n"));
  return run;
}

RunDirectory::~RunDirectory() {
  if (lock_file_ >= 0) close(lock_file_);  // frees the lock; the file stays
}

absl::Status RunDirectory::TakeLock() {
  const std::string path = JoinPath(path_, kLockName);
  lock_file_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_file_ < 0) return ErrnoStatus(path, "open");
  if (flock(lock_file_, LOCK_EX | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK ? HeldByAnother(path_) : ErrnoStatus(path, "flock");
  }
  const std::string text = absl::StrCat("pid ", getpid(), " on host ", HostName(), "\n");
  if (ftruncate(lock_file_, 0) != 0 ||
      pwrite(lock_file_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(path, "write");
  }
  return absl::OkStatus();
}

// The endpoint of a learner that was killed, and files that it was just writing. They are in
// nobody's way, so errors are not worth a stop.
void RunDirectory::RemoveLeftovers() const {
  RemoveEndpoint();
  const auto names = RealFileSystem().List(path_);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    for (const char* ours : {kConfigName, kBuildName, kIdentityName, kEndpointName, kReportName}) {
      if (!absl::StartsWith(name, absl::StrCat(ours, ".tmp-"))) continue;
      RealFileSystem().RemoveAll(JoinPath(path_, name)).IgnoreError();
    }
  }
}

absl::Status RunDirectory::LoadIdentity() {
  const std::string path = JoinPath(path_, kIdentityName);
  if (!RealFileSystem().Exists(path)) {
    R1_ASSIGN_OR_RETURN(run_id_, NewRunId());
    return absl::OkStatus();
  }
  R1_ASSIGN_OR_RETURN(const nlohmann::json object, ReadJsonObject(path));
  const JsonFields fields(object, path);
  R1_ASSIGN_OR_RETURN(run_id_, fields.String("run_id"));
  R1_ASSIGN_OR_RETURN(const int64_t incarnation, fields.Integer("incarnation", {1, kCountMax}));
  incarnation_ = static_cast<uint64_t>(incarnation);
  return absl::OkStatus();
}

absl::Status RunDirectory::WriteDescription(const v1::Config& config,
                                            const std::string& build_json) const {
  FileSystem& files = RealFileSystem();
  const std::string build_path = JoinPath(path_, kBuildName);
  const auto earlier_build = files.Read(build_path, kSmallFileBytesMax);
  if (earlier_build.ok() && *earlier_build != build_json) {
    R1_LOG(kWarning) << "the run goes on with another build: "
                     << absl::StripTrailingAsciiWhitespace(*earlier_build) << " before, "
                     << absl::StripTrailingAsciiWhitespace(build_json) << " now";
  }
  // The config first: with it the folder counts as a run.
  R1_RETURN_IF_ERROR(
      WriteFileAtomically(files, JoinPath(path_, kConfigName), ConfigToToml(config)));
  R1_RETURN_IF_ERROR(WriteFileAtomically(files, build_path, build_json));
  R1_RETURN_IF_ERROR(files.CreateDirectories(samples_folder()));
  R1_RETURN_IF_ERROR(files.CreateDirectories(checkpoints_folder()));
  return files.SyncDirectory(path_);
}

std::string RunDirectory::metrics_path() const { return JoinPath(path_, kMetricsName); }
std::string RunDirectory::samples_folder() const { return JoinPath(path_, "samples"); }
std::string RunDirectory::checkpoints_folder() const { return JoinPath(path_, "checkpoints"); }

absl::Status RunDirectory::WriteEndpoint(const std::string& grpc_address,
                                         const std::string& http_address) const {
  const nlohmann::ordered_json endpoint = {
      {"grpc_address", grpc_address},
      {"http_address", http_address},
      {"host", HostName()},
      {"pid", getpid()},
      {"run_id", run_id_},
      {"incarnation", incarnation_},
  };
  return WriteFileAtomically(RealFileSystem(), JoinPath(path_, kEndpointName),
                             endpoint.dump() + "\n");
}

void RunDirectory::RemoveEndpoint() const {
  if (absl::Status status = RealFileSystem().RemoveAll(JoinPath(path_, kEndpointName));
      !status.ok()) {
    R1_LOG(kWarning) << "cannot remove the endpoint file: " << status.message();
  }
}

void RunDirectory::RecordOffsets(uint64_t metrics_bytes, v1::CheckpointState* state) {
  state->clear_offsets();
  v1::FileOffset* offset = state->add_offsets();
  offset->set_path(kMetricsName);
  offset->set_bytes(metrics_bytes);
}

absl::Status RunDirectory::CutBack(const v1::CheckpointState* checkpoint) const {
  uint64_t bytes = 0;
  if (checkpoint != nullptr) {
    for (const v1::FileOffset& offset : checkpoint->offsets()) {
      if (offset.path() == kMetricsName) bytes = offset.bytes();
    }
  }
  FileSystem& files = RealFileSystem();
  if (files.Exists(metrics_path())) {
    R1_ASSIGN_OR_RETURN(const uint64_t size, files.Size(metrics_path()));
    if (size < bytes) {
      R1_LOG(kWarning) << metrics_path() << " has " << size << " bytes, but the checkpoint says "
                       << bytes << ": rows of before the checkpoint were lost";
    } else {
      R1_RETURN_IF_ERROR(files.Truncate(metrics_path(), bytes));
    }
  } else if (bytes > 0) {
    R1_LOG(kWarning) << metrics_path() << " is gone: its rows were lost";
  }
  return CutBackSamples(files, samples_folder(), checkpoint);
}

absl::Status RunDirectory::Finish(const std::string& report_json) {
  R1_RETURN_IF_ERROR(
      WriteFileAtomically(RealFileSystem(), JoinPath(path_, kReportName), report_json));
  inspection_.finished = true;
  inspection_.report_json = report_json;
  return absl::OkStatus();
}

}  // namespace r1::learner
