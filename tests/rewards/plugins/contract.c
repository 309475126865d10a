/* The contract's plugin as a shared library (tests/rewards/plugin_contract.h). */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rewards/plugin/r1_reward.h"

static double config_value;

uint32_t r1_reward_abi_version(void) { return R1_REWARD_ABI_VERSION; }

void* r1_reward_init(const char* config_json, char* error, size_t error_size) {
  const char* value = strstr(config_json, "\"value\":");
  if (value == NULL) {
    snprintf(error, error_size, "no value in %s", config_json);
    return NULL;
  }
  config_value = strtod(value + strlen("\"value\":"), NULL);
  return &config_value;
}

static int equals(r1_reward_text text, const char* expected) {
  return text.size == strlen(expected) && memcmp(text.data, expected, text.size) == 0;
}

static int begins(r1_reward_text text, const char* word) {
  return text.size >= strlen(word) && memcmp(text.data, word, strlen(word)) == 0;
}

static int is_echo(const r1_reward_sample* sample) {
  return equals(sample->prompt, "12 + 5 = \"?\"\n") && equals(sample->prediction, "17") &&
         equals(sample->answer, "1\t7") && equals(sample->language, "fr") &&
         equals(sample->columns_json, "{\"level\":3}") && sample->n_tokens == 9 &&
         !sample->finished && sample->think_prefilled;
}

static void crash_once(r1_reward_text response) {
  char path[1000];
  const size_t prefix = strlen("crash_once ");
  snprintf(path, sizeof(path), "%.*s", (int)(response.size - prefix), response.data + prefix);
  if (access(path, F_OK) == 0) return;
  fclose(fopen(path, "w"));
  abort();
}

static void score_one(const r1_reward_sample* sample, r1_reward_result* result) {
  static const r1_reward_part kParts[] = {{"a", 0.25}};
  const r1_reward_text response = sample->response;
  if (begins(response, "crash_once ")) crash_once(response);
  else if (begins(response, "crash")) abort();
  if (begins(response, "hang")) sleep(60);
  puts("this must not break the protocol");
  result->score = 0.5;
  result->reason = "half way";
  result->parts = kParts;
  result->parts_count = 1;
  if (begins(response, "throw")) result->error = "as asked";
  if (begins(response, "config")) result->score = config_value;
  if (begins(response, "echo")) result->score = is_echo(sample);
  if (begins(response, "nan")) result->score = NAN;
  if (begins(response, "range")) result->score = 7;
}

int32_t r1_reward_score(void* state, const r1_reward_sample* samples, size_t count,
                        int64_t timeout_ms, r1_reward_result* results) {
  if (state != &config_value || timeout_ms <= 0) return 1;
  for (size_t i = 0; i < count; ++i) score_one(&samples[i], &results[i]);
  return 0;
}

void r1_reward_free(void* state, r1_reward_result* results, size_t count) {
  (void)state;
  (void)results;
  (void)count;
}

void r1_reward_shutdown(void* state) { (void)state; }
