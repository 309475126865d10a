#include "kernels/moe_experts.h"

namespace r1::kernels {

void BuildExpertLists(const int32_t* experts, int token_count, int active, int expert_count,
                      ExpertLists* lists) {
  const int64_t slots = int64_t{token_count} * active;
  lists->offsets.assign(expert_count + 1, 0);
  lists->tokens.resize(slots);
  lists->places.resize(slots);
  for (int64_t s = 0; s < slots; ++s) ++lists->offsets[experts[s] + 1];
  for (int e = 0; e < expert_count; ++e) lists->offsets[e + 1] += lists->offsets[e];
  // A counting sort: offsets[e] walks to the end of expert e's places, which is where those of e +
  // 1 begin.
  for (int64_t s = 0; s < slots; ++s) {
    const int32_t place = lists->offsets[experts[s]]++;
    lists->places[s] = place;
    lists->tokens[place] = static_cast<int32_t>(s / active);
  }
  for (int e = expert_count; e > 0; --e) lists->offsets[e] = lists->offsets[e - 1];
  lists->offsets[0] = 0;
}

}  // namespace r1::kernels
