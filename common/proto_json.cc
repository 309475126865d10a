#include "common/proto_json.h"

#include <vector>

#include "common/json.h"
#include "common/utf8.h"
#include "google/protobuf/util/json_util.h"

namespace r1 {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

bool FieldIsValid(const Message& message, const FieldDescriptor& field);

// protobuf prints an invalid string as it is, and the reply would be no JSON; so look first.
bool StringsAreValid(const Message& message) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (!FieldIsValid(message, *field)) return false;
  }
  return true;
}

bool FieldIsValid(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.type() != FieldDescriptor::TYPE_STRING &&
      field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    return true;
  }
  const bool text = field.type() == FieldDescriptor::TYPE_STRING;
  if (!field.is_repeated()) {
    return text ? IsValidUtf8(reflection.GetString(message, &field))
                : StringsAreValid(reflection.GetMessage(message, &field));
  }
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    if (text ? !IsValidUtf8(reflection.GetRepeatedString(message, &field, i))
             : !StringsAreValid(reflection.GetRepeatedMessage(message, &field, i))) {
      return false;
    }
  }
  return true;
}

}  // namespace

absl::StatusOr<std::string> MessageToJson(const Message& message) {
  if (!StringsAreValid(message)) {
    return absl::InternalError(
        absl::StrCat(message.GetTypeName(), ": a string field is not valid UTF-8"));
  }
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) {
    return absl::InternalError(absl::StrCat(message.GetTypeName(), ": ", status.ToString()));
  }
  return json;
}

std::string ErrorToJson(const absl::Status& status) {
  return absl::StrCat("{\"error\":", JsonString(status.message()), "}");
}

}  // namespace r1
