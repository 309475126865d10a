// r1 status: what a running learner says of itself.

#include <google/protobuf/util/json_util.h>

#include <iostream>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/status_client.h"
#include "learner/run_directory.h"

namespace r1::cli {
namespace {

void Print(const v1::RunStatus& status) {
  std::cout << status.run_dir() << "  " << status.state() << "  "
            << FormatDuration(status.seconds_total()) << "\n"
            << absl::StreamFormat("stage %d of %d: ", status.stage_index() + 1, status.stages())
            << FormatProgressBar(status) << "\n";
  if (!status.awaited_from().empty())
    std::cout << "awaited from " << absl::StrJoin(status.awaited_from(), ", ") << "\n";
  if (!status.error().empty()) std::cout << "error: " << status.error() << "\n";
  for (const v1::WorkerStatus& worker : status.workers()) {
    std::cout << absl::StreamFormat(
        "%-12s %s/%d  %-18s version %d (lag %d)  %.0f tok/s  seen %.1f s ago%s\n",
        worker.worker_id(), worker.host(), worker.pid(), worker.phase(), worker.policy_version(),
        worker.lag(), worker.tokens_per_second(), worker.last_seen_seconds(),
        worker.connected() ? "" : "  LOST");
  }
}

int Status(const ParsedCommand& parsed) {
  std::string address = parsed.Value("address");
  if (address.empty() == parsed.positionals().empty()) {
    std::cerr << "r1 status: name either the run's folder or --address\n";
    return kExitUsage;
  }
  if (address.empty()) {
    const auto endpoint = learner::ReadEndpoint(parsed.positionals()[0]);
    if (!endpoint.ok()) {
      std::cerr << "r1 status: no learner runs in " << parsed.positionals()[0] << " ("
                << endpoint.status().message() << ")\n";
      return kExitFailed;
    }
    address = endpoint->grpc_address;
  }
  const auto status = StatusClient(address).GetStatus(5);
  if (!status.ok()) {
    std::cerr << "r1 status: the learner at " << address
              << " does not answer: " << status.status().message() << "\n";
    return kExitFailed;
  }
  if (!parsed.Has("json")) {
    Print(*status);
    return kExitDone;
  }
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  if (!google::protobuf::util::MessageToJsonString(*status, &json, options).ok())
    return kExitFailed;
  std::cout << json << "\n";
  return kExitDone;
}

}  // namespace

const Command& StatusCommand() {
  static const auto* command = new Command{
      {.name = "status",
       .summary = "Prints stage, phase, what is awaited, and the workers of a running learner.",
       .positionals = {{.name = "RUN_DIR", .help = "folder of the run", .optional = true}},
       .flags = {{.name = "address",
                  .value = "HOST:PORT",
                  .help = "the learner's gRPC address instead"},
                 {.name = "json", .help = "as JSON, like /api/v1/status"}}},
      &Status};
  return *command;
}

}  // namespace r1::cli
