// The ways of r1 eval, each in a file of its own; eval.cc has their flags.
#pragma once

#include "common/command_line.h"

namespace r1::cli {

// A built-in task, or rows of a file, with a table of pass@1: the numbers of a run's evaluations.
int EvalTask(const ParsedCommand& parsed);

// A suite, resumable, with a report.
int EvalSuite(const ParsedCommand& parsed);

// Training data without what stands in evaluation sets.
int EvalDecontaminate(const ParsedCommand& parsed);

}  // namespace r1::cli
