// Extraction of the final answer from any bytes. Input: a flag byte (bit 0: think_prefilled), the
// response.

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/status.h"
#include "rewards/math/extract.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using r1::rewards::math::ExtractAnswer;
  using r1::rewards::math::Extraction;
  if (size == 0) return 0;
  const std::string response(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool think_prefilled = (data[0] & 1) != 0;
  const Extraction extraction = ExtractAnswer(response, think_prefilled);
  R1_CHECK(extraction.source[0] != '\0');
  R1_CHECK(extraction.found != extraction.text.empty());
  // Joined boxes and spans add commas, nothing else.
  R1_CHECK(extraction.text.size() <= response.size() + 64);

  const bool thinks = think_prefilled || response.find("<think>") != std::string::npos;
  const bool closes = response.find("</think>") != std::string::npos;
  if (thinks && !closes) R1_CHECK(!extraction.found);
  // A box after everything else is the answer.
  if (extraction.found && response.find_first_of("{}\\<") == std::string::npos) {
    const Extraction boxed = ExtractAnswer(response + "\n\\boxed{17}", think_prefilled);
    R1_CHECK(boxed.text == "17");
  }
  // What was thought before does not count.
  if (!thinks && !closes) {
    const Extraction after = ExtractAnswer("\\boxed{18}</think>" + response, true);
    R1_CHECK(after.found == extraction.found);
    R1_CHECK(after.text == extraction.text);
  }
  return 0;
}
