#include "cli/evaluation/http_client.h"

#include <httplib.h>

#include <chrono>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace r1::cli {
namespace {

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

absl::Status ToStatus(httplib::Error error, const std::string& origin) {
  const std::string what = absl::StrCat(origin, ": ", httplib::to_string(error));
  switch (error) {
    case httplib::Error::SSLServerVerification:
    case httplib::Error::SSLLoadingCerts:
      return absl::PermissionDeniedError(
          absl::StrCat(what, ": expected a certificate that this machine trusts"));
    default:
      return absl::UnavailableError(what);
  }
}

}  // namespace

class HttpClient::Impl {
 public:
  explicit Impl(const std::string& origin) : origin(origin), client(origin) {}
  const std::string origin;
  httplib::Client client;
};

HttpClient::HttpClient(const std::string& origin, const Options& options)
    : options_(options), impl_(std::make_unique<Impl>(origin)) {
  impl_->client.set_keep_alive(true);
  impl_->client.set_tcp_nodelay(true);
  impl_->client.set_connection_timeout(Milliseconds(options.connect_seconds));
  impl_->client.set_read_timeout(Milliseconds(options.quiet_seconds));
  impl_->client.set_write_timeout(Milliseconds(options.quiet_seconds));
}

HttpClient::~HttpClient() = default;

absl::StatusOr<HttpAnswer> HttpClient::Post(
    const std::string& path, const std::vector<std::pair<std::string, std::string>>& headers,
    const std::string& body) {
  {
    absl::MutexLock lock(&mutex_);
    if (is_aborted_) return absl::CancelledError("aborted");
    is_posting_ = true;
  }
  HttpAnswer answer;
  bool is_too_long = false;
  httplib::Request request;
  request.method = "POST";
  request.path = path;
  for (const auto& [name, value] : headers) request.headers.emplace(name, value);
  request.headers.emplace("Content-Type", "application/json");
  request.body = body;
  request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
    is_too_long = answer.body.size() + size > options_.answer_bytes_max;
    if (!is_too_long) answer.body.append(data, size);
    return !is_too_long;
  };
  httplib::Response response;
  httplib::Error error = httplib::Error::Success;
  const bool sent = impl_->client.send(request, response, error);
  absl::MutexLock lock(&mutex_);
  is_posting_ = false;
  if (is_aborted_) return absl::CancelledError("aborted");
  if (is_too_long) {
    return absl::ResourceExhaustedError(absl::StrCat(
        impl_->origin, ": expected an answer of at most ", options_.answer_bytes_max, " bytes"));
  }
  if (!sent) return ToStatus(error, impl_->origin);
  answer.status = response.status;
  if (!absl::SimpleAtod(response.get_header_value("Retry-After"), &answer.retry_after_seconds) ||
      !(answer.retry_after_seconds > 0)) {
    answer.retry_after_seconds = 0;
  }
  return answer;
}

void HttpClient::Abort() {
  absl::MutexLock lock(&mutex_);
  is_aborted_ = true;
  if (is_posting_) impl_->client.stop();
}

}  // namespace r1::cli
