// A resolved config as text: TOML that loads again, its digest, and what differs between two of
// them.
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "common/config_schema.h"
#include "common/hash.h"

namespace r1 {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// The section's own keys first, as TOML demands, then its sections under their full headers.
void AppendSection(const Message& message, const std::string& path, std::string& toml) {
  const Reflection& reflection = *message.GetReflection();
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (IsSection(field)) continue;
    // A choice that was not made, as the preset of a model that comes from a folder.
    const bool is_unused =
        RuleOf(field).one_of_size() > 0 && reflection.GetString(message, &field).empty();
    if (!is_unused) absl::StrAppend(&toml, field.name(), " = ", FieldToToml(message, field), "\n");
  }
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (!IsSection(field)) continue;
    const std::string field_path = JoinFieldPath(path, field.name());
    if (!field.is_repeated() && reflection.HasField(message, &field)) {
      absl::StrAppend(&toml, "\n[", field_path, "]\n");
      AppendSection(reflection.GetMessage(message, &field), field_path, toml);
    }
    for (int k = 0; field.is_repeated() && k < reflection.FieldSize(message, &field); ++k) {
      absl::StrAppend(&toml, "\n[[", field_path, "]]\n");
      AppendSection(reflection.GetRepeatedMessage(message, &field, k), field_path, toml);
    }
  }
}

}  // namespace

std::string ConfigToToml(const Message& config) {
  std::string toml = "# Resolved by r1: every key is here, defaults included.\n";
  AppendSection(config, "", toml);
  return toml;
}

std::vector<std::string> ChangedFields(const Message& a, const Message& b, bool include_safe) {
  const std::vector<FlatField> fields_a = FlattenConfig(a);
  const std::vector<FlatField> fields_b = FlattenConfig(b);
  std::map<std::string, std::string> values_a;
  std::map<std::string, std::string> values_b;
  for (const FlatField& field : fields_a) values_a[field.path] = field.value;
  for (const FlatField& field : fields_b) values_b[field.path] = field.value;

  std::vector<std::string> changed;
  const auto is_asked_for = [&](const FlatField& field) {
    return include_safe || !field.safe_on_resume;
  };
  for (const FlatField& field : fields_a) {
    const auto other = values_b.find(field.path);
    const bool same = other != values_b.end() && other->second == field.value;
    if (!same && is_asked_for(field)) changed.push_back(field.path);
  }
  for (const FlatField& field : fields_b) {
    if (values_a.count(field.path) == 0 && is_asked_for(field)) changed.push_back(field.path);
  }
  return changed;
}

std::string ConfigDigest(const v1::Config& config) {
  std::string text;
  for (const FlatField& field : FlattenConfig(config)) {
    if (field.safe_on_resume || field.path == "run.dir") continue;
    absl::StrAppend(&text, field.path, " = ", field.value, "\n");
  }
  return Sha256Hex(text);
}

}  // namespace r1
