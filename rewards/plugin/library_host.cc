// r1_reward_host LIBRARY: loads a shared library with the C interface of r1_reward.h and answers
// JSON lines with it (protocol.h). A process of its own, so that the library cannot take a worker
// down. It ends when its stdin does; errors go to stderr, where r1 finds them.

#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "rewards/plugin/protocol.h"
#include "rewards/plugin/r1_reward.h"

namespace r1::rewards {
namespace {

constexpr size_t kErrorBytes = 1000;

struct Library {
  decltype(&r1_reward_abi_version) abi_version = nullptr;
  decltype(&r1_reward_init) init = nullptr;
  decltype(&r1_reward_score) score = nullptr;
  decltype(&r1_reward_free) free = nullptr;
  decltype(&r1_reward_shutdown) shutdown = nullptr;
};

template <typename Function>
absl::Status Find(void* handle, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(handle, name));
  if (function != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("expected a function ", name, ", found none; export it with C linkage"));
}

absl::StatusOr<Library> Load(const std::string& path) {
  // dlopen searches the system's folders for a name without a slash.
  const std::string place = path.find('/') == std::string::npos ? "./" + path : path;
  void* handle = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return absl::InvalidArgumentError(dlerror());
  Library library;
  R1_RETURN_IF_ERROR(Find(handle, "r1_reward_abi_version", library.abi_version));
  const uint32_t version = library.abi_version();
  if (version != R1_REWARD_ABI_VERSION) {
    return absl::FailedPreconditionError(absl::StrCat("expected ABI version ",
                                                      R1_REWARD_ABI_VERSION, ", found ", version,
                                                      "; build it with this r1's r1_reward.h"));
  }
  R1_RETURN_IF_ERROR(Find(handle, "r1_reward_init", library.init));
  R1_RETURN_IF_ERROR(Find(handle, "r1_reward_score", library.score));
  R1_RETURN_IF_ERROR(Find(handle, "r1_reward_free", library.free));
  R1_RETURN_IF_ERROR(Find(handle, "r1_reward_shutdown", library.shutdown));
  return library;
}

r1_reward_text TextOf(const std::string& text) { return {text.data(), text.size()}; }

r1_reward_sample SampleOf(const RequestSample& sample) {
  return {.prompt = TextOf(sample.prompt),
          .response = TextOf(sample.response),
          .prediction = TextOf(sample.prediction),
          .answer = TextOf(sample.answer),
          .language = TextOf(sample.language),
          .columns_json = TextOf(sample.columns_json),
          .n_tokens = sample.n_tokens,
          .finished = sample.finished ? 1 : 0,
          .think_prefilled = sample.think_prefilled ? 1 : 0};
}

Score ScoreOf(const r1_reward_result& result) {
  if (result.error != nullptr) {
    return ErrorScore(kRewardError, *result.error == '\0' ? "without a message" : result.error);
  }
  Score score{.value = result.score,
              .reason = PrintableReason(result.reason == nullptr ? "" : result.reason)};
  for (size_t i = 0; i < result.parts_count; ++i) {
    const r1_reward_part& part = result.parts[i];
    score.parts.emplace_back(part.name == nullptr ? "" : part.name, part.value);
  }
  return score;
}

// Owns the plugin's state.
class Plugin {
 public:
  static absl::StatusOr<Plugin> Start(const Library& library, const std::string& config_json) {
    std::string error(kErrorBytes, '\0');
    void* state = library.init(config_json.c_str(), error.data(), error.size());
    if (state != nullptr) return Plugin(library, state);
    return absl::FailedPreconditionError(
        absl::StrCat("r1_reward_init failed: ", error.substr(0, error.find('\0'))));
  }

  absl::StatusOr<std::vector<Score>> ScoreBatch(const Request& request) {
    std::vector<r1_reward_sample> samples;
    for (const RequestSample& sample : request.samples) samples.push_back(SampleOf(sample));
    std::vector<r1_reward_result> results(samples.size());
    const int32_t code =
        library_.score(state_, samples.data(), samples.size(), request.timeout_ms, results.data());
    if (code != 0) return absl::InternalError(absl::StrCat("r1_reward_score returned ", code));
    std::vector<Score> scores;
    for (const r1_reward_result& result : results) scores.push_back(ScoreOf(result));
    library_.free(state_, results.data(), results.size());
    return scores;
  }

  void Shutdown() { library_.shutdown(state_); }

 private:
  Plugin(const Library& library, void* state) : library_(library), state_(state) {}

  Library library_;
  void* state_;
};

absl::Status Serve(const std::string& path) {
  // What the library prints must not break the lines.
  FILE* replies = fdopen(dup(STDOUT_FILENO), "w");
  R1_CHECK(replies != nullptr);
  R1_CHECK(dup2(STDERR_FILENO, STDOUT_FILENO) >= 0);
  const auto reply = [replies](const std::string& line) {
    std::fputs((line + "\n").c_str(), replies);
    std::fflush(replies);
  };
  R1_ASSIGN_OR_RETURN(const Library library, Load(path));
  std::string line;
  std::getline(std::cin, line);
  R1_ASSIGN_OR_RETURN(const std::string config_json, ParseHello(line));
  R1_ASSIGN_OR_RETURN(Plugin plugin, Plugin::Start(library, config_json));
  reply(HelloReplyLine());
  while (std::getline(std::cin, line)) {
    R1_ASSIGN_OR_RETURN(const Request request, ParseRequest(line));
    R1_ASSIGN_OR_RETURN(const std::vector<Score> scores, plugin.ScoreBatch(request));
    reply(ReplyLine(request.id, scores));
  }
  plugin.Shutdown();
  return absl::OkStatus();
}

}  // namespace
}  // namespace r1::rewards

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: r1_reward_host LIBRARY (r1 starts it)\n";
    return 2;
  }
  const absl::Status status = r1::rewards::Serve(argv[1]);
  if (status.ok()) return 0;
  std::cerr << argv[1] << ": " << status.message() << "\n";
  return 3;
}
