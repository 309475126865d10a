#include "common/bench/python_peer.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace r1 {
namespace {

// The exit code of a program found in PATH; 127 when there is none.
int Run(std::vector<std::string> words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    execvp(pointers[0], pointers.data());
    _exit(127);
  }
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid) return 127;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

}  // namespace

bool RunPythonPeer(const std::string& module, const std::string& package, const std::string& script,
                   const std::vector<std::string>& arguments) {
  const char* chosen = std::getenv("R1_PYTHON");
  const std::string python = chosen != nullptr ? chosen : "python3";
  const std::string find = absl::StrCat(
      "import importlib.util as util, sys; "
      "sys.exit(util.find_spec('",
      module, "') is None)");
  if (Run({python, "-c", find}) != 0) {
    std::printf("not compared: %s has no %s (pip install %s, or R1_PYTHON=another python)\n",
                python.c_str(), module.c_str(), package.c_str());
    return true;
  }
  std::vector<std::string> words = {python, script};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return Run(std::move(words)) == 0;
}

}  // namespace r1
