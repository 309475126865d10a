#include "cli/evaluation/endpoint_source.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/chat_template_files.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/r1_prompts.h"
#include "common/rng.h"

namespace r1::cli {
namespace {

constexpr absl::string_view kThinkOpening = "<think>\n";
constexpr double kRetrySecondsMax = 60;
constexpr double kRetryAfterSecondsMax = 300;
constexpr double kWatchSeconds = 0.05;
// A server that fails so many samples one after another is not asked for the rest.
constexpr int kFailuresInARowMax = 8;

bool IsWorthRetrying(int status) {
  return status == 408 || status == 425 || status == 429 || status >= 500;
}
// Answers that every other sample would get as well.
bool IsAboutUs(int status) {
  return status == 401 || status == 403 || status == 404 || status == 405 ||
         (status >= 300 && status < 400);
}

}  // namespace

absl::StatusOr<std::unique_ptr<EndpointSource>> EndpointSource::Make(
    const Options& options, const v1::EvaluationSuite& suite,
    const std::vector<EvaluationProblem>& problems) {
  R1_ASSIGN_OR_RETURN(EndpointUrl url,
                      ParseEndpointUrl(options.url, suite.prompt().style() == "chat"));
  if (!options.api_key.empty() && !url.is_encrypted && !url.is_loopback) {
    return absl::InvalidArgumentError(
        absl::StrCat("--endpoint: expected https, for the API key would travel unencrypted to ",
                     url.origin, "; give --api-key-env \"\" to send none"));
  }
  return std::unique_ptr<EndpointSource>(
      new EndpointSource(options, std::move(url), suite, problems));
}

std::string EndpointSource::ExamplePrompt() const {
  const absl::StatusOr<std::string> prompt = PromptOf(problems_[0]);
  return prompt.ok() ? *prompt : "";
}

// A chat's prompt goes through the server's own template, which opens <think> itself where the
// model's card says so.
absl::StatusOr<std::string> EndpointSource::PromptOf(const EvaluationProblem& problem) const {
  if (suite_.prompt().style() == "chat") return problem.prompt;
  std::string text = problem.prompt;
  if (suite_.prompt().style() == "r1_zero") {
    R1_ASSIGN_OR_RETURN(const ModelChatTemplate zero,
                        ModelChatTemplate::OfSource(R1ZeroTemplate()));
    const nlohmann::json variables = {
        {"messages", {{{"role", "user"}, {"content", problem.prompt}}}}};
    R1_ASSIGN_OR_RETURN(const RenderedChat chat,
                        zero.Render(DumpJson(variables), absl::StrCat("problem ", problem.id)));
    text = chat.text;
  }
  if (suite_.prompt().force_think()) absl::StrAppend(&text, kThinkOpening);
  return text;
}

std::string EndpointSource::BodyOf(const SampleId& id, const std::string& prompt) const {
  const bool greedy = id.sample == SampleId::kGreedy;
  // Every sample has a seed of its own, which a server may use.
  Rng rng(options_.seed, 0, RngPurpose::kEvalSample, id.problem,
          greedy ? 0 : static_cast<uint32_t>(id.sample));
  return CompletionBody({.model = options_.model,
                         .chat = suite_.prompt().style() == "chat",
                         .prompt = prompt,
                         .temperature = greedy ? 0 : suite_.sampling().temperature(),
                         .top_p = greedy ? 1 : suite_.sampling().top_p(),
                         .tokens_max = suite_.sampling().tokens_max(),
                         .seed = rng.Next64() >> 33,  // many servers take 31 bits
                         .extra = options_.extra});
}

RawSample EndpointSource::Describe(const SampleId& id, Completion completion) const {
  RawSample raw;
  raw.id = id;
  raw.tokens = completion.tokens;
  raw.finish_reason = std::move(completion.finish_reason);
  raw.text = std::move(completion.text);
  if (suite_.prompt().style() == "chat") {
    // Whether the server's template opened the thinking shows when it is closed only.
    const size_t close = raw.text.find("</think>");
    raw.think_prefilled = close != std::string::npos && raw.text.find("<think>") > close;
  } else {
    raw.think_prefilled = suite_.prompt().force_think();
  }
  return raw;
}

absl::StatusOr<HttpAnswer> EndpointSource::Post(const std::string& body, Slot& slot) {
  std::vector<std::pair<std::string, std::string>> headers;
  if (!options_.api_key.empty()) {
    headers.emplace_back("Authorization", absl::StrCat("Bearer ", options_.api_key));
  }
  HttpClient* client = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    if (slot.client == nullptr) {
      slot.client = std::make_unique<HttpClient>(
          url_.origin, HttpClient::Options{.quiet_seconds = options_.request_seconds});
    }
    client = slot.client.get();
    slot.deadline = RealClock().MonotonicSeconds() + options_.request_seconds;
  }
  absl::StatusOr<HttpAnswer> answer = client->Post(url_.path, headers, body);
  absl::MutexLock lock(&mutex_);
  slot.deadline = 0;
  if (!absl::IsCancelled(answer.status())) return answer;
  slot.client = nullptr;  // an aborted one stays so
  return absl::DeadlineExceededError(
      absl::StrCat(url_.origin, ": expected an answer within ", options_.request_seconds, " s"));
}

absl::StatusOr<RawSample> EndpointSource::Ask(const SampleId& id, Slot& slot) {
  R1_ASSIGN_OR_RETURN(const std::string prompt, PromptOf(problems_[id.problem]));
  const std::string body = BodyOf(id, prompt);
  absl::Status last;
  for (int attempt = 0; attempt < options_.attempts; ++attempt) {
    absl::StatusOr<HttpAnswer> answer = Post(body, slot);
    double wait =
        std::min(options_.retry_seconds * static_cast<double>(1 << attempt), kRetrySecondsMax);
    if (!answer.ok()) {
      last = answer.status();
      if (absl::IsPermissionDenied(last)) return last;
    } else if (answer->status == 200) {
      absl::StatusOr<Completion> completion =
          ParseCompletion(answer->body, suite_.prompt().style() == "chat");
      if (completion.ok()) return Describe(id, *std::move(completion));
      last = absl::DataLossError(completion.status().message());
    } else {
      const std::string said = absl::StrCat(url_.origin, url_.path, ": HTTP ", answer->status, ": ",
                                            CompletionError(answer->body));
      if (IsAboutUs(answer->status)) return absl::PermissionDeniedError(said);
      last = absl::UnavailableError(said);
      if (!IsWorthRetrying(answer->status)) return absl::InvalidArgumentError(said);
      wait = std::max(wait, std::min(answer->retry_after_seconds, kRetryAfterSecondsMax));
    }
    if (attempt + 1 < options_.attempts && stop_.WaitFor(wait)) break;
    if (stop_.raised()) break;
  }
  return last;
}

bool EndpointSource::HasRoom() const {
  return ready_.size() < slots_.size() || !fatal_.ok() || stop_.raised();
}
bool EndpointSource::HasNews() const { return !ready_.empty() || working_ == 0 || !fatal_.ok(); }

void EndpointSource::Deliver(const SampleId& id, absl::StatusOr<RawSample> sample) {
  absl::MutexLock lock(&mutex_);
  if (sample.ok()) {
    failures_in_a_row_ = 0;
    mutex_.Await(absl::Condition(this, &EndpointSource::HasRoom));
    ready_.push_back(*std::move(sample));
    return;
  }
  if (stop_.raised()) return;
  ++failures_[std::string(sample.status().message())];
  // A sample that the server will not answer says nothing about the next one.
  if (!absl::IsInvalidArgument(sample.status())) ++failures_in_a_row_;
  const bool is_final = absl::IsPermissionDenied(sample.status());
  if ((is_final || failures_in_a_row_ >= kFailuresInARowMax) && fatal_.ok()) {
    fatal_ = absl::UnavailableError(
        absl::StrCat(sample.status().message(), is_final ? "" : " (and others before it)",
                     "; the same command goes on with what is missing (problem ",
                     problems_[id.problem].id, ")"));
  }
}

void EndpointSource::Work(const std::vector<SampleId>& wanted, Slot& slot) {
  for (;;) {
    SampleId id;
    {
      absl::MutexLock lock(&mutex_);
      if (next_ == wanted.size() || !fatal_.ok() || stop_.raised()) {
        --working_;
        return;
      }
      id = wanted[next_++];
    }
    Deliver(id, Ask(id, slot));
  }
}

void EndpointSource::AbortOverdue(bool all) {
  absl::MutexLock lock(&mutex_);
  const double now = RealClock().MonotonicSeconds();
  for (const std::unique_ptr<Slot>& slot : slots_) {
    if (slot->deadline != 0 && (all || now > slot->deadline)) slot->client->Abort();
  }
}

absl::Status EndpointSource::Generate(const std::vector<SampleId>& wanted,
                                      const OnSample& on_sample,
                                      std::map<std::string, int64_t>& failures) {
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mutex_);
    working_ = static_cast<int>(
        std::min<size_t>(wanted.size(), static_cast<size_t>(options_.concurrency)));
    for (int i = 0; i < working_; ++i) slots_.push_back(std::make_unique<Slot>());
    for (const std::unique_ptr<Slot>& slot : slots_) {
      threads.emplace_back([this, &wanted, at = slot.get()] { Work(wanted, *at); });
    }
  }
  absl::Status status;
  for (bool done = false; !done;) {
    std::deque<RawSample> ready;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(this, &EndpointSource::HasNews),
                              absl::Seconds(kWatchSeconds));
      ready.swap(ready_);
      if (status.ok()) status = fatal_;
      done = working_ == 0 && ready.empty();
    }
    for (RawSample& sample : ready) {
      const absl::Status taken = on_sample(std::move(sample));
      if (status.ok()) status = taken;
    }
    if (ProcessStopSignal().raised() && !absl::IsCancelled(status)) {
      status = absl::CancelledError("stopped by a signal");
    }
    if (!status.ok()) stop_.Raise();
    AbortOverdue(/*all=*/!status.ok());
  }
  for (std::thread& thread : threads) thread.join();
  absl::MutexLock lock(&mutex_);
  failures = failures_;
  return status;
}

}  // namespace r1::cli
