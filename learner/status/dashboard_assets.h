// The dashboard's files, compiled in; embed_assets.cmake writes the definition from
// learner/status/dashboard/.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"

namespace r1::learner {

struct DashboardAsset {
  absl::string_view path;  // "/app.js"; index.html is "/"
  const char* content_type;
  absl::string_view content;
};

const std::vector<DashboardAsset>& DashboardAssets();

}  // namespace r1::learner
