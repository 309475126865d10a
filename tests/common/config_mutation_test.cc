// Damages every field of the schema in every way that a slip of the hand can, one at a time, and
// demands that the problem names its line, column and field, and that a misspelt name gets the
// right suggestion. The mutations are made by walking the schema, so a new field is covered at
// once.

#include <gtest/gtest.h>

#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/config.h"
#include "common/config_schema.h"

namespace r1 {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// A config that has every key of the schema: resolved, with one stage of each kind. A data file and
// a model folder are not named, since their presence changes what else may be there.
constexpr char kBase[] =
    "[[stage]]\nname = \"base\"\nkind = \"pretrain\"\n"
    "[[stage]]\nname = \"cold\"\nkind = \"sft\"\n"
    "[[stage]]\nname = \"collect\"\nkind = \"rejection_sampling\"\n"
    "rejection_sampling.prompts = 9\nrejection_sampling.keep = [{ name = \"total\" }]\n"
    "rejection_sampling.mix = [{ name = \"old\", path = \"LICENSE\" }]\n"
    "[[stage.reward]]\nname = \"readable\"\n"
    "[[stage]]\nname = \"taught\"\nkind = \"distill\"\ndistill.teacher = \"stage:cold\"\n"
    "[[stage]]\nname = \"rl\"\nkind = \"grpo\"\n[[stage.reward]]\nname = \"format\"\n"
    "[[stage.reward]]\nname = \"repetition\"\n[[stage.reward]]\nname = \"length\"\n"
    "[[stage.reward]]\nname = \"judge\"\nplugin.python = \"judge.py:score\"\n";

// A line `key = value` of that config.
struct KeyLine {
  std::string path;
  const FieldDescriptor* field = nullptr;
  size_t line = 0;  // from 1
  std::string key;
  std::string value;
};

// "stage.rl.grpo.steps" -> GrpoConfig.steps; the component after a named list is an element's name.
const FieldDescriptor* FindField(const std::string& path) {
  const Descriptor* type = v1::Config::descriptor();
  const FieldDescriptor* field = nullptr;
  bool is_name = false;
  for (const std::string& key : std::vector<std::string>(absl::StrSplit(path, '.'))) {
    if (std::exchange(is_name, false)) continue;
    field = type->FindFieldByName(key);
    if (field == nullptr || !IsSection(*field)) return field;
    type = field->message_type();
    is_name = field->is_repeated();
  }
  return field;
}

struct Mutation {
  std::string what;
  size_t line = 0;
  std::string new_line;
  // The problem must begin with the first and end with the second.
  std::string beginning;
  std::string ending;
};

// Spelling mistakes that leave the name recognisable, none of them a key of the same section.
std::vector<std::string> Misspellings(const std::string& name, const Descriptor& section) {
  std::vector<std::string> misspelt;
  const size_t middle = name.size() / 2;
  std::string swapped = name;
  std::swap(swapped[middle - 1], swapped[middle]);
  for (const std::string& candidate :
       {name.substr(0, middle) + name.substr(middle + 1),
        name.substr(0, middle) + "z" + name.substr(middle), swapped}) {
    if (candidate != name && section.FindFieldByName(candidate) == nullptr) {
      misspelt.push_back(candidate);
    }
  }
  return misspelt;
}

// Values of a wrong type or out of range, as TOML.
std::vector<std::string> BadValues(const FieldDescriptor& field) {
  const v1::FieldRule& rule = RuleOf(field);
  const std::string type = TypeName(field);
  if (type == "string") return {"17", "2.5", "true", "[\"x\"]", "{x = 1}"};
  if (type == "list of strings") return {"17", "\"x\"", "{x = 1}"};
  if (type == "true or false") return {"1", "\"true\"", "[true]"};
  std::vector<std::string> values = {"\"many\"", "true", "1979-05-27", "{x = 1}", "nan", "inf"};
  if (type == "integer") {
    values.insert(values.end(), {"1.5", "[1]", "-9223372036854775808", "9223372036854775807"});
  }
  if (rule.has_min()) values.push_back(absl::StrCat(static_cast<int64_t>(rule.min()) - 1));
  if (rule.has_max()) values.push_back(absl::StrCat(static_cast<int64_t>(rule.max()) + 1));
  if (rule.has_above()) values.push_back(absl::StrCat(rule.above()));
  return values;
}

std::vector<Mutation> Mutations(const KeyLine& line) {
  std::vector<Mutation> mutations;
  const std::string section = line.path.substr(0, line.path.rfind('.') + 1);
  for (const std::string& key : Misspellings(line.key, *line.field->containing_type())) {
    mutations.push_back(
        {"typo", line.line, absl::StrCat(key, " = ", line.value),
         absl::StrCat("c.toml:", line.line, ":1: ", section, key, ": expected a key of "),
         absl::StrCat("did you mean \"", line.key, "\"?")});
  }
  const size_t column = line.key.size() + 4;
  const std::string beginning =
      absl::StrCat("c.toml:", line.line, ":", column, ": ", line.path, ": expected ");
  for (const std::string& value : BadValues(*line.field)) {
    mutations.push_back({"value", line.line, absl::StrCat(line.key, " = ", value), beginning, ""});
  }
  for (const std::string& allowed : RuleOf(*line.field).one_of()) {
    mutations.push_back({"enum", line.line, absl::StrCat(line.key, " = \"", allowed, "z\""),
                         beginning, absl::StrCat("did you mean \"", allowed, "\"?")});
  }
  return mutations;
}

bool AnyLine(const std::vector<std::string>& problems, const Mutation& mutation) {
  for (const std::string& problem : problems) {
    if (absl::StartsWith(problem, mutation.beginning) && absl::EndsWith(problem, mutation.ending)) {
      return true;
    }
  }
  return false;
}

TEST(ConfigMutationTest, EveryDamagedFieldIsNamedWithItsPosition) {
  const absl::StatusOr<LoadedConfig> base = LoadConfigText("c.toml", kBase, {});
  ASSERT_TRUE(base.ok()) << base.status().message();
  const std::string complete = ConfigToToml(base->config);
  const absl::StatusOr<LoadedConfig> loaded = LoadConfigText("c.toml", complete, {});
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  const std::vector<std::string> lines = absl::StrSplit(complete, '\n');

  int count = 0;
  int reported = 0;
  for (const FlatField& flat : FlattenConfig(loaded->config)) {
    const FieldDescriptor* field = FindField(flat.path);
    ASSERT_NE(field, nullptr) << flat.path;
    if (IsSection(*field)) continue;
    ASSERT_TRUE(loaded->IsExplicit(flat.path)) << flat.path;
    const size_t line = static_cast<size_t>(loaded->Where(flat.path).line);
    ASSERT_EQ(lines[line - 1], absl::StrCat(field->name(), " = ", flat.value));
    for (const Mutation& mutation :
         Mutations({flat.path, field, line, field->name(), flat.value})) {
      // The name of a list's element is in the path of its problems, which is tested in
      // config_test.cc.
      if (field->name() == "name") continue;
      std::vector<std::string> mutated = lines;
      mutated[mutation.line - 1] = mutation.new_line;
      const absl::Status status =
          LoadConfigText("c.toml", absl::StrJoin(mutated, "\n"), {}).status();
      const std::vector<std::string> problems = absl::StrSplit(status.message(), '\n');
      ++count;
      const bool found = !status.ok() && AnyLine(problems, mutation);
      reported += found ? 1 : 0;
      if (!found) {
        std::cout << mutation.what << " " << flat.path << ": " << mutation.new_line << "\n  "
                  << status << "\n";
      }
    }
  }
  std::cout << reported << " of " << count
            << " damaged configs were reported with position, field and suggestion\n";
  EXPECT_GE(count, 200);
  EXPECT_EQ(reported, count);
}

// The rules themselves: what the loader takes for granted.
void CheckRules(const Descriptor& type) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const v1::FieldRule& rule = RuleOf(field);
    SCOPED_TRACE(field.full_name());
    if (IsSection(field)) {
      if (field.is_repeated()) {
        EXPECT_NE(field.message_type()->FindFieldByName("name"), nullptr)
            << "elements are addressed by name";
      }
      CheckRules(*field.message_type());
      continue;
    }
    EXPECT_FALSE(rule.required() && !rule.default_value().empty());
    EXPECT_FALSE(rule.has_min() && rule.has_above());
    EXPECT_TRUE(rule.one_of_size() == 0 || TypeName(field) == "string");
    const bool is_number =
        TypeName(field) == "integer" || absl::StartsWith(TypeName(field), "number");
    EXPECT_FALSE(is_number && !rule.required() && rule.default_value().empty())
        << "a default of 0 must be said";
    const bool is_int32 = field.cpp_type() == FieldDescriptor::CPPTYPE_INT32;
    EXPECT_FALSE(is_int32 && !(rule.has_min() && rule.has_max()));
  }
}

TEST(ConfigSchemaTest, RulesAreComplete) {
  CheckRules(*v1::Config::descriptor());
  CheckRules(*v1::SchedulePoint::descriptor());
}

TEST(ConfigSchemaTest, DefaultsObeyTheirRules) {
  // A resolved config with nothing but defaults has them all, and loads only if each is in its
  // range.
  const absl::StatusOr<LoadedConfig> base = LoadConfigText("c.toml", kBase, {});
  ASSERT_TRUE(base.ok()) << base.status().message();
  EXPECT_TRUE(LoadConfigText("c.toml", ConfigToToml(base->config), {}).ok());
}

}  // namespace
}  // namespace r1
