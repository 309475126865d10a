// A client of bytes for tests of the HTTP server: sends what no library would, and reads what comes
// back.
#pragma once

#include <string>

namespace r1::learner {

// A connected TCP socket to "127.0.0.1:PORT"; closed by the destructor. Not thread-safe.
class RawClient {
 public:
  explicit RawClient(const std::string& address);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  // False when the server has closed. Never raises SIGPIPE.
  bool Send(const std::string& bytes);
  // Everything until the server closes, or until `seconds` have passed (then timed_out()).
  std::string ReadAll(double seconds = 10);
  bool timed_out() const { return timed_out_; }
  // Receive buffer as small as the kernel allows, for a slow reader; before the first Send.
  void ShrinkReceiveBuffer();

 private:
  int socket_;
  bool timed_out_ = false;
};

struct RawReply {
  int status = 0;  // 0: nothing that looks like HTTP came back
  std::string head;
  std::string body;
};

RawReply SplitReply(const std::string& bytes);

// Sends one request and reads the reply. `extra` are further header lines, each with \r\n.
RawReply Request(const std::string& address, const std::string& target,
                 const std::string& method = "GET", const std::string& extra = "");

// The value of a header of the reply, "" when there is none. Names as the server writes them.
std::string HeaderOf(const RawReply& reply, const std::string& name);

}  // namespace r1::learner
