// What the schema (proto/config.proto) says about its fields, read by reflection: rules, defaults,
// texts for messages, the nearest key. Shared by the loader, the printer, the reference page
// (docs/) and the tests.
#pragma once

#include <string>
#include <vector>

#include "common/status.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "proto/config.pb.h"

namespace r1 {

const v1::FieldRule& RuleOf(const google::protobuf::FieldDescriptor& field);

// A Schedule field: a number or a list of {from_update, value}.
bool IsSchedule(const google::protobuf::FieldDescriptor& field);
// A field that is a section ([run], stage.x.grpo) or a list of sections ([[stage]]).
bool IsSection(const google::protobuf::FieldDescriptor& field);
// The stage kind that this field of StageConfig holds the settings of, or the reward that this
// field of RewardConfig does; empty for other fields.
std::string KindOfSection(const google::protobuf::FieldDescriptor& field);

// "integer", "number", "true or false", "string", "list of strings", "number or schedule",
// "section".
std::string TypeName(const google::protobuf::FieldDescriptor& field);
// "from 1 to 1024", "above 0, at most 1", "at least 0", `one of "keep", "drop"`, or empty.
std::string RangeText(const google::protobuf::FieldDescriptor& field);
// Both together with an article, for "expected …".
std::string DescribeExpected(const google::protobuf::FieldDescriptor& field);

// Whether a number (of an integer, number or schedule field) obeys the rule and fits the field's
// type.
bool InRange(const google::protobuf::FieldDescriptor& field, double value);

// Sets every field that has a default to it, and makes no sub-message.
void FillDefaults(google::protobuf::Message& message);

// Names of the message's fields, in the schema's order.
std::vector<std::string> FieldNames(const google::protobuf::Descriptor& type);

// "; did you mean \"x\"?" for an unknown key of the section at `path` (empty = top of the file): a
// sibling, or a key that belongs elsewhere, with its whole path. `stage` and `kind` are those of
// the stage that the section is in, if any.
struct UnknownKey {
  std::string key;
  const google::protobuf::Descriptor* section = nullptr;
  std::string stage;
  std::string kind;
  // The schema of the whole file.
  const google::protobuf::Descriptor* file = v1::Config::descriptor();
};
std::string SuggestKey(const UnknownKey& unknown);

// A field as TOML text: `64`, `"keep"`, `[{from_update = 0, value = 1e-3}]`. Not for sections.
std::string FieldToToml(const google::protobuf::Message& message,
                        const google::protobuf::FieldDescriptor& field);

// Every field that is no section, in the schema's order; elements of named lists carry their name.
// Each named list also has a line with the names in order.
struct FlatField {
  std::string path;
  std::string value;
  bool safe_on_resume = false;
};
std::vector<FlatField> FlattenConfig(const google::protobuf::Message& config);

}  // namespace r1
