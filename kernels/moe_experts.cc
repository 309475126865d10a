#include "kernels/moe_experts.h"

#include <algorithm>
#include <limits>

namespace r1::kernels {
namespace {

constexpr int kCutRows = 8;  // an expert is cut at multiples: rows of a register tile

int64_t ExpertCost(int rows) { return rows == 0 ? 0 : std::max(rows, kExpertReadRows); }

}  // namespace

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

void CutExpertLists(const ExpertLists& lists, int parts, std::vector<int>* borders) {
  const std::vector<int32_t>& offsets = lists.offsets;
  const int experts = static_cast<int>(offsets.size()) - 1;
  borders->assign(parts + 1, offsets.back());
  int64_t remaining = 0;  // cost of the places from `place` on
  for (int e = 0; e < experts; ++e) remaining += ExpertCost(offsets[e + 1] - offsets[e]);
  int place = 0;
  int expert = 0;
  for (int part = 0; part + 1 < parts; ++part) {
    const int others = parts - part - 1;
    int64_t taken = 0;
    (*borders)[part] = place;
    for (; expert < experts; ++expert) {
      const int rows = offsets[expert + 1] - place;
      const int64_t behind = remaining - ExpertCost(rows);
      // So many rows that the slower of this part and the mean of the others is fastest.
      int best = 0;
      int64_t least = std::numeric_limits<int64_t>::max();
      for (int count = 0;; count = std::min(rows, count + kCutRows)) {
        const int64_t cost =
            std::max((taken + ExpertCost(count)) * others, behind + ExpertCost(rows - count));
        if (cost <= least) {
          best = count;
          least = cost;
        }
        if (count == rows) break;
      }
      taken += ExpertCost(best);
      remaining = behind + ExpertCost(rows - best);
      place += best;
      if (best < rows) break;
    }
  }
  (*borders)[parts - 1] = place;
}

}  // namespace r1::kernels
