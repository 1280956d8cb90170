/* What apus.h promises beside results: versions of structures, threads, errors, forms of tensors.
 * Prints one line for each promise that is broken; the exit code is their number (at most 255). */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contract.h"

int failures;

void check(int condition, const char *what) {
  if (condition) return;
  printf("FAILED %s: last error: %.300s\n", what, apus_last_error_message());
  failures++;
}

void expect(apus_status found, apus_status wanted, const char *words, const char *what) {
  check(found == wanted && (words == NULL || strstr(apus_last_error_message(), words)), what);
}

int64_t q_shape[] = {ROWS, HEADS, DIM}, kv_shape[] = {ROWS, LENGTH, HEADS, DIM};
static const int64_t indptr[] = {0, 1, 2, 3, 4};
uint16_t q_bits[ROWS * HEADS * DIM], kv_bits[ROWS * LENGTH * HEADS * DIM];

void fill(uint16_t *bits, size_t count) {
  uint32_t seed = 1;
  for (size_t i = 0; i < count; i++) {
    seed = seed * 1664525u + 1013904223u;
    bits[i] = (uint16_t)((seed >> 16 & 0x83ff) | 0x3000);
  }
}

DLTensor dense(void *data, int ndim, int64_t *shape) {
  return (DLTensor){data, {kDLCPU, 0}, ndim, {2, 16, 1}, shape, NULL, 0};
}

apus_attention_problem a_problem(void) {
  apus_attention_problem problem = APUS_INIT(apus_attention_problem);
  problem.qo_head_count = problem.kv_head_count = HEADS;
  problem.head_dim_qk = DIM;
  problem.q_type = APUS_F16;
  problem.qo_indptr = (apus_int_list){indptr, ROWS + 1, 8};
  problem.geometry = APUS_PADDED;
  problem.max_length = LENGTH;
  return problem;
}

apus_plan a_plan(apus_backend backend) {
  apus_attention_problem problem = a_problem();
  apus_plan plan = 0;
  expect(apus_attention_plan(backend, &problem, &plan), APUS_OK, NULL, "plan");
  return plan;
}

apus_status run(apus_plan plan, uint16_t *o_bits) {
  DLTensor q = dense(q_bits, 3, q_shape), kv = dense(kv_bits, 4, kv_shape);
  DLTensor o = dense(o_bits, 3, q_shape);
  apus_attention_arguments arguments = APUS_INIT(apus_attention_arguments);
  arguments.q = &q;
  arguments.k = arguments.v = &kv;
  arguments.o = &o;
  return apus_attention_run(plan, &arguments, NULL);
}

/* The first `size` bytes of a structure alone in their memory; behind its end each is `tail`. */
static void *version(const void *structure, size_t known, size_t size, int tail) {
  unsigned char *copy = malloc(size);
  for (size_t i = 0; i < size; i++) {
    copy[i] = i < known ? ((const unsigned char *)structure)[i] : (unsigned char)tail;
  }
  memcpy(copy, &size, sizeof size);
  return copy;
}

/* Calls `call` with an older, a newer and a much newer structure. */
typedef apus_status calling(void *context, const void *structure);

static void versions(
    const char *name, const void *structure, size_t known, size_t older, calling *call,
    void *context) {
  const struct {
    size_t size;
    int tail;
    apus_status status;
    const char *words;
  } cases[] = {{known, 0, APUS_OK, NULL},
               {older, 0, APUS_OK, NULL},
               {known + 8, 0, APUS_OK, NULL},
               {known + 4096, 0, APUS_OK, NULL},
               {known + 8, 1, APUS_INVALID_ARGUMENT, "beyond this library's must be zero"},
               {known + 4096, 7, APUS_INVALID_ARGUMENT, "Use a newer library"},
               {older - 4, 0, APUS_INVALID_ARGUMENT, "struct_size"},
               {older + 1, 0, APUS_INVALID_ARGUMENT, "struct_size"},
               {1 << 17, 0, APUS_INVALID_ARGUMENT, "struct_size"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    void *given = version(structure, known, cases[i].size, cases[i].tail);
    char what[200];
    snprintf(what, sizeof what, "%s of %zu bytes where %zu are known, tail %d", name, cases[i].size,
             known, cases[i].tail);
    expect(call(context, given), cases[i].status, cases[i].words, what);
    free(given);
  }
}

static apus_status call_plan(void *context, const void *structure) {
  apus_plan plan = 0;
  apus_status status = apus_attention_plan(*(apus_backend *)context, structure, &plan);
  if (status == APUS_OK) apus_plan_destroy(plan);
  return status;
}

static apus_status call_run(void *context, const void *structure) {
  return apus_attention_run(*(apus_plan *)context, structure, NULL);
}

typedef struct {
  apus_backend backend;
  DLTensor q, o;
} rotation;

static apus_status call_rotate(void *context, const void *structure) {
  static const int64_t positions[ROWS];
  rotation *r = context;
  return apus_rotate(r->backend, &r->q, &r->q, &r->o, &r->o, (apus_int_list){positions, ROWS, 8},
                     structure, NULL, 0, NULL);
}

typedef struct {
  apus_backend backend;
  const apus_append_problem *problem;
  const apus_append_arguments *arguments;
} appending;

static apus_status call_append(void *context, const void *structure) {
  appending *a = context;
  return apus_append(a->backend, a->problem ? a->problem : structure,
                     a->arguments ? a->arguments : structure, NULL);
}

static void structures(apus_backend backend) {
  uint16_t o_bits[ROWS * HEADS * DIM];
  apus_attention_problem problem = a_problem();
  versions("problem", &problem, sizeof problem, offsetof(apus_attention_problem, tolerance),
           call_plan, &backend);

  DLTensor q = dense(q_bits, 3, q_shape), kv = dense(kv_bits, 4, kv_shape);
  DLTensor o = dense(o_bits, 3, q_shape);
  apus_attention_arguments arguments = APUS_INIT(apus_attention_arguments);
  arguments.q = &q;
  arguments.k = arguments.v = &kv;
  arguments.o = &o;
  apus_plan plan = a_plan(backend);
  versions("arguments", &arguments, sizeof arguments, offsetof(apus_attention_arguments, sinks),
           call_run, &plan);
  apus_plan_destroy(plan);

  apus_rope rope = APUS_INIT(apus_rope);
  rotation turn = {backend, q, o};
  versions("rope", &rope, sizeof rope, offsetof(apus_rope, theta), call_rotate, &turn);

  enum { PAGE = 4 };
  int64_t cache_shape[] = {1, PAGE, HEADS, DIM};
  const int32_t page_indptr[] = {0, 1}, page[] = {0}, last[] = {PAGE};
  const int32_t requests[ROWS] = {0}, positions[ROWS] = {0, 1, 2, 3};
  static uint16_t caches[2][PAGE * HEADS * DIM];
  DLTensor k = dense(caches[0], 4, cache_shape), v = dense(caches[1], 4, cache_shape);
  apus_append_problem append = APUS_INIT(apus_append_problem);
  append.kv_head_count = HEADS;
  append.head_dim_k = DIM;
  append.source_type = APUS_F16;
  append.page_size = PAGE;
  append.page_indptr = (apus_int_list){page_indptr, 2, 4};
  append.page_indices = (apus_int_list){page, 1, 4};
  append.last_page_length = (apus_int_list){last, 1, 4};
  append.batch_indices = (apus_int_list){requests, ROWS, 4};
  append.positions = (apus_int_list){positions, ROWS, 4};
  apus_append_arguments tensors = APUS_INIT(apus_append_arguments);
  tensors.k = &k;
  tensors.v = &v;
  appending a = {backend, NULL, &tensors};
  /* Without positions there is nothing to append: no older structure does without them. */
  append.batch_indices.count = append.positions.count = 0;
  int64_t none_shape[] = {0, HEADS, DIM};
  DLTensor none = dense(q_bits, 3, none_shape);
  tensors.keys = tensors.values = &none;
  versions("append problem", &append, sizeof append, offsetof(apus_append_problem, batch_indices),
           call_append, &a);
  append.batch_indices.count = append.positions.count = ROWS;
  tensors.keys = tensors.values = &q;
  a = (appending){backend, &append, NULL};
  versions("append arguments", &tensors, sizeof tensors, offsetof(apus_append_arguments, kv),
           call_append, &a);
  check(memcmp(caches[0], q_bits, sizeof caches[0]) == 0, "an older structure appends as well");
}

/* Bytes of integers are read as the type that the problem states, where that is not f32. */
static void integer_types(apus_backend backend) {
  uint16_t wanted[ROWS * HEADS * DIM], found[ROWS * HEADS * DIM];
  apus_plan plan = a_plan(backend);
  expect(run(plan, wanted), APUS_OK, NULL, "run");
  DLTensor q = dense(q_bits, 3, q_shape), kv = dense(kv_bits, 4, kv_shape), o;
  o = dense(found, 3, q_shape);
  apus_attention_arguments arguments = APUS_INIT(apus_attention_arguments);
  arguments.q = &q;
  arguments.k = arguments.v = &kv;
  arguments.o = &o;
  for (uint8_t code = 0; code < 2; code++) {
    q.dtype.code = kv.dtype.code = o.dtype.code = code;
    memset(found, 0, sizeof found);
    expect(apus_attention_run(plan, &arguments, NULL), APUS_OK, NULL, "integers of 16 bits");
    check(memcmp(wanted, found, sizeof found) == 0, "integers hold the stated type");
  }
  q.dtype.bits = 32;
  expect(apus_attention_run(plan, &arguments, NULL), APUS_INVALID_ARGUMENT, "q must have elements",
         "integers of another width");
  apus_plan_destroy(plan);
}

typedef struct {
  apus_backend backend;
  apus_plan plan;
  const uint16_t *wanted;
  int number;
  const char *broken;
} worker;

/* A plan runs on several threads at once, each of which keeps its own last error. */
static void *many_runs(void *argument) {
  worker *w = argument;
  uint16_t o_bits[ROWS * HEADS * DIM];
  char name[32];
  snprintf(name, sizeof name, "set %d", w->number);
  for (int i = 0; i < ROUNDS; i++) {
    apus_backend none = 0;
    if (apus_backend_create_cpu(name, 1, &none) != APUS_INVALID_ARGUMENT) w->broken = "no failure";
    const char *message = apus_last_error_message();
    memset(o_bits, 0xff, sizeof o_bits);
    if (run(w->plan, o_bits) != APUS_OK) w->broken = "run";
    if (memcmp(o_bits, w->wanted, sizeof o_bits) != 0) w->broken = "the result on several threads";
    if (message != apus_last_error_message() || strstr(message, name) == NULL) {
      w->broken = "the message until the thread's next failure";
    }
  }
  return NULL;
}

/* Runs until the plan is gone: each run succeeds, or says that there is no plan. */
static void *until_gone(void *argument) {
  worker *w = argument;
  uint16_t o_bits[ROWS * HEADS * DIM];
  for (;;) {
    memset(o_bits, 0xff, sizeof o_bits);
    apus_status status = run(w->plan, o_bits);
    if (status == APUS_OK) {
      if (memcmp(o_bits, w->wanted, sizeof o_bits) != 0) w->broken = "the result beside destroy";
      continue;
    }
    if (status != APUS_INVALID_ARGUMENT ||
        strstr(apus_last_error_message(), "plan must be a handle") == NULL) {
      w->broken = "the error after destroy";
    }
    return NULL;
  }
}

static void in_threads(void *(*body)(void *), worker *workers, void (*meanwhile)(worker *)) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, body, &workers[i]);
  if (meanwhile != NULL) meanwhile(workers);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; i++) {
    check(workers[i].broken == NULL, workers[i].broken ? workers[i].broken : "");
  }
}

static void destroy_meanwhile(worker *workers) {
  usleep(20000);
  expect(apus_backend_destroy(workers->backend), APUS_OK, NULL, "a back end in use is destroyed");
  usleep(20000);
  expect(apus_plan_destroy(workers->plan), APUS_OK, NULL, "a plan in use is destroyed");
}

static void threads(void) {
  uint16_t wanted[ROWS * HEADS * DIM];
  apus_backend backend = 0;
  expect(apus_backend_create_cpu(NULL, 2, &backend), APUS_OK, NULL, "a back end of two threads");
  apus_plan plan = a_plan(backend);
  expect(run(plan, wanted), APUS_OK, NULL, "run");
  worker workers[THREADS];
  for (int i = 0; i < THREADS; i++) workers[i] = (worker){backend, plan, wanted, i, NULL};
  in_threads(many_runs, workers, NULL);
  in_threads(until_gone, workers, destroy_meanwhile);

  /* A child process has none of the back end's threads, and computes without them. */
  expect(apus_backend_create_cpu(NULL, 2, &backend), APUS_OK, NULL, "a back end of two threads");
  plan = a_plan(backend);
  expect(run(plan, wanted), APUS_OK, NULL, "run");
  pid_t child = fork();
  if (child == 0) {
    uint16_t o_bits[ROWS * HEADS * DIM];
    alarm(20);
    _exit(run(plan, o_bits) == APUS_OK && memcmp(o_bits, wanted, sizeof o_bits) == 0 ? 0 : 1);
  }
  int status = 1;
  check(child > 0 && waitpid(child, &status, 0) == child && status == 0,
        "a child process computes");
  apus_plan_destroy(plan);
  apus_backend_destroy(backend);
}

/* Plans with a capacity: what updates change, and what they refuse. */
static void updates(apus_backend backend) {
  apus_plan_capacity capacity = APUS_INIT(apus_plan_capacity);
  capacity.batch = ROWS;
  capacity.keys_per_request = LENGTH;
  int64_t lengths[ROWS] = {1, 17, LENGTH, 0};
  apus_attention_problem problem = a_problem();
  apus_plan plan = 0, fresh = 0;
  expect(apus_attention_plan_within(backend, &problem, &capacity, &plan), APUS_OK, NULL,
         "a plan with a capacity");
  problem.kv_lengths = (apus_int_list){lengths, ROWS, 8};
  expect(apus_attention_plan(backend, &problem, &fresh), APUS_OK, NULL, "the plan of a batch");
  uint16_t updated[ROWS * HEADS * DIM], wanted[ROWS * HEADS * DIM];
  for (int round = 0; round < 3; round++) {
    expect(apus_plan_update(plan, &problem, NULL), APUS_OK, NULL, "an update");
    expect(run(plan, updated), APUS_OK, NULL, "run");
    expect(run(fresh, wanted), APUS_OK, NULL, "run");
    check(memcmp(updated, wanted, sizeof wanted) == 0, "an updated plan computes the batch");
  }
  expect(apus_plan_update(fresh, &problem, NULL), APUS_INVALID_ARGUMENT,
         "the plan must have a capacity", "an update of a plan without a capacity");
  lengths[0] = LENGTH + 1;
  problem.max_length = LENGTH + 1;
  expect(apus_plan_update(plan, &problem, NULL), APUS_INVALID_ARGUMENT,
         "must be within the capacity, 300; found 301 at request 0", "keys beyond the capacity");
  expect(run(plan, updated), APUS_OK, NULL, "run");
  check(memcmp(updated, wanted, sizeof wanted) == 0, "a refused update changes nothing");
  expect(apus_plan_update(0, &problem, NULL), APUS_INVALID_ARGUMENT, "plan must be a handle",
         "an update of no plan");
  expect(apus_plan_update(plan, NULL, NULL), APUS_INVALID_ARGUMENT, "problem must be given",
         "an update to nothing");
  expect(apus_attention_plan_within(backend, &problem, NULL, &fresh), APUS_INVALID_ARGUMENT,
         "capacity must be given", "no capacity");
  /* Later versions of the structure. */
  for (size_t size = sizeof capacity; size <= sizeof capacity + 16; size += 8) {
    for (int tail = 0; tail < 2; tail++) {
      apus_attention_problem same = a_problem();
      void *other = version(&capacity, sizeof capacity, size, tail);
      apus_plan made = 0;
      int is_known = tail == 0 || size == sizeof capacity;
      expect(apus_attention_plan_within(backend, &same, other, &made),
             is_known ? APUS_OK : APUS_INVALID_ARGUMENT,
             is_known ? NULL : "beyond this library's must be zero", "a version of the capacity");
      if (made != 0) apus_plan_destroy(made);
      free(other);
    }
  }
  capacity.batch = -1;
  problem = a_problem();
  expect(apus_attention_plan_within(backend, &problem, &capacity, &fresh), APUS_INVALID_ARGUMENT,
         "capacity.batch must be in", "a capacity of less than nothing");
  apus_plan_destroy(plan);
}

static int ends_whole(const char *text) {
  size_t length = strlen(text), last = length;
  while (last > 0 && ((unsigned char)text[last - 1] & 0xc0) == 0x80) last--;
  if (last == 0) return length == 0;
  unsigned char lead = (unsigned char)text[last - 1];
  size_t wanted = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  return length - (last - 1) == wanted;
}

/* Messages and texts that are cut stay UTF-8. */
static void texts(apus_backend backend) {
  char name[6000];
  for (int shift = 0; shift < 3; shift++) {
    memset(name, 'x', sizeof name);
    for (size_t i = (size_t)shift; i + 3 < sizeof name; i += 3) memcpy(name + i, "\xe2\x86\x92", 3);
    name[sizeof name - 1] = 0;
    apus_backend none = 0;
    expect(apus_backend_create_cpu(name, 1, &none), APUS_INVALID_ARGUMENT, "instruction_set",
           "a name");
    check(strlen(apus_last_error_message()) > 4000, "the message is long");
    check(ends_whole(apus_last_error_message()), "a cut message ends with a whole character");
  }
  apus_attention_problem problem = a_problem();
  problem.head_dim_vo = 2 * DIM; /* described with an arrow */
  apus_plan plan = 0;
  expect(apus_attention_plan(backend, &problem, &plan), APUS_OK, NULL, "plan");
  char whole[4096], part[4096];
  size_t length = 0;
  expect(apus_plan_describe(plan, whole, sizeof whole, &length), APUS_OK, NULL, "describe");
  check(length == strlen(whole) && strstr(whole, "\xe2\x86\x92") != NULL, "the whole description");
  for (size_t capacity = 1; capacity <= length + 1; capacity++) {
    size_t same = 0;
    memset(part, 'x', sizeof part);
    expect(apus_plan_describe(plan, part, capacity, &same), APUS_OK, NULL, "describe");
    check(same == length && strlen(part) < capacity && part[capacity] == 'x' &&
              strncmp(whole, part, strlen(part)) == 0 && strlen(part) + 3 >= capacity &&
              ends_whole(part),
          "a cut description");
  }
  expect(apus_plan_describe(plan, NULL, 100, NULL), APUS_OK, NULL, "describe into nothing");
  apus_plan_destroy(plan);
}

/* Rows of no width have no bytes, and addresses all the same. */
static void widthless(apus_backend backend) {
  int64_t shape[] = {3, 2, 0}, strides[] = {INT64_MAX / 4, 1, 1};
  float logits[6] = {0};
  DLTensor v = dense(NULL, 3, shape), s = dense(logits, 2, shape);
  s.dtype.bits = 32;
  expect(apus_merge_state(backend, &v, &s, &v, &s, &v, &s, APUS_LSE_NATURAL, NULL), APUS_OK, NULL,
         "states of no width");
  v.strides = strides;
  expect(apus_merge_state(backend, &v, &s, &v, &s, &v, &s, APUS_LSE_NATURAL, NULL),
         APUS_INVALID_ARGUMENT, "63 bits", "rows of no width that are too far apart");
}

int main(void) {
  fill(q_bits, sizeof q_bits / sizeof *q_bits);
  fill(kv_bits, sizeof kv_bits / sizeof *kv_bits);
  check(apus_last_error_message()[0] == '\0', "no message before the first failure");
  apus_backend backend = 0;
  expect(apus_backend_create_cpu(NULL, 1, &backend), APUS_OK, NULL, "a back end");
  structures(backend);
  integer_types(backend);
  texts(backend);
  widthless(backend);
  tensor_lists(backend);
  options(backend);
  updates(backend);
  threads();
  forks();
  /* Handles are not used twice. */
  expect(apus_backend_destroy(backend), APUS_OK, NULL, "destroy");
  apus_backend another = 0;
  expect(apus_backend_create_cpu(NULL, 1, &another), APUS_OK, NULL, "another back end");
  check(another != backend, "a new handle");
  expect(apus_backend_destroy(another), APUS_OK, NULL, "destroy");
  printf("abi: contract: %s\n", failures == 0 ? "all checks passed" : "checks FAILED");
  return failures > 255 ? 255 : failures;
}
