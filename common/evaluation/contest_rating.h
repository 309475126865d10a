// A contestant's rating from the problems that it solved, on the scale of Codeforces.
//
// Elo's model as Codeforces uses it: a contestant of rating r solves a problem of rating d with
// probability 1 / (1 + 10^((d - r) / 400)); that is how Codeforces defines the rating of a problem.
// The rating is the maximum likelihood one: where the expected number of solved problems equals the
// number solved. A pure function.
//
// DEVIATION: DeepSeek-R1 rates from ten Div. 2 contests by the expected rank among their human
// contestants (2501.12948 v1 §3), whose standings are not published with the problems. The ratings
// of the problems are, and by the same Elo model they give a rating from solved problems alone.
#pragma once

#include <span>

namespace r1 {

struct RatedResult {
  double rating = 0;  // of the problem
  double solved = 0;  // share of the attempts that solved it, in [0, 1]
};

// The range in which a rating is looked for; somebody who solved everything, or nothing, gets an
// end of it, for no finite rating fits best.
inline constexpr double kContestRatingMin = -1000;
inline constexpr double kContestRatingMax = 5000;

// At least one result.
double ContestRating(std::span<const RatedResult> results);

// The share of human contestants below a rating, in percent, as DeepSeek-R1's results pair the two
// (Nature, table 2: 1444 is 80.4 … 2029 is 96.3): between the published pairs, and beyond them on
// the line through the two nearest, interpolated in the log odds of the share.
double RatingPercentile(double rating);

}  // namespace r1
