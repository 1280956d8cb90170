/* Calls every function of apus.h from C: results against plain loops, and every kind of failure.
 * Prints one line a check; the exit code is the number of failed ones (at most 255). */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apus.h"

static int failures;

static void check(int condition, const char *what) {
  if (condition) return;
  printf("FAILED %s: last error: %s\n", what, apus_last_error_message());
  failures++;
}

static void expect(apus_status found, apus_status wanted, const char *words, const char *what) {
  int matches = found == wanted && (words == NULL || strstr(apus_last_error_message(), words));
  if (matches) return;
  printf("FAILED %s: status %d instead of %d; last error: %s\n", what, found, wanted,
         apus_last_error_message());
  failures++;
}

/* A dense f32 tensor of up to four dimensions. */
typedef struct {
  DLTensor dl;
  int64_t shape[4];
  float *values;
} tensor;

static void make(tensor *t, int ndim, const int64_t *shape, unsigned seed) {
  int64_t count = 1;
  memset(&t->dl, 0, sizeof t->dl);
  for (int i = 0; i < ndim; i++) {
    t->shape[i] = shape[i];
    count *= shape[i];
  }
  t->values = malloc((size_t)count * sizeof(float));
  for (int64_t i = 0; i < count; i++) {
    seed = seed * 1664525u + 1013904223u;
    t->values[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
  }
  t->dl.data = t->values;
  t->dl.device.device_type = kDLCPU;
  t->dl.ndim = ndim;
  t->dl.dtype.code = 2;
  t->dl.dtype.bits = 32;
  t->dl.dtype.lanes = 1;
  t->dl.shape = t->shape;
}

enum { BATCH = 2, LENGTH = 37, HEADS = 4, KV_HEADS = 2, DIM = 16 };

static void padded_problem(apus_attention_problem *problem, const int64_t *indptr) {
  *problem = APUS_INIT(apus_attention_problem);
  problem->qo_head_count = HEADS;
  problem->kv_head_count = KV_HEADS;
  problem->head_dim_qk = DIM;
  problem->q_type = APUS_F32;
  problem->qo_indptr = (apus_int_list){indptr, BATCH + 1, 8};
  problem->geometry = APUS_PADDED;
  problem->max_length = LENGTH;
}

/* o and natural lse of one row by plain loops in double. */
static double row(const tensor *q, const tensor *k, const tensor *v, int b, int h, double *o) {
  double weights[LENGTH], greatest = -INFINITY, sum = 0;
  int kv = h / (HEADS / KV_HEADS);
  for (int j = 0; j < LENGTH; j++) {
    double s = 0;
    for (int d = 0; d < DIM; d++) {
      s += (double)q->values[(b * HEADS + h) * DIM + d] *
           k->values[((b * LENGTH + j) * KV_HEADS + kv) * DIM + d];
    }
    weights[j] = s / sqrt(DIM);
    if (weights[j] > greatest) greatest = weights[j];
  }
  for (int j = 0; j < LENGTH; j++) sum += weights[j] = exp(weights[j] - greatest);
  for (int d = 0; d < DIM; d++) {
    o[d] = 0;
    for (int j = 0; j < LENGTH; j++) {
      o[d] += weights[j] / sum * v->values[((b * LENGTH + j) * KV_HEADS + kv) * DIM + d];
    }
  }
  return greatest + log(sum);
}

static void attention(apus_backend backend) {
  const int64_t indptr[] = {0, 1, 2};
  tensor q, k, v, o, lse;
  make(&q, 3, (int64_t[]){BATCH, HEADS, DIM}, 1);
  make(&k, 4, (int64_t[]){BATCH, LENGTH, KV_HEADS, DIM}, 2);
  make(&v, 4, (int64_t[]){BATCH, LENGTH, KV_HEADS, DIM}, 3);
  make(&o, 3, (int64_t[]){BATCH, HEADS, DIM}, 4);
  make(&lse, 2, (int64_t[]){BATCH, HEADS}, 5);
  apus_attention_problem problem;
  padded_problem(&problem, indptr);
  problem.lse_convention = APUS_LSE_NATURAL;
  apus_plan plan = 0;
  expect(apus_attention_plan(backend, &problem, &plan), APUS_OK, NULL, "plan");
  size_t workspace = 1, length = 0;
  expect(apus_plan_workspace_size(plan, &workspace), APUS_OK, NULL, "workspace size");
  char text[64];
  expect(apus_plan_describe(plan, text, sizeof text, &length), APUS_OK, NULL, "describe");
  check(length > 0 && strlen(text) == (length < 63 ? length : 63), "describe cuts to the buffer");
  apus_attention_arguments arguments = APUS_INIT(apus_attention_arguments);
  arguments.q = &q.dl;
  arguments.k = &k.dl;
  arguments.v = &v.dl;
  arguments.o = &o.dl;
  arguments.lse = &lse.dl;
  expect(apus_attention_run(plan, &arguments, NULL), APUS_OK, NULL, "run");
  double worst = 0;
  for (int b = 0; b < BATCH; b++) {
    for (int h = 0; h < HEADS; h++) {
      double wanted[DIM];
      double log_sum = row(&q, &k, &v, b, h, wanted);
      /* f32 sums of 37 terms of size 1: within 37 · 2^-24 of the exact value, with room for both
       * products. */
      worst = fmax(worst, fabs(log_sum - lse.values[b * HEADS + h]));
      for (int d = 0; d < DIM; d++) {
        worst = fmax(worst, fabs(wanted[d] - o.values[(b * HEADS + h) * DIM + d]));
      }
    }
  }
  check(worst < 4 * 37 * 0x1p-24, "attention agrees with plain loops");

  arguments.k = NULL;
  expect(apus_attention_run(plan, &arguments, NULL), APUS_INVALID_ARGUMENT, "k must be given",
         "a missing tensor");
  arguments.k = &k.dl;
  o.shape[2] = DIM - 1;
  expect(apus_attention_run(plan, &arguments, NULL), APUS_INVALID_ARGUMENT, "o must", "a short o");
  o.shape[2] = DIM;
  apus_stream stream = {NULL};
  expect(apus_attention_run(plan, &arguments, &stream), APUS_INVALID_ARGUMENT, "stream",
         "a device stream on the CPU");
  expect(apus_plan_destroy(plan), APUS_OK, NULL, "destroy");
  expect(apus_attention_run(plan, &arguments, NULL), APUS_INVALID_ARGUMENT, "plan must be a handle",
         "a destroyed plan");
  expect(apus_plan_destroy(plan), APUS_INVALID_ARGUMENT, "plan must be a handle", "destroyed twice");

  problem.kv_head_count = 3;
  expect(apus_attention_plan(backend, &problem, &plan), APUS_INVALID_ARGUMENT, "multiple of",
         "heads that do not divide");
  problem.struct_size = 3;
  expect(apus_attention_plan(backend, &problem, &plan), APUS_INVALID_ARGUMENT, "struct_size",
         "a size that is none");
  expect(apus_attention_plan(backend, NULL, &plan), APUS_INVALID_ARGUMENT, "must be given",
         "no problem");
  padded_problem(&problem, indptr);
  problem.split_size = INT64_MAX;
  expect(apus_attention_plan(backend, &problem, &plan), APUS_OK, NULL, "the greatest split");
  expect(apus_plan_destroy(plan), APUS_OK, NULL, "destroy");
  problem.split_size = INT64_MIN;
  expect(apus_attention_plan(backend, &problem, &plan), APUS_INVALID_ARGUMENT, "splitSize",
         "the least split");
  padded_problem(&problem, indptr);
  problem.mask_bits = (const uint8_t *)"";
  problem.mask_byte_count = INT64_MAX;
  expect(apus_attention_plan(backend, &problem, &plan), APUS_INVALID_ARGUMENT, NULL,
         "a mask without offsets");
  padded_problem(&problem, indptr);
  problem.qo_indptr.count = INT64_MAX;
  expect(apus_attention_plan(backend, &problem, &plan), APUS_INVALID_ARGUMENT, "count in",
         "a list that no memory holds");
  padded_problem(&problem, indptr);
  expect(apus_attention_plan(backend, &problem, NULL), APUS_INVALID_ARGUMENT, "its result",
         "no place for the result");
  problem.qo_indptr.width = 5;
  expect(apus_attention_plan(backend, &problem, &plan), APUS_INVALID_ARGUMENT, "width of 4 or 8",
         "a width that is none");
  free(q.values), free(k.values), free(v.values), free(o.values), free(lse.values);
}

static void states(apus_backend backend) {
  enum { ROWS = 3, COUNT = 5 };
  tensor v, s, merged, sum, two;
  make(&v, 4, (int64_t[]){ROWS, COUNT, HEADS, DIM}, 6);
  make(&s, 3, (int64_t[]){ROWS, COUNT, HEADS}, 7);
  make(&merged, 3, (int64_t[]){ROWS, HEADS, DIM}, 8);
  make(&sum, 2, (int64_t[]){ROWS, HEADS}, 9);
  make(&two, 3, (int64_t[]){ROWS, HEADS, DIM}, 10);
  expect(apus_merge_states(backend, &v.dl, &s.dl, &merged.dl, &sum.dl, APUS_LSE_NATURAL, NULL),
         APUS_OK, NULL, "merge many");
  double worst = 0;
  for (int r = 0; r < ROWS; r++) {
    for (int h = 0; h < HEADS; h++) {
      double total = 0, value = 0;
      for (int c = 0; c < COUNT; c++) {
        double weight = exp(s.values[(r * COUNT + c) * HEADS + h]);
        total += weight;
        value += weight * v.values[((r * COUNT + c) * HEADS + h) * DIM];
      }
      worst = fmax(worst, fabs(value / total - merged.values[(r * HEADS + h) * DIM]));
      worst = fmax(worst, fabs(log(total) - sum.values[r * HEADS + h]));
    }
  }
  check(worst < 64 * 0x1p-24, "merge agrees with plain loops");
  /* Merging a state with itself leaves v and adds log 2 to s. */
  memcpy(two.values, merged.values, ROWS * HEADS * DIM * sizeof(float));
  float before = sum.values[0];
  tensor other;
  make(&other, 2, (int64_t[]){ROWS, HEADS}, 11);
  memcpy(other.values, sum.values, ROWS * HEADS * sizeof(float));
  expect(apus_merge_state_in_place(backend, &two.dl, &sum.dl, &merged.dl, &other.dl, NULL,
                                   APUS_LSE_NATURAL, NULL),
         APUS_OK, NULL, "merge in place");
  check(fabs(sum.values[0] - before - log(2)) < 16 * 0x1p-24, "a state merged with itself");
  expect(apus_merge_state(backend, &merged.dl, &other.dl, &merged.dl, &other.dl, &two.dl, &sum.dl,
                          APUS_LSE_NATURAL, NULL),
         APUS_OK, NULL, "merge two");
  expect(apus_merge_state(backend, &merged.dl, &other.dl, &merged.dl, &other.dl, &two.dl, &sum.dl,
                          (apus_lse_convention)9, NULL),
         APUS_INVALID_ARGUMENT, "lse_convention", "a convention that is none");
  free(v.values), free(s.values), free(merged.values), free(sum.values), free(two.values);
  free(other.values);
}

static void caches(apus_backend backend) {
  enum { PAGES = 3, PAGE = 4, TOKENS = 2 };
  tensor keys, values;
  make(&keys, 3, (int64_t[]){TOKENS, KV_HEADS, DIM}, 12);
  make(&values, 3, (int64_t[]){TOKENS, KV_HEADS, DIM}, 13);
  tensor k, v;
  make(&k, 4, (int64_t[]){PAGES, PAGE, KV_HEADS, DIM}, 14);
  make(&v, 4, (int64_t[]){PAGES, PAGE, KV_HEADS, DIM}, 15);
  const int32_t page_indptr[] = {0, 2}, indices[] = {2, 0}, last[] = {2};
  const int32_t requests[] = {0, 0}, positions[] = {4, 5};
  apus_append_problem problem = APUS_INIT(apus_append_problem);
  problem.kv_head_count = KV_HEADS;
  problem.head_dim_k = DIM;
  problem.source_type = APUS_F32;
  problem.page_size = PAGE;
  problem.page_indptr = (apus_int_list){page_indptr, 2, 4};
  problem.page_indices = (apus_int_list){indices, 2, 4};
  problem.last_page_length = (apus_int_list){last, 1, 4};
  problem.batch_indices = (apus_int_list){requests, TOKENS, 4};
  problem.positions = (apus_int_list){positions, TOKENS, 4};
  apus_append_arguments arguments = APUS_INIT(apus_append_arguments);
  arguments.keys = &keys.dl;
  arguments.values = &values.dl;
  arguments.k = &k.dl;
  arguments.v = &v.dl;
  expect(apus_append(backend, &problem, &arguments, NULL), APUS_OK, NULL, "append");
  /* Token 4 is the first of the second page, which is page 0 of the cache. */
  check(memcmp(k.values, keys.values, TOKENS * KV_HEADS * DIM * sizeof(float)) == 0,
        "appended keys are in their page");
  check(memcmp(v.values, values.values, TOKENS * KV_HEADS * DIM * sizeof(float)) == 0,
        "appended values are in their page");
  int32_t outside[] = {4, 8};
  problem.positions.data = outside;
  expect(apus_append(backend, &problem, &arguments, NULL), APUS_INVALID_ARGUMENT, "position",
         "a position beyond the pages");

  apus_rope rope = APUS_INIT(apus_rope);
  const int64_t zero[] = {0, 0};
  expect(apus_rotate(backend, &keys.dl, &values.dl, &k.dl, &v.dl, (apus_int_list){zero, TOKENS, 8},
                     &rope, NULL, 0, NULL),
         APUS_INVALID_ARGUMENT, "must", "outputs of another shape");
  tensor q_out, k_out;
  make(&q_out, 3, (int64_t[]){TOKENS, KV_HEADS, DIM}, 16);
  make(&k_out, 3, (int64_t[]){TOKENS, KV_HEADS, DIM}, 17);
  expect(apus_rotate(backend, &keys.dl, &values.dl, &q_out.dl, &k_out.dl,
                     (apus_int_list){zero, TOKENS, 8}, &rope, NULL, 0, NULL),
         APUS_OK, NULL, "rotate");
  check(memcmp(q_out.values, keys.values, TOKENS * KV_HEADS * DIM * sizeof(float)) == 0,
        "rotation by position 0 changes nothing");

  uint8_t flags[] = {1, 0, 0, 1, 0, 0, 0, 0, 1}, packed[2] = {0, 0};
  int64_t flag_shape[] = {9}, packed_shape[] = {2};
  DLTensor f = {flags, {kDLCPU, 0}, 1, {1, 8, 1}, flag_shape, NULL, 0};
  DLTensor p = {packed, {kDLCPU, 0}, 1, {1, 8, 1}, packed_shape, NULL, 0};
  expect(apus_pack_bits(backend, &f, &p, (apus_int_list){NULL, 0, 0}, APUS_BITS_LITTLE, NULL),
         APUS_OK, NULL, "pack");
  check(packed[0] == 9 && packed[1] == 1, "bits are packed from the low end");
  free(keys.values), free(values.values), free(k.values), free(v.values), free(q_out.values);
  free(k_out.values);
}

static void *other_thread(void *argument) {
  *(int *)argument = apus_last_error_message()[0] == '\0';
  return NULL;
}

int main(void) {
  check(apus_abi_version() == APUS_ABI_VERSION, "the library has the header's version");
  check(strlen(apus_version()) > 0, "a version");
  apus_backend backend = 0;
  expect(apus_backend_create_cpu("quantum", 0, &backend), APUS_INVALID_ARGUMENT, "portable",
         "an unknown instruction set");
  int is_empty = 0;
  pthread_t thread;
  pthread_create(&thread, NULL, other_thread, &is_empty);
  pthread_join(thread, NULL);
  check(is_empty, "errors belong to their thread");
  expect(apus_backend_create_cpu(NULL, -1, &backend), APUS_INVALID_ARGUMENT, "thread", "-1 threads");
  expect(apus_backend_create_cpu(NULL, 0, NULL), APUS_INVALID_ARGUMENT, NULL, "no result");
  expect(apus_backend_create_cpu(NULL, 0, &backend), APUS_OK, NULL, "a CPU back end");
  char name[8];
  size_t length = 0;
  expect(apus_backend_name(backend, name, sizeof name, &length), APUS_OK, NULL, "name");
  check(length == 3 && strcmp(name, "cpu") == 0, "its name");
  int32_t devices = -1;
  expect(apus_cuda_device_count(&devices), APUS_OK, NULL, "device count");
  check(devices >= 0, "no fewer than no device");
  if (devices == 0) {
    apus_backend cuda = 0;
    expect(apus_backend_create_cuda(0, &cuda), APUS_ENVIRONMENT, NULL, "no driver");
  }
  attention(backend);
  states(backend);
  caches(backend);
  expect(apus_backend_destroy(backend), APUS_OK, NULL, "destroy");
  expect(apus_backend_name(backend, NULL, 0, NULL), APUS_INVALID_ARGUMENT, "handle", "destroyed");
  printf("abi: %s\n", failures == 0 ? "all checks passed" : "checks FAILED");
  return failures > 255 ? 255 : failures;
}
