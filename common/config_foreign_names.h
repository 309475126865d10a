// What other frameworks call our config keys, so that the error for such a key can name ours. They
// are hints, never aliases: the key stays unknown.
#pragma once

#include <map>
#include <string>

namespace r1 {

// Name elsewhere -> "section.key" here.
const std::map<std::string, std::string>& ForeignConfigNames();

}  // namespace r1
