// The routes that are processes: a command that speaks JSON lines, and the two hosts that make one
// of a Python function and of a shared library.

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/utf8.h"
#include "rewards/plugin/child_process.h"
#include "rewards/plugin/plugin_instance.h"
#include "rewards/plugin/protocol.h"
#include "rewards/plugin/python_host.h"

namespace r1::rewards {
namespace {

// Stands beside the program that runs (rewards/CMakeLists.txt).
constexpr char kLibraryHost[] = "r1_reward_host";

class ProcessInstance : public PluginInstance {
 public:
  explicit ProcessInstance(std::unique_ptr<ChildProcess> process) : process_(std::move(process)) {}

  absl::StatusOr<std::vector<Score>> ScoreBatch(std::span<const RewardInput* const> samples,
                                                double timeout_seconds) override {
    const int64_t id = ++last_id_;
    R1_ASSIGN_OR_RETURN(const std::string reply,
                        process_->Exchange(RequestLine(id, timeout_seconds, samples),
                                           timeout_seconds, kReplyBytesMax));
    return ParseReply(reply, id, samples.size());
  }

 private:
  const std::unique_ptr<ChildProcess> process_;
  int64_t last_id_ = 0;
};

class ProcessRoute : public PluginRoute {
 public:
  ProcessRoute(std::vector<std::string> arguments, const v1::RewardConfig& config)
      : arguments_(std::move(arguments)),
        hello_(HelloLine(config.name(), config.plugin().config_json())),
        timeout_seconds_(config.plugin().start_timeout_seconds()) {}

  absl::StatusOr<std::unique_ptr<PluginInstance>> Start() const override {
    R1_ASSIGN_OR_RETURN(std::unique_ptr<ChildProcess> process, ChildProcess::Start(arguments_));
    R1_ASSIGN_OR_RETURN(const std::string reply,
                        process->Exchange(hello_, timeout_seconds_, kReplyBytesMax));
    R1_RETURN_IF_ERROR(CheckHelloReply(reply));
    return std::make_unique<ProcessInstance>(std::move(process));
  }

 private:
  const std::vector<std::string> arguments_;
  const std::string hello_;
  const double timeout_seconds_;
};

absl::Status CheckReadable(const std::string& path) {
  if (access(path.c_str(), R_OK) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("expected a file that can be read, found ", Quoted(path)));
}

using Route = absl::StatusOr<std::unique_ptr<PluginRoute>>;

Route MakeCommand(const v1::RewardConfig& config) {
  const auto& command = config.plugin().command();
  std::vector<std::string> arguments(command.begin(), command.end());
  // A bare name is looked for in PATH when it starts.
  const bool is_path = arguments[0].find('/') != std::string::npos;
  if (is_path && access(arguments[0].c_str(), X_OK) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a program that can be run, found ", Quoted(arguments[0])));
  }
  return std::make_unique<ProcessRoute>(std::move(arguments), config);
}

Route MakePython(const v1::RewardConfig& config) {
  const std::string& place = config.plugin().python();
  const size_t colon = place.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == place.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected FILE.py:FUNCTION, found ", Quoted(place)));
  }
  const std::string file = place.substr(0, colon);
  R1_RETURN_IF_ERROR(CheckReadable(file));
  return std::make_unique<ProcessRoute>(
      std::vector<std::string>{"python3", "-u", "-c", kPythonHost, file, place.substr(colon + 1)},
      config);
}

Route MakeLibrary(const v1::RewardConfig& config) {
  const std::string& library = config.plugin().library();
  R1_RETURN_IF_ERROR(CheckReadable(library));
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  R1_CHECK(length > 0);
  std::string host(path, static_cast<size_t>(length));
  host.replace(host.rfind('/') + 1, std::string::npos, kLibraryHost);
  if (access(host.c_str(), X_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("expected the host of shared libraries at ", host, ", found nothing"));
  }
  return std::make_unique<ProcessRoute>(std::vector<std::string>{host, library}, config);
}

R1_REGISTER(PluginRouteRegistry, "command", MakeCommand);
R1_REGISTER(PluginRouteRegistry, "python", MakePython);
R1_REGISTER(PluginRouteRegistry, "library", MakeLibrary);

}  // namespace
}  // namespace r1::rewards
