// Chat templates against jinja2 as transformers configures it (tests/golden/make_chat_cases.py and
// make_jinja_cases.py), and what a hostile template or conversation can do.

#include "common/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/filesystem.h"

namespace r1 {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;

// A template's case gives its text, or an error where jinja2 raised one.
void ExpectCase(const ChatTemplate& chat_template, const ordered_json& row,
                const std::string& where) {
  const absl::Time now = absl::FromCivil(absl::CivilDay(2025, 11, 26), absl::LocalTimeZone());
  const auto chat = chat_template.Render(row["variables"].get<std::string>(), where, now);
  if (row.contains("error")) {
    EXPECT_FALSE(chat.ok()) << where << ": expected " << row["error"] << ", found " << chat->text;
    return;
  }
  ASSERT_TRUE(chat.ok()) << chat.status() << "\nexpected " << row["text"];
  EXPECT_EQ(chat->text, row["text"].get<std::string>()) << where << ": " << row["variables"];
}

// The rows of a golden file; each names a template of the folder, or holds its source.
void ExpectCases(const std::string& file, const std::string& templates, size_t rows_min) {
  std::map<std::string, std::unique_ptr<const ChatTemplate>> parsed;
  std::ifstream input(file);
  ASSERT_TRUE(input.good()) << file;
  size_t rows = 0;
  for (std::string line; std::getline(input, line); ++rows) {
    const auto row = ordered_json::parse(line);
    const std::string where = absl::StrCat(file, ":", rows + 1);
    const bool named = row.contains("template");
    const std::string key = row[named ? "template" : "source"].get<std::string>();
    if (parsed[key] == nullptr) {
      const auto source =
          named ? RealFileSystem().Read(JoinPath(templates, key + ".jinja"), 1 << 20)
                : absl::StatusOr<std::string>(key);
      ASSERT_TRUE(source.ok()) << source.status();
      auto made = ChatTemplate::Parse(*source);
      if (!made.ok()) {
        EXPECT_TRUE(row.contains("error")) << where << ": " << made.status() << "\n" << key;
        continue;
      }
      parsed[key] = *std::move(made);
    }
    ExpectCase(*parsed[key], row, where);
  }
  EXPECT_GE(rows, rows_min);
}

// Other templates and cases than those in the repository, laid out as make_chat_cases.py does.
TEST(PublishedChatTemplatesTest, GiveTheTextOfJinja) {
  const char* const cases = std::getenv("R1_CHAT_CASES");
  const char* const templates = std::getenv("R1_CHAT_TEMPLATES");
  if (cases == nullptr || templates == nullptr) {
    GTEST_SKIP() << "set R1_CHAT_CASES (a file) and R1_CHAT_TEMPLATES (a folder)";
  }
  ExpectCases(cases, templates, 1);
}

}  // namespace
}  // namespace r1
