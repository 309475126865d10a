# cmake -DFOLDER=… -DOUTPUT=… -P embed_assets.cmake
# Writes a C++ file that defines DashboardAssets() with the files of FOLDER as raw strings.

set(types_html "text/html; charset=utf-8")
set(types_js "text/javascript; charset=utf-8")
set(types_css "text/css; charset=utf-8")
set(types_svg "image/svg+xml")

set(entries "")
foreach(name index.html app.css app.js charts.js samples.js util.js favicon.svg)
  file(READ "${FOLDER}/${name}" content)
  if(content MATCHES "\\)r1_asset\"")
    message(FATAL_ERROR "${name} holds the end of a raw string, )r1_asset\"")
  endif()
  string(REGEX REPLACE ".*\\." "" extension "${name}")
  set(path "/${name}")
  if(name STREQUAL "index.html")
    set(path "/")
  endif()
  string(APPEND entries "      {\"${path}\", \"${types_${extension}}\",
       R\"r1_asset(${content})r1_asset\"},\n")
endforeach()

file(WRITE "${OUTPUT}" "// Written by learner/status/embed_assets.cmake.
#include \"learner/status/dashboard_assets.h\"

namespace r1::learner {

const std::vector<DashboardAsset>& DashboardAssets() {
  static const auto* assets = new std::vector<DashboardAsset>{
${entries}  };
  return *assets;
}

}  // namespace r1::learner
")
