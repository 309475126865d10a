// The style of the project as functions of a file's text, so that each rule can be shown a planted
// violation. What they know about C++ is what a line reader can know; comments and literals are
// blanked first where they would mislead.
#pragma once

#include <string>
#include <vector>

namespace r1::tidy {

struct SourceFile {
  std::string path;  // relative to the root of the repository
  std::vector<std::string> lines;
  bool ends_with_newline = true;
};

struct Violation {
  std::string path;
  int line = 0;  // from 1
  std::string what;
};

// Files of the repository that people write, sorted by path; without build folders, corpora and
// golden data.
std::vector<SourceFile> ReadRepository(const std::string& root);
SourceFile MakeSourceFile(const std::string& path, const std::string& text);

// Who may include whom (docs/architecture.md), and which outside headers belong where.
std::vector<Violation> CheckIncludes(const SourceFile& file);
// At most 100 columns in code, schemas and build files.
std::vector<Violation> CheckLineLength(const SourceFile& file);
// No tabs (but in Makefiles), trailing blanks, control characters or invalid UTF-8; one line break
// at the end.
std::vector<Violation> CheckCharacters(const SourceFile& file);
// No leftover markers.
std::vector<Violation> CheckMarkers(const SourceFile& file);
// Macros begin with R1_, since LibTorch defines many short names; headers have #pragma once.
std::vector<Violation> CheckMacros(const SourceFile& file);
// Calls that break determinism, or that have a better form here.
std::vector<Violation> CheckBannedCalls(const SourceFile& file);
// Fields snake_case, messages CamelCase, enum values UPPER_CASE.
std::vector<Violation> CheckProtoNames(const SourceFile& file);
// configs/*.toml: at most 60 lines, the first a comment.
std::vector<Violation> CheckConfigs(const SourceFile& file);

// C++ with comments, strings and character literals replaced by blanks, line by line.
std::vector<std::string> BlankCommentsAndLiterals(const std::vector<std::string>& lines);

}  // namespace r1::tidy
