// The Python half of a benchmark: the same work by the Python package that people use today.
#pragma once

#include <string>
#include <vector>

namespace r1 {

// Runs `python3 script arguments…` ($R1_PYTHON instead of python3 when set) after what was printed
// so far, when that Python has `module`; otherwise prints how to get it. False: the script failed.
bool RunPythonPeer(const std::string& module, const std::string& package, const std::string& script,
                   const std::vector<std::string>& arguments);

}  // namespace r1
