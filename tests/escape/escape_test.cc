// The corpus: programs that try to get out, to look out, to stay, or to take more than they may.
// None may print ESCAPED with success, and afterwards nothing of them is left. Then each layer of
// the sandbox is switched off in turn, and the self-test has to notice.
//
// A program's line `verdict: X` is the verdict that it must get; `any` = whatever is no pass.
// System calls stand there with their x86-64 numbers.

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/filesystem.h"
#include "common/json.h"
#include "rewards/code/sandbox/self_test.h"
#include "tests/escape/sandbox_fixture.h"

namespace r1::rewards::code {
namespace {

constexpr char kSecret[] = "r1 canary 5d1f3c";

std::string ReadAll(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// What the programs look for: a file, a TCP port, an abstract socket, shared memory of both kinds.
class HostBait {
 public:
  HostBait() {
    std::ofstream(file_) << kSecret;
    std::ofstream(shm_path_) << kSecret;
    setenv("R1_ESCAPE_CANARY", "1", 1);
    tcp_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(tcp_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(tcp_, 8), 0);
    socklen_t bytes = sizeof(address);
    EXPECT_EQ(getsockname(tcp_, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
    port_ = ntohs(address.sin_port);
    abstract_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::copy(abstract_name_.begin(), abstract_name_.end(), name.sun_path + 1);
    EXPECT_EQ(bind(abstract_, reinterpret_cast<sockaddr*>(&name),
                   static_cast<socklen_t>(sizeof(sa_family_t) + 1 + abstract_name_.size())),
              0);
    EXPECT_EQ(listen(abstract_, 8), 0);
    shm_ = shmget(shm_key_, 4096, IPC_CREAT | 0666);
  }
  ~HostBait() {
    std::filesystem::remove(file_);
    std::filesystem::remove(shm_path_);
    close(tcp_);
    close(abstract_);
    if (shm_ >= 0) shmctl(shm_, IPC_RMID, nullptr);
  }

  std::string Line() const {
    return DumpJson({{"canary", file_},
                     {"secret", kSecret},
                     {"pid", getpid()},
                     {"port", port_},
                     {"abstract", abstract_name_},
                     {"shm_key", shm_key_},
                     {"shm_name", std::filesystem::path(shm_path_).filename().string()}}) +
           "\n";
  }

 private:
  const std::string file_ = absl::StrCat("/var/tmp/r1-bait-", getpid());
  const std::string shm_path_ = absl::StrCat("/dev/shm/r1-bait-", getpid());
  const std::string abstract_name_ = absl::StrCat("r1-bait-", getpid());
  const key_t shm_key_ = static_cast<key_t>(0x52310000 + (getpid() & 0xFFFF));
  int tcp_ = -1, abstract_ = -1, port_ = 0, shm_ = -1;
};

struct EscapeProgram {
  std::string name, code, verdict;
};

std::vector<EscapeProgram> ReadCorpus() {
  std::vector<EscapeProgram> programs;
  for (const auto& entry : std::filesystem::directory_iterator("tests/escape/corpus")) {
    EscapeProgram program{
        .name = entry.path().filename(), .code = ReadAll(entry.path()), .verdict = ""};
    const std::string kMark = "verdict: ";
    const size_t at = program.code.find(kMark) + kMark.size();
    program.verdict = program.code.substr(at, program.code.find('\n', at) - at);
    programs.push_back(std::move(program));
  }
  std::sort(programs.begin(), programs.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return programs;
}

// What a sandbox might leave behind, of this process or anywhere.
std::set<std::string> Traces() {
  std::set<std::string> traces;
  for (const auto& process : std::filesystem::directory_iterator("/proc")) {
    const std::string name = process.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    // Host users of slots, or children of this process.
    const std::string status = ReadAll(process.path() / "status");
    const size_t uid_at = status.find("\nUid:\t");
    const size_t parent_at = status.find("\nPPid:\t");
    if (uid_at == std::string::npos || parent_at == std::string::npos) continue;
    const bool is_inside = std::stoul(status.substr(uid_at + 6)) >= 0x70000000u;
    const bool is_child = std::stol(status.substr(parent_at + 7)) == getpid();
    if (is_inside || is_child) traces.insert("process " + name);
  }
  for (const char* const folder : {"/dev/shm", "/var/tmp"}) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      traces.insert("file " + entry.path().string());
    }
  }
  const std::string mounts = ReadAll("/proc/self/mountinfo");
  for (const auto& line : absl::StrSplit(mounts, '\n')) traces.insert(absl::StrCat("mount ", line));
  for (const CgroupHierarchy& hierarchy :
       ParseCgroupHierarchies(ReadAll("/proc/self/cgroup"), mounts)) {
    for (const auto& entry : std::filesystem::directory_iterator(hierarchy.folder)) {
      const std::string name = entry.path().filename();
      if (absl::StartsWith(name, absl::StrCat("r1-sandbox-", getpid(), "-"))) {
        traces.insert("cgroup " + entry.path().string());
      }
    }
  }
  traces.insert("shm " + ReadAll("/proc/sysvipc/shm"));
  return traces;
}

class EscapeTest : public SandboxTest {};

TEST_F(EscapeTest, NoProgramOfTheCorpusEscapesOrStays) {
  const HostBait bait;
  const std::set<std::string> before = Traces();  // with the fixture's own sandbox
  const std::vector<EscapeProgram> programs = ReadCorpus();
  ASSERT_GE(programs.size(), 60u);
  {
    absl::StatusOr<std::unique_ptr<SandboxPool>> pool = SandboxPool::Start({});
    ASSERT_TRUE(pool.ok()) << pool.status();
    Judge judge(std::shared_ptr<SandboxPool>(*std::move(pool)));
    std::atomic<size_t> next{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (size_t at; (at = next.fetch_add(1)) < programs.size();) {
          const EscapeProgram& program = programs[at];
          CodeProblem problem;
          problem.language =
              absl::EndsWith(program.name, ".py") ? Language::kPython : Language::kCpp;
          problem.tests.resize(1);
          problem.tests[0].input = bait.Line();
          problem.tests[0].output = "ESCAPED\n";
          problem.limits = {.cpu_seconds = 1.5,
                            .wall_seconds = 5,
                            .memory_bytes = 256 << 20,
                            .output_bytes = 256 << 10,
                            .files_bytes = 64 << 20,
                            .processes = 32};
          const Judgement judgement = judge.Run(problem, program.code, false);
          EXPECT_NE(judgement.verdict, Verdict::kPass) << program.name;
          EXPECT_NE(judgement.verdict, Verdict::kInfraError)
              << program.name << ": " << judgement.detail;
          if (program.verdict != "any") {
            EXPECT_EQ(VerdictName(judgement.verdict), program.verdict)
                << program.name << ": " << judgement.detail;
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    // The sandbox still works, and is still tight.
    CodeProblem problem;
    problem.tests.resize(1);
    problem.tests[0].output = "1";
    EXPECT_EQ(judge.Run(problem, "print(1)", false).verdict, Verdict::kPass);
  }
  for (const std::string& trace : Traces()) {
    EXPECT_TRUE(before.count(trace) > 0) << "left behind: " << trace;
  }
}

// For each layer a slot without it: its own probe gets through, and no other's.
class LayerTest : public SandboxTest, public testing::WithParamInterface<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Layers, LayerTest,
                         testing::Range(0u, static_cast<uint32_t>(Layer::kMemoryRlimit)),
                         [](const auto& info) { return kLayerNames[info.param]; });

TEST_P(LayerTest, TheSelfTestNoticesThatTheLayerIsOff) {
  const auto layer = static_cast<Layer>(GetParam());
  if (layer == Layer::kUserNamespace && geteuid() != 0) {
    GTEST_SKIP() << "only root can make the other namespaces without a user namespace";
  }
  const LayerSet layers = kAllLayers & ~SetOf(layer);
  // Without a root of its own a slot holds no zygote; elsewhere the zygote is the harder case.
  const bool has_python = layer != Layer::kMountNamespace;
  const std::unique_ptr<CgroupTree> cgroups = CgroupTree::Create();
  auto slot = Slot::Start({.layers = layers,
                           .host_uid = 0,
                           .host_gid = 0,
                           .with_python = has_python ? 1u : 0u,
                           .with_header = 0});
  ASSERT_TRUE(slot.ok()) << slot.status();
  const auto leaks =
      FindLeaks(**slot, *cgroups, layers, has_python ? Program::kPython : Program::kPath);
  ASSERT_TRUE(leaks.ok()) << leaks.status();
  EXPECT_FALSE(leaks->empty());
  for (const std::string& leak : *leaks) {
    EXPECT_TRUE(absl::StartsWith(leak, absl::StrCat(kLayerNames[GetParam()], ": "))) << leak;
  }
}

TEST_F(EscapeTest, LimitsOfProcessesStandInForControlGroupsWhenNamed) {
  const std::unique_ptr<CgroupTree> none = CgroupTree::CreateIn({});
  EXPECT_EQ(none->layers(), 0u);
  const LayerSet layers = (kAllLayers & ~kCgroupLayers) | SetOf(Layer::kMemoryRlimit);
  auto slot = Slot::Start(
      {.layers = layers, .host_uid = 0, .host_gid = 0, .with_python = 1, .with_header = 0});
  ASSERT_TRUE(slot.ok()) << slot.status();
  const auto leaks = FindLeaks(**slot, *none, layers, Program::kPython);
  ASSERT_TRUE(leaks.ok()) << leaks.status();
  EXPECT_TRUE(leaks->empty()) << leaks->front();
}

TEST(SandboxPoolTest, UnknownLayersAreRefusedByName) {
  const auto pool = SandboxPool::Start({.missing_layers_allowed = {"seccomp"}});
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(pool.status().message(), "\"seccomp\"")) << pool.status();
}

}  // namespace
}  // namespace r1::rewards::code
