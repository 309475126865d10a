#include <string.h>

#include "r1_reward.h"

static int state; /* nothing to keep */

uint32_t r1_reward_abi_version(void) { return R1_REWARD_ABI_VERSION; }

void* r1_reward_init(const char* config_json, char* error, size_t error_size) {
  (void)config_json;
  (void)error;
  (void)error_size;
  return &state;
}

static void score_one(r1_reward_text text, r1_reward_result* result) {
  const char* tag = "<answer>";
  result->reason = "no_answer";
  for (size_t i = 0; i + strlen(tag) <= text.size; ++i) {
    if (memcmp(text.data + i, tag, strlen(tag)) != 0) continue;
    const char* answer = text.data + i + strlen(tag);
    const char* end = memchr(answer, '<', (size_t)(text.data + text.size - answer));
    if (end == NULL) return;
    result->score = end - answer <= 4 ? 1 : 0;
    result->reason = result->score > 0 ? "short" : "long";
    return;
  }
}

int32_t r1_reward_score(void* plugin, const r1_reward_sample* samples, size_t count,
                        int64_t timeout_ms, r1_reward_result* results) {
  (void)plugin;
  (void)timeout_ms;
  for (size_t i = 0; i < count; ++i) score_one(samples[i].response, &results[i]);
  return 0;
}

void r1_reward_free(void* plugin, r1_reward_result* results, size_t count) {
  (void)plugin;
  (void)results;
  (void)count;
}

void r1_reward_shutdown(void* plugin) { (void)plugin; }
