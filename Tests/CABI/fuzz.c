/* Random calls of every function of apus.h; see fuzz.h. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

const char *const function_names[F_COUNT] = {
    "attention_plan", "attention_run", "append", "merge_state", "merge_state_in_place",
    "merge_states", "rotate", "pack_bits", "handles", "texts", "backends", "shared plans"};

enum { MOST_THREADS = 64, MOST_FAILURES = 20 };
static fuzzer *fuzzers[MOST_THREADS];
static int thread_count = 1;
static int64_t first_case, case_count = 50000;
static uint64_t seed = 1;
static double call_limit = 5;
static _Atomic int is_finished;
static pthread_t workers[MOST_THREADS];
/* The threads stay until nobody looks at their clocks any more. */
static pthread_barrier_t finish_line;
static __thread fuzzer *current;

static void usage(FILE *out) {
  fputs(
      "usage: fuzz [--seed S] [--count N] [--first I] [--threads T] [--limit SECONDS]\n\n"
      "Calls the functions of apus.h with N cases of random arguments, right and wrong, from case\n"
      "I on. Exits non-zero on a crash, a write outside of outputs, a valid call that is refused,\n"
      "a call that takes more than SECONDS (5) of CPU time, or one that takes more than 1 GB.\n",
      out);
}

void fail(fuzzer *f, const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (f->failures++ < MOST_FAILURES) {
    printf("fuzz: FAILED %s: %s\nfuzz:   repeat with --seed %llu --first %lld --count 1\n",
           f->function ? f->function : "between calls", text, (unsigned long long)f->seed,
           (long long)f->number);
    fflush(stdout);
  }
}

void refused(fuzzer *f) {
  const char *message = apus_last_error_message();
  if (f->may_be_gone && strstr(message, "must be a handle") != NULL) return;
  fail(f, "a valid call was refused: %s", message);
}

static void crashed(int signal) {
  char text[256];
  const fuzzer *f = current;
  const char *where = f == NULL       ? "a thread of the library"
                      : f->function ? f->function
                                    : "the fuzzer";
  int length = snprintf(
      text, sizeof text,
      "fuzz: CRASHED with signal %d in %s\n"
      "fuzz:   repeat with --seed %llu --first %lld --count 1\n",
      signal, where, (unsigned long long)seed,
      f ? (long long)f->number : -1);
  if (write(1, text, (size_t)length) < 0) _exit(4);
  for (int i = 0; i < thread_count && f == NULL; i++) {
    const fuzzer *g = fuzzers[i];
    length = snprintf(text, sizeof text, "fuzz:   running: %s of case %lld\n",
                      g && g->function ? g->function : "none", g ? (long long)g->number : -1);
    if (write(1, text, (size_t)length) < 0) _exit(4);
  }
  _exit(3);
}

/* The sanitizers call this before they end the process; signal 0 stands for their report. */
static void reported(void) { crashed(0); }
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static double cpu_time(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double wall_time(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static long peak_kilobytes(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

void begin_call(fuzzer *f, const char *function) {
  f->started = cpu_time();
  f->function = function;
}

static int is_utf8(const char *text) {
  for (const unsigned char *p = (const unsigned char *)text; *p != 0;) {
    int more = *p < 0x80 ? 0 : *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : *p >= 0xc2 ? 1 : -1;
    if (more < 0) return 0;
    for (p++; more > 0; more--, p++) {
      if ((*p & 0xc0) != 0x80) return 0;
    }
  }
  return 1;
}

apus_status end_call(fuzzer *f, int function, apus_status status) {
  double seconds = cpu_time() - f->started;
  if (seconds > call_limit) fail(f, "the call took %.1f s", seconds);
  f->calls[function]++;
  f->accepted[function] += status == APUS_OK;
  if ((int)status < 0 || status > APUS_INTERNAL) {
    fail(f, "the status is %d", (int)status);
    return status;
  }
  f->statuses[status]++;
  if (status == APUS_INTERNAL) fail(f, "a defect was found: %s", apus_last_error_message());
  if (status != APUS_OK && strstr(apus_last_error_message(), ": ") == NULL) {
    fail(f, "the message says nothing: '%s'", apus_last_error_message());
  }
  if (!is_utf8(apus_last_error_message())) fail(f, "the message is not UTF-8");
  return status;
}

/* A text of `length` bytes, copied into less or more room than it needs. */
void text_case(fuzzer *f, int is_plan, uint64_t handle) {
  size_t capacity = (size_t)PICK(f, 0, 1, 2, 4, 5, 20, 400), length = 12345;
  int has_text = chance(f, 80), has_length = chance(f, 80);
  slot *s = take(f, capacity, 1);
  if (capacity > 0) memset(s->data, 'x', capacity);
  char *text = has_text ? (char *)s->data : NULL;
  size_t *place_of_length = has_length ? &length : NULL;
  snapshot(f);
  begin_call(f, is_plan ? "apus_plan_describe" : "apus_backend_name");
  apus_status status = is_plan ? apus_plan_describe(handle, text, capacity, place_of_length)
                               : apus_backend_name(handle, text, capacity, place_of_length);
  end_call(f, F_TEXTS, status);
  check_memory(f, status == APUS_OK);
  if (status == APUS_OK && has_text && has_length && capacity > 0) {
    size_t found = strnlen(text, capacity), most = length < capacity ? length : capacity - 1;
    /* At most the three bytes of a cut character are missing. */
    if (found > most || found + 3 < most || (length < capacity && found != length)) {
      fail(f, "a text of %zu bytes is cut wrongly to %zu", length, found);
    }
    if (!is_utf8(text)) fail(f, "a text of %zu bytes is not UTF-8 in %zu", length, capacity);
  }
}

void handle_case(fuzzer *f) {
  uint64_t handle = chance(f, 30)   ? f->freed_plan
                    : chance(f, 30) ? f->backend
                                    : (uint64_t)awkward(f);
  size_t size = 0;
  switch (range(f, 0, 7)) {
    case 0: text_case(f, 0, f->backend); break;
    case 1: text_case(f, (int)range(f, 0, 1), handle); break;
    case 2:
      /* Plans are numbered as back ends are: only one that was destroyed is surely none. */
      begin_call(f, "apus_plan_destroy");
      if (end_call(f, F_HANDLES, apus_plan_destroy(f->freed_plan)) == APUS_OK) {
        fail(f, "a plan was destroyed twice");
      }
      break;
    case 3: {
      begin_call(f, "apus_plan_workspace_size");
      end_call(f, F_HANDLES, apus_plan_workspace_size(handle, chance(f, 80) ? &size : NULL));
      break;
    }
    case 4: {
      apus_attention_arguments x = APUS_INIT(apus_attention_arguments);
      begin_call(f, "apus_attention_run");
      end_call(f, F_HANDLES, apus_attention_run(handle, chance(f, 80) ? &x : NULL, NULL));
      break;
    }
    case 5: {
      apus_append_problem p = APUS_INIT(apus_append_problem);
      begin_call(f, "apus_append");
      end_call(f, F_HANDLES, apus_append((uint64_t)awkward(f), &p, NULL, NULL));
      break;
    }
    case 6: {
      int32_t count = -1;
      begin_call(f, "apus_cuda_device_count");
      apus_status status =
          end_call(f, F_HANDLES, apus_cuda_device_count(chance(f, 80) ? &count : NULL));
      if (status == APUS_OK && count < 0) fail(f, "there are %d devices", count);
      break;
    }
    default:
      begin_call(f, "apus_merge_state");
      end_call(f, F_HANDLES,
               apus_merge_state((uint64_t)awkward(f), NULL, NULL, NULL, NULL, NULL, NULL,
                                APUS_LSE_NATURAL, NULL));
  }
}

/* Back ends come and go while others run on theirs. */
static void backend_case(fuzzer *f) {
  static const char *const sets[] = {NULL,   "portable", "avx2", "avx512", "neon",
                                     "AVX2", "\xff\xfe", ""};
  apus_backend backend = 0;
  int wrong = f->is_mutated && chance(f, 50);
  int32_t threads = (int32_t)(wrong ? awkward(f) : range(f, 1, 3));
  if (threads > 3 && threads <= 1024) threads = 3;
  /* Longer than a message may be, cut where a character of three bytes is. */
  char name[5000];
  size_t length = 3 * (size_t)range(f, 1, 1600) + (size_t)range(f, 0, 2);
  memset(name, 'x', length);
  for (size_t i = length % 3; i < length; i += 3) memcpy(name + i, "\xe2\x86\x92", 3);
  name[length] = 0;
  int which = (int)range(f, 0, 8);
  begin_call(f, "apus_backend_create_cpu");
  apus_status status = end_call(
      f, F_BACKENDS,
      apus_backend_create_cpu(
          which == 8 ? name : sets[which], threads, chance(f, 95) ? &backend : NULL));
  if (status != APUS_OK) {
    if (chance(f, 10)) {
      begin_call(f, "apus_backend_create_cuda");
      int32_t device = (int32_t)PICK(f, -1, INT32_MIN, 1 << 20);
      status = end_call(f, F_BACKENDS, apus_backend_create_cuda(device, &backend));
      if (status == APUS_OK) fail(f, "a CUDA device that is none was accepted");
    }
    return;
  }
  apus_backend mine = f->backend;
  f->backend = backend;
  f->is_mutated = 0;
  attention_case(f);
  f->backend = mine;
  begin_call(f, "apus_backend_destroy");
  if (end_call(f, F_BACKENDS, apus_backend_destroy(backend)) != APUS_OK) {
    fail(f, "a back end that was made was not destroyed");
  }
  if (apus_backend_destroy(backend) == APUS_OK) fail(f, "a back end was destroyed twice");
}

/* A back end that one thread destroys and makes again while the others use it. */
static _Atomic apus_backend passing;

static void pass(fuzzer *f) {
  apus_backend made = 0;
  if (apus_backend_create_cpu(NULL, 2, &made) != APUS_OK) {
    fail(f, "no back end: %s", apus_last_error_message());
    return;
  }
  apus_backend old = atomic_exchange(&passing, made);
  begin_call(f, "apus_backend_destroy");
  if (old != 0) end_call(f, F_SHARED, apus_backend_destroy(old));
}

static void one_case(fuzzer *f, int64_t number) {
  f->number = number;
  f->random = seed * 0x9e3779b97f4a7c15u + (uint64_t)number;
  next(f);
  f->backend = f->backends[range(f, 0, BACKENDS - 1)];
  f->is_mutated = chance(f, 55);
  f->is_tame = 0;
  f->may_be_gone = 0;
  memory_reset(f);
  if (thread_count > 1 && chance(f, 15)) {
    if (passing == 0 || chance(f, 3)) pass(f);
    f->backend = passing;
    f->may_be_gone = 1;
  }
  int kind = (int)range(f, 0, 999);
  if (kind < 3) {
    backend_case(f);
  } else if (kind < 50) {
    handle_case(f);
  } else if (kind < 200) {
    append_case(f);
  } else if (kind < 320) {
    merge_case(f);
  } else if (kind < 420) {
    rotate_case(f);
  } else if (kind < 480) {
    pack_case(f);
  } else if (thread_count > 1 && kind < 700) {
    shared_case(f);
  } else {
    attention_case(f);
  }
}

static void *work(void *argument) {
  fuzzer *f = argument;
  current = f;
  long peak = peak_kilobytes();
  for (int64_t i = f->number; i < first_case + case_count; i += thread_count) {
    one_case(f, i);
    f->function = NULL;
    long now = peak_kilobytes();
    if (now - peak > 1024 * 1024) fail(f, "memory grew from %ld to %ld kB", peak, now);
    peak = now;
    if (f->failures >= MOST_FAILURES) break;
  }
  f->number = -1;
  pthread_barrier_wait(&finish_line);
  return NULL;
}

static double cpu_time_of(pthread_t thread) {
  struct timespec t = {0, 0};
  clockid_t clock;
  if (pthread_getcpuclockid(thread, &clock) == 0) clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Ends the process when a call does not come back: it computes for ten times its limit, or waits
 * for five minutes (the machine may be busy with other things). */
static void *watch(void *argument) {
  (void)argument;
  int64_t seen[MOST_THREADS];
  double since[MOST_THREADS], cpu_since[MOST_THREADS];
  memset(seen, 0xff, sizeof seen);
  while (!is_finished) {
    usleep(100000);
    for (int i = 0; i < thread_count; i++) {
      fuzzer *f = fuzzers[i];
      int64_t number = f == NULL ? -1 : f->number;
      if (number != seen[i]) {
        seen[i] = number;
        since[i] = wall_time();
        cpu_since[i] = number >= 0 ? cpu_time_of(workers[i]) : 0;
      } else if (number >= 0 && (cpu_time_of(workers[i]) - cpu_since[i] > 10 * call_limit ||
                                 wall_time() - since[i] > 300)) {
        const char *function = f->function;
        printf("fuzz: HANGS in %s\nfuzz:   repeat with --seed %llu --first %lld --count 1\n",
               function ? function : "the fuzzer", (unsigned long long)seed, (long long)number);
        fflush(stdout);
        _exit(5);
      }
    }
  }
  return NULL;
}

static void options(int count, char **values) {
  for (int i = 1; i < count; i += 2) {
    if (strcmp(values[i], "--help") == 0) {
      usage(stdout);
      exit(0);
    }
    char *end = NULL;
    long long value = i + 1 < count ? strtoll(values[i + 1], &end, 10) : 0;
    int is_number = end != NULL && *end == '\0' && end != values[i + 1];
    if (is_number && strcmp(values[i], "--seed") == 0) {
      seed = (uint64_t)value;
    } else if (is_number && value >= 0 && strcmp(values[i], "--count") == 0) {
      case_count = value;
    } else if (is_number && value >= 0 && strcmp(values[i], "--first") == 0) {
      first_case = value;
    } else if (is_number && value >= 1 && value <= MOST_THREADS &&
               strcmp(values[i], "--threads") == 0) {
      thread_count = (int)value;
    } else if (is_number && value >= 1 && strcmp(values[i], "--limit") == 0) {
      call_limit = (double)value;
    } else {
      usage(stderr);
      exit(2);
    }
  }
}

static int report(double seconds, apus_backend *backends) {
  fuzzer all;
  memset(&all, 0, sizeof all);
  for (int i = 0; i < thread_count; i++) {
    for (int j = 0; j < F_COUNT; j++) {
      all.calls[j] += fuzzers[i]->calls[j];
      all.accepted[j] += fuzzers[i]->accepted[j];
    }
    for (int j = 0; j < 5; j++) all.statuses[j] += fuzzers[i]->statuses[j];
    all.failures += fuzzers[i]->failures;
    memory_destroy(fuzzers[i]);
    free(fuzzers[i]);
  }
  int64_t calls = 0, accepted = 0;
  for (int j = 0; j < F_COUNT; j++) {
    if (all.calls[j] == 0) continue;
    calls += all.calls[j];
    accepted += all.accepted[j];
    printf("fuzz:   %-22s %9lld calls, %3.0f %% accepted\n", function_names[j],
           (long long)all.calls[j], 100.0 * (double)all.accepted[j] / (double)all.calls[j]);
  }
  for (int i = 0; i < BACKENDS; i++) apus_backend_destroy(backends[i]);
  if (passing != 0) apus_backend_destroy(passing);
  printf("fuzz: seed %llu, %lld cases, %lld calls (%.0f %% accepted; statuses %lld %lld %lld %lld "
         "%lld), %.1f s, peak %ld MB, %d failures\n",
         (unsigned long long)seed, (long long)case_count, (long long)calls,
         calls > 0 ? 100.0 * (double)accepted / (double)calls : 0, (long long)all.statuses[0],
         (long long)all.statuses[1], (long long)all.statuses[2], (long long)all.statuses[3],
         (long long)all.statuses[4], seconds, peak_kilobytes() / 1024, all.failures);
  return all.failures > 0;
}

int main(int count, char **values) {
  options(count, values);
  printf("fuzz: seed %llu, cases %lld … %lld, %d threads\n", (unsigned long long)seed,
         (long long)first_case, (long long)(first_case + case_count - 1), thread_count);
  fflush(stdout);
  static uint8_t stack[1 << 16];
  stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternative, NULL);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = crashed;
  action.sa_flags = SA_ONSTACK;
  const int signals[] = {SIGILL, SIGTRAP, SIGFPE, SIGABRT, SIGBUS, SIGSEGV};
  for (int i = 0; i < 6; i++) {
#ifdef FUZZ_ASAN
    if (signals[i] == SIGBUS || signals[i] == SIGSEGV) continue;
#endif
    sigaction(signals[i], &action, NULL);
  }
  if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(reported);

  apus_backend backends[BACKENDS];
  static const char *const sets[BACKENDS] = {NULL, NULL, "portable", NULL};
  for (int i = 0; i < BACKENDS; i++) {
    if (apus_backend_create_cpu(sets[i], i == 3 ? 3 : 1, &backends[i]) != APUS_OK) {
      printf("fuzz: no back end: %s\n", apus_last_error_message());
      return 1;
    }
  }
  pthread_t watcher;
  for (int i = 0; i < thread_count; i++) {
    fuzzer *f = calloc(1, sizeof *f);
    if (f == NULL) return 1;
    f->seed = seed;
    f->number = first_case + i;
    memcpy(f->backends, backends, sizeof backends);
    memory_create(f);
    fuzzers[i] = f;
  }
  double began = wall_time();
  pthread_barrier_init(&finish_line, NULL, (unsigned)thread_count + 1);
  for (int i = 0; i < thread_count; i++) pthread_create(&workers[i], NULL, work, fuzzers[i]);
  pthread_create(&watcher, NULL, watch, NULL);
  pthread_barrier_wait(&finish_line);
  is_finished = 1;
  pthread_join(watcher, NULL);
  for (int i = 0; i < thread_count; i++) pthread_join(workers[i], NULL);
  return report(wall_time() - began, backends);
}
