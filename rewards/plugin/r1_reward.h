/* The C interface of a reward plugin that is a shared library (docs/add_a_reward.md). Written for C
 * and every language that can export C functions; needs nothing but this file.
 *
 * r1 runs the library in a process of its own, r1_reward_host: a crash or an endless loop costs a
 * retry, not the worker. All functions are called from one thread, one after another. None may
 * throw. What is printed to stdout or stderr goes to r1's log.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a struct or a function changes; r1 refuses a library of another version. */
#define R1_REWARD_ABI_VERSION 1

/* Not terminated by a zero byte, and may hold some; UTF-8. */
typedef struct {
  const char* data;
  size_t size;
} r1_reward_text;

typedef struct {
  r1_reward_text prompt;
  r1_reward_text response;     /* all that the model wrote */
  r1_reward_text prediction;   /* if not empty: the bare answer, without a response */
  r1_reward_text answer;       /* gold; may be empty */
  r1_reward_text language;     /* the row's target language; may be empty */
  r1_reward_text columns_json; /* all other columns of the data row, a JSON object */
  int64_t n_tokens;            /* of the response; -1 = not known */
  int32_t finished;            /* 1 = the model ended its turn, 0 = cut at its token limit */
  int32_t think_prefilled;     /* 1 = the prompt already opened <think> */
} r1_reward_sample;

typedef struct {
  const char* name;
  double value;
} r1_reward_part;

/* All zero before the call. What the pointers name belongs to the plugin and lives until
 * r1_reward_free. */
typedef struct {
  double score;       /* within the config's plugin.score_min to plugin.score_max */
  const char* reason; /* a word, or null */
  const char* error;  /* not null: this sample could not be scored, and why */
  const r1_reward_part* parts;
  size_t parts_count; /* at most 32 */
} r1_reward_result;

/* Must return R1_REWARD_ABI_VERSION. Called first. */
uint32_t r1_reward_abi_version(void);

/* `config_json` is plugin.config_json of the run's config, terminated by a zero byte. Returns the
 * plugin's state, which may be anything but null; null = failed, with a message in `error`. */
void* r1_reward_init(const char* config_json, char* error, size_t error_size);

/* Fills one result a sample. `timeout_ms` is what is left of the time: after that the process is
 * ended. Returns 0; anything else fails the whole batch and ends the process. */
int32_t r1_reward_score(void* state, const r1_reward_sample* samples, size_t count,
                        int64_t timeout_ms, r1_reward_result* results);

/* Called once after each r1_reward_score. */
void r1_reward_free(void* state, r1_reward_result* results, size_t count);

/* Called at an orderly end, not when the process is ended. */
void r1_reward_shutdown(void* state);

#ifdef __cplusplus
}
#endif
