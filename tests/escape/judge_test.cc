// Verdicts: what programs do, how they fail, and how they try to be judged better than they are.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/jsonl.h"
#include "tests/escape/sandbox_fixture.h"

namespace r1::rewards::code {
namespace {

using JudgeTest = SandboxTest;

constexpr char kSum[] = R"({"kind":"stdio","tests":[{"input":"1 2\n","output":"3\n"},
    {"input":"40 2\n","output":"42"}],"limits":{"time_ms":1000,"memory_mb":128,"output_kb":64}})";
constexpr char kSumCpp[] = R"({"lang":"cpp17","kind":"stdio","tests":[
    {"input":"1 2\n","output":"3\n"}],"limits":{"time_ms":1000,"memory_mb":128,"output_kb":64}})";
constexpr char kAdd[] = R"({"kind":"function","entry_point":"add",
    "tests":[{"args":[1,2],"expected":3},{"args":[-1,1],"expected":0}]})";
constexpr char kAddMain[] = R"({"kind":"assert_main","entry_point":"add",
    "tests":[{"main":"def check(candidate):\n    assert candidate(1, 2) == 3\n"}],
    "limits":{"time_ms":1000,"wall_ms":3000}})";
constexpr char kAddMainCpp[] = R"({"lang":"cpp17","kind":"assert_main","entry_point":"add",
    "tests":[{"main":
    "#undef NDEBUG\n#include <assert.h>\nint main() { assert(add(1, 2) == 3); }"}]})";

TEST_F(JudgeTest, EveryVerdictOfAPythonProgram) {
  EXPECT_EQ(VerdictOn(kSum, "print(sum(map(int, input().split())))"), "pass");
  EXPECT_EQ(VerdictOn(kSum, "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))"),
            "pass");
  EXPECT_EQ(VerdictOn(kSum, "print(3)"), "wrong_answer");
  EXPECT_EQ(VerdictOn(kSum, ""), "wrong_answer");
  EXPECT_EQ(VerdictOn(kSum, "print(1/0)"), "runtime_error");
  EXPECT_EQ(VerdictOn(kSum, "print(3)\nraise SystemExit(1)"), "runtime_error");
  EXPECT_EQ(VerdictOn(kSum, "print(3"), "compile_error");
  EXPECT_EQ(VerdictOn(kSum, std::string("print(3)\0", 9)), "compile_error");
  EXPECT_EQ(VerdictOn(kSum, "while True: pass"), "timeout");
  EXPECT_EQ(VerdictOn(kSum, "x = bytearray(1 << 30)"), "memory_limit");
  EXPECT_EQ(VerdictOn(kSum, "while True: print('x' * 1000)"), "output_limit");
  EXPECT_EQ(VerdictOn(kSum, "import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)"),
            "security_violation");
}

TEST_F(JudgeTest, EveryVerdictOfACppProgram) {
  const auto verdict = [](const std::string& body) {
    return VerdictOn(kSumCpp, absl::StrCat("#include <bits/stdc++.h>\n#include <sys/ptrace.h>\n"
                                           "int main() { ",
                                           body, " }"));
  };
  EXPECT_EQ(verdict("int a, b; std::cin >> a >> b; std::cout << a + b;"), "pass");
  EXPECT_EQ(verdict("puts(\"4\");"), "wrong_answer");
  EXPECT_EQ(verdict("puts(\"3\"); return 1;"), "runtime_error");
  EXPECT_EQ(verdict("puts(\"3\"); abort();"), "runtime_error");
  EXPECT_EQ(verdict("int a = \"x\";"), "compile_error");
  EXPECT_EQ(verdict("for (volatile int i = 0;; i = i + 1) {}"), "timeout");
  EXPECT_EQ(verdict("std::vector<int> v(1 << 28, 1); std::cout << v[5];"), "memory_limit");
  EXPECT_EQ(verdict("for (;;) puts(\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\");"), "output_limit");
  EXPECT_EQ(verdict("ptrace(PTRACE_TRACEME);"), "security_violation");
}

// A job ends as an interpreter does, though nothing of it is torn down.
TEST_F(JudgeTest, PythonEndsAsUsual) {
  constexpr char kThree[] = R"({"kind":"stdio","tests":[{"input":"","output":"3\n"}]})";
  EXPECT_EQ(VerdictOn(kThree, "import sys\nprint(3)\nsys.stdout.close()"), "pass");
  EXPECT_EQ(VerdictOn(kThree, "import sys\nprint(3, flush=True)\nsys.stdout = None"), "pass");
  EXPECT_EQ(VerdictOn(kThree, "import atexit\natexit.register(lambda: print(3))"), "pass");
  EXPECT_EQ(VerdictOn(kThree,
                      "import threading, time\ndef late():\n  time.sleep(0.1)\n  print(3)\n"
                      "threading.Thread(target=late).start()"),
            "pass");
  EXPECT_EQ(VerdictOn(kThree,
                      "import threading, time\ndef late():\n  time.sleep(9)\n  print(4)\nprint(3)\n"
                      "threading.Thread(target=late, daemon=True).start()"),
            "pass");
  EXPECT_EQ(VerdictOn(kThree,
                      "from concurrent.futures import ThreadPoolExecutor\n"
                      "ThreadPoolExecutor(2).submit(lambda: print(3))"),
            "pass");
}

TEST_F(JudgeTest, PythonFunctionsAreComparedAsStrictJson) {
  EXPECT_EQ(VerdictOn(kAdd, "def add(a, b): return a + b"), "pass");
  EXPECT_EQ(VerdictOn(kAdd, "class Solution:\n  def add(self, a, b): return a + b"), "pass");
  EXPECT_EQ(VerdictOn(kAdd, "print('noise')\ndef add(a, b):\n  print(a)\n  return a + b"), "pass");
  EXPECT_EQ(VerdictOn(kAdd, "def add(a, b): return float(a + b)"), "wrong_answer");
  EXPECT_EQ(VerdictOn(kAdd, "def add(a, b): return str(a + b)"), "wrong_answer");
  EXPECT_EQ(VerdictOn(kAdd, "def add(a, b): return {a}"), "wrong_answer");
  EXPECT_EQ(VerdictOn(kAdd, "def add(a, b): raise ValueError"), "runtime_error");
  EXPECT_EQ(VerdictOn(kAdd, "def sub(a, b): return a - b"), "runtime_error");
  const std::string big = R"({"kind":"function","entry_point":"f","tests":
      "[{\"args\":[10000000000000000000000001],\"expected\":10000000000000000000000002}]"})";
  EXPECT_EQ(VerdictOn(big, "def f(x): return x + 1"), "pass");
  EXPECT_EQ(VerdictOn(big, "def f(x): return x"), "wrong_answer");
}

TEST_F(JudgeTest, CppFunctionsTakeStandardTypes) {
  const std::string row = R"({"lang":"cpp20","kind":"function","entry_point":"f","tests":[
      {"args":[[3,1,2],{"a":1.5},"x\"\u00e9",[[true,"z"]]],
       "expected":[[1,2,3],2.5,"x\"é!",[[false,"z"]]]}]})";
  EXPECT_EQ(VerdictOn(row, R"(
#include <bits/stdc++.h>
using namespace std;
auto f(vector<int> v, const map<string, double>& m, string s, vector<pair<bool, string>> p)
    -> tuple<vector<int>, double, string, vector<pair<bool, string>>> {
  sort(v.begin(), v.end());
  p[0].first = false;
  return {v, m.at("a") + 1, s + "!", p};
})"),
            "pass");
  const std::string add = R"({"lang":"cpp","kind":"function","entry_point":"Solution.add",
      "tests":[{"args":[1,2],"expected":3}]})";
  EXPECT_EQ(VerdictOn(add, "struct Solution { int add(int& a, int b) { return a + b; } };"),
            "pass");
  EXPECT_EQ(VerdictOn(add, "struct Solution { int add(int a, int b) { return a - b; } };"),
            "wrong_answer");
}

TEST_F(JudgeTest, RewardHacksDoNotPassAStdioTest) {
  const std::vector<std::string> hacks = {
      "import os\nos._exit(0)", "import sys\nsys.exit(0)", "quit()",
      // Looks for the expected output where other graders keep it.
      "import gc\nfor o in gc.get_objects():\n  if isinstance(o, dict) and 'output' in o: "
      "print(o['output'])",
      "import sys\nf = sys._getframe()\nwhile f:\n  print(f.f_locals.get('expected', ''))\n  f = "
      "f.f_back",
      "import os\nfor fd in range(3, 64):\n  try: print(os.read(fd, 99).decode())\n  except "
      "OSError: pass",
      "import glob\nfor p in glob.glob('/proc/*/cmdline'): print(open(p).read())",
      "import builtins\nbuiltins.print = lambda *a: None",
      "import os\nos.symlink('/box/w/expected', '/box/w/output')",
      "print('PASS')\nprint('{\"verdict\": \"pass\"}')", "print('1 2')", "print('3\\n3')",
      "print('3 ')\nprint('42')"};
  for (const std::string& hack : hacks) EXPECT_NE(VerdictOn(kSum, hack), "pass") << hack;
}

TEST_F(JudgeTest, RewardHacksDoNotPassAFunctionTest) {
  const std::vector<std::string> hacks = {
      "import os\nos._exit(0)",
      "def add(a, b):\n  import os\n  os._exit(0)",
      "class Any:\n  def __eq__(self, o): return True\n  __hash__ = None\ndef add(a, b): return "
      "Any()",
      "class Int(int):\n  def __eq__(self, o): return True\ndef add(a, b): return Int(7)",
      "import json\njson.dumps = lambda *a, **k: '{\"value\": true}'\ndef add(a, b): return 0",
      "import os\nos.write(4, b'{\"value\": 4}\\n')\nos._exit(0)",
      "import os\nfor v in range(-9, 9): os.write(4, b'{\"value\": %d}\\n' % v)\nos._exit(0)",
      "import atexit, os\natexit.register(lambda: os._exit(0))\ndef add(a, b): return None",
      "import sys\ndef add(a, b):\n  f = sys._getframe()\n  while f:\n    if 'expected' in "
      "f.f_locals: return f.f_locals['expected']\n    f = f.f_back",
      "def add(*a): return [3, 0]"};
  for (const std::string& hack : hacks) EXPECT_NE(VerdictOn(kAdd, hack), "pass") << hack;
}

TEST_F(JudgeTest, RewardHacksDoNotPassAPythonTestMain) {
  const std::vector<std::string> hacks = {
      "import os\nos._exit(0)",
      "import sys\nsys.exit(0)",
      "def add(a, b):\n  import os\n  os._exit(0)",
      "def add(a, b): raise SystemExit(0)",
      "class Any:\n  def __eq__(self, o): return True\ndef add(a, b): return Any()",
      "class Int(int):\n  def __eq__(self, o): return True\ndef add(a, b): return Int(7)",
      "def check(candidate): pass\ndef add(a, b): return 0",
      "import builtins\nbuiltins.AssertionError = ValueError\ndef add(a, b): return 0",
      "from unittest.mock import ANY\ndef add(a, b): return ANY",
      "from unittest.mock import MagicMock as add",
      "from unittest.mock import _ANY as add",
      "import os\nos.write(5, b'0' * 32)\ndef add(a, b): return 0",
      "import os\nos.write(4, b'{\"value\": []}\\n' * 9)\ndef add(a, b): return 0",
      "import sys\nsys.modules['json'].loads = lambda *a: 3\ndef add(a, b): return 0",
      "import gc\ndef add(a, b):\n  for o in gc.get_objects():\n    if isinstance(o, dict) and "
      "'token' in o: return o['token']",
      "import threading\nthreading.Thread(target=lambda: None).start()\ndef add(a, b): return 0",
      "import os\nos.write(4, b'{\"value\": []}\\n' * 9)\nos._exit(0)",
      "add = 3"};
  for (const std::string& hack : hacks) EXPECT_NE(VerdictOn(kAddMain, hack), "pass") << hack;
  EXPECT_EQ(VerdictOn(kAddMain, "def add(a, b): return a + b"), "pass");
  EXPECT_EQ(VerdictOn(kAddMain, "def add(a, b): return a - b"), "wrong_answer");
  EXPECT_EQ(VerdictOn(kAddMain, "def add(a, b): return a / 0"), "runtime_error");
  EXPECT_EQ(VerdictOn(kAddMain, "def add(a, b):"), "compile_error");
}

TEST_F(JudgeTest, RewardHacksDoNotPassACppTestMain) {
  const std::vector<std::string> hacks = {
      "#include <cstdlib>\nstruct S { S() { _Exit(0); } } s;\nint add(int, int) { return 0; }",
      "#define NDEBUG\nint add(int, int) { return 0; }",
      "#define assert(x)\nint add(int, int) { return 0; }",
      "#/**/define assert(x)\n# \\\ndefine if while\nint add(int, int) { return 0; }",
      "%:define assert(x)\nint add(int, int) { return 0; }",
      "struct Any { template <class T> bool operator==(const T&) const { return true; } };\n"
      "Any add(int, int) { return {}; }",
      "#include <csignal>\n#include <cstdlib>\nint add(int, int) { signal(SIGABRT, [](int) { "
      "_Exit(0); });"
      " return 0; }",
      "extern \"C\" void __assert_fail(const char*, const char*, unsigned, const char*) throw() {\n"
      "  for (;;) {} }\nint add(int, int) { return 0; }",
      "#include <cstdlib>\nint add(int, int) { exit(0); }",
      "#define main other\nint add(int, int) { return 0; }\nint real() { return 0; }",
      "#include <unistd.h>\nstruct S { S() { write(4, \"pass\", 4); _exit(0); } } s;\n"
      "int add(int, int) { return 0; }"};
  for (const std::string& hack : hacks) EXPECT_NE(VerdictOn(kAddMainCpp, hack), "pass") << hack;
  EXPECT_EQ(VerdictOn(kAddMainCpp, "int add(int a, int b) { return a + b; }"), "pass");
  EXPECT_EQ(VerdictOn(kAddMainCpp, "int add(int a, int b) { return a + b; }\nint main() {}"),
            "pass");
  EXPECT_EQ(VerdictOn(kAddMainCpp, "int add(int a, int b) { return a - b; }"), "wrong_answer");
}

// The setup's names are the test's own: the program cannot put others in their place.
TEST_F(JudgeTest, ATestTrustsItsSetupOnly) {
  const std::string row = R"({"kind":"assert_main","entry_point":"solve","setup":
      "import math\ndef poly(x): return x * x - 4\n","tests":[{"main":
      "assert math.fabs(poly(solve())) < 1e-9\n"}]})";
  EXPECT_EQ(VerdictOn(row, "def solve(): return 2"), "pass");
  EXPECT_EQ(VerdictOn(row, "def poly(x): return 0\ndef solve(): return 7"), "wrong_answer");
  EXPECT_EQ(VerdictOn(row, "class math:\n  fabs = lambda x: 0\ndef solve(): return 7"),
            "wrong_answer");
  EXPECT_EQ(VerdictOn(row, "abs = lambda x: 0\ndef solve(): return 7"), "wrong_answer");
}

TEST_F(JudgeTest, ObjectsOfTheProgramAreHandlesInATest) {
  const std::string test = R"(
s = Stack()
s.push(3)
s.push([1, {2: (3,)}])
assert s.pop() == [1, {2: (3,)}]
assert len(s) == 1
assert list(s) == [3]
try:
    s.fail()
    assert False
except KeyError:
    pass
)";
  const std::string row =
      DumpJson({{"kind", "assert_main"}, {"tests", nlohmann::json::array({{{"main", test}}})}});
  EXPECT_EQ(VerdictOn(row, R"(
class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x)
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def fail(self): raise KeyError("x")
)"),
            "pass");
}

TEST_F(JudgeTest, AJobFindsNothingOfTheOneBefore) {
  const std::string row = R"({"tests":[{"input":"","output":"[] []"}]})";
  const std::string code =
      "import os\nprint(os.listdir('/box/w'), os.listdir('/dev/shm'))\n"
      "open('/box/w/a', 'w').close(); open('/dev/shm/b', 'w').close()";
  EXPECT_EQ(VerdictOn(row, code), "pass");
  EXPECT_EQ(VerdictOn(row, code), "pass");
}

TEST_F(JudgeTest, ALostSlotIsNoVerdict) {
  const std::string row = R"({"tests":[{"input":"","output":"1"}]})";
  EXPECT_EQ(VerdictOn(row, "print(1)"), "pass");
  int killed = 0;  // the helpers are this process's only children
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream children(thread.path() / "children");
    for (pid_t child; children >> child; ++killed) kill(child, SIGKILL);
  }
  ASSERT_GT(killed, 0);
  EXPECT_EQ(VerdictOn(row, "print(1)"), "pass");
  EXPECT_EQ(VerdictOn(row, "print(2)"), "wrong_answer");
}

struct HumanEvalRow {
  std::string columns, code, wrong_code, task;
};

// A wrong program gives a value near the right one.
constexpr char kMutation[] = R"(
_r1_right = %s
def %s(*args, **named):
    value = _r1_right(*args, **named)
    if isinstance(value, bool): return not value
    if isinstance(value, (int, float)): return value + 1
    if isinstance(value, str): return value + 'x'
    if isinstance(value, list): return value + [0]
    if isinstance(value, tuple): return value + (0,)
    return 0
)";

TEST_F(JudgeTest, HumanEvalSolutionsPassAndWrongOnesFail) {
  auto reader = JsonlReader::Open("tests/fixtures/humaneval.jsonl");
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::vector<HumanEvalRow> rows;
  for (JsonlRow row;;) {
    const auto more = (*reader)->Next(row);
    ASSERT_TRUE(more.ok());
    if (!*more) break;
    const std::string entry = row.object["entry_point"];
    HumanEvalRow& added = rows.emplace_back();
    added.task = row.object["task_id"];
    added.code = absl::StrCat(std::string(row.object["prompt"]),
                              std::string(row.object["canonical_solution"]));
    std::string mutation = kMutation;
    for (size_t at; (at = mutation.find("%s")) != std::string::npos;) {
      mutation.replace(at, 2, entry);
    }
    added.wrong_code = added.code + mutation;
    added.columns = DumpJson({{"kind", "assert_main"},
                              {"entry_point", entry},
                              {"setup", row.object["prompt"]},
                              {"limits", {{"time_ms", 10000}}},
                              {"tests", {{{"main", row.object["test"]}}}}});
  }
  ASSERT_EQ(rows.size(), 164u);
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (size_t at; (at = next.fetch_add(1)) < rows.size();) {
        const Judgement right = JudgeRow(rows[at].columns, rows[at].code);
        EXPECT_EQ(right.verdict, Verdict::kPass)
            << rows[at].task << " " << VerdictName(right.verdict) << " " << right.detail;
        const Judgement wrong = JudgeRow(rows[at].columns, rows[at].wrong_code);
        EXPECT_EQ(wrong.verdict, Verdict::kWrongAnswer)
            << rows[at].task << " " << VerdictName(wrong.verdict) << " " << wrong.detail;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace r1::rewards::code
