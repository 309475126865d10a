// Metrics rows of a training step; names as in docs/metrics.md.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "learner/trainer.h"

namespace r1::learner {

// Next-token training: loss, optimizer, MoE health, speed.
std::map<std::string, double> NextTokenMetrics(const UpdateMetrics& update, const ExpertLoad& load,
                                               double seconds);

// The same of a policy update, averaged over the step's updates.
void AddPolicyUpdateMetrics(const std::vector<UpdateMetrics>& updates, const ExpertLoad& load,
                            double seconds, std::map<std::string, double>& values);

}  // namespace r1::learner
