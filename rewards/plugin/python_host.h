// python_host.py as text, for `python3 -c`.
#pragma once

namespace r1::rewards {

extern const char kPythonHost[];

}  // namespace r1::rewards
