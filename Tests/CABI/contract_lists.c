/* Lists as tensors, options of plans, and forks while other threads call the library. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contract.h"

typedef struct {
  apus_backend backend;
  atomic_int is_done;
} hammering;

/* Takes the locks of the handles and of the pool as often as it can. */
static void *hammer(void *argument) {
  hammering *h = argument;
  uint16_t o_bits[ROWS * HEADS * DIM];
  while (!h->is_done) {
    apus_attention_problem problem = a_problem();
    problem.max_length = 1;
    apus_plan plan = 0;
    if (apus_attention_plan(h->backend, &problem, &plan) == APUS_OK) {
      run(plan, o_bits);
      apus_plan_destroy(plan);
    }
    apus_plan_workspace_size(0, NULL);
  }
  return NULL;
}

/* A child computes whatever other threads held when it was forked: with a plan of its parent, and with a
 * back end and a plan of its own. */
static int child_computes(apus_plan plan, const uint16_t *wanted) {
  uint16_t o_bits[ROWS * HEADS * DIM];
  alarm(20);
  if (run(plan, o_bits) != APUS_OK || memcmp(o_bits, wanted, sizeof o_bits) != 0) return 1;
  apus_backend backend = 0;
  if (apus_backend_create_cpu(NULL, 2, &backend) != APUS_OK) return 2;
  apus_attention_problem problem = a_problem();
  apus_plan own = 0;
  if (apus_attention_plan(backend, &problem, &own) != APUS_OK) return 3;
  memset(o_bits, 0, sizeof o_bits);
  if (run(own, o_bits) != APUS_OK || memcmp(o_bits, wanted, sizeof o_bits) != 0) return 4;
  if (apus_plan_destroy(own) != APUS_OK || apus_backend_destroy(backend) != APUS_OK) return 5;
  return apus_plan_destroy(plan) == APUS_OK ? 0 : 6;
}

void forks(void) {
  enum { FORKS = 200 };
  uint16_t wanted[ROWS * HEADS * DIM];
  hammering h = {0, 0};
  expect(apus_backend_create_cpu(NULL, 2, &h.backend), APUS_OK, NULL, "a back end of two threads");
  apus_plan plan = a_plan(h.backend);
  expect(run(plan, wanted), APUS_OK, NULL, "run");
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, hammer, &h);
  int is_whole = 1;
  for (int i = 0; i < FORKS && is_whole; i++) {
    pid_t child = fork();
    if (child == 0) _exit(child_computes(plan, wanted));
    int status = 1;
    is_whole = child > 0 && waitpid(child, &status, 0) == child && status == 0;
    if (!is_whole) printf("child %d ended with status %d\n", i, status);
  }
  h.is_done = 1;
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  check(is_whole, "children that are forked while other threads plan, run and destroy");
  apus_plan_destroy(plan);
  apus_backend_destroy(h.backend);
}

/* Lists and positions as tensors: the same bytes as by lists, and errors of their own. */
void tensor_lists(apus_backend backend) {
  enum { PAGES = 3, SLOTS = 2, TOKENS = 3 };
  int32_t offsets[] = {0, 2, 3}, pages[] = {2, 0, 1}, table[] = {2, 0, 1, -1};
  int32_t requests[] = {0, 1, -1}, positions[] = {3, 1, 7};
  int64_t one = 3, two[] = {2, 2}, tokens = TOKENS, cache_shape[] = {PAGES, SLOTS, HEADS, DIM};
  int64_t row_shape[] = {TOKENS, HEADS, DIM};
  DLTensor rows = dense(q_bits, 3, row_shape);
  uint16_t caches[3][PAGES * SLOTS * HEADS * DIM];
  memset(caches, 0, sizeof caches);
#define INTEGERS(values, rank, shape) \
  ((DLTensor){values, {kDLCPU, 0}, rank, {0, 8 * sizeof *(values), 1}, shape, NULL, 0})
  DLTensor indptr_list = INTEGERS(offsets, 1, &one), page_list = INTEGERS(pages, 1, &one);
  DLTensor blocks = INTEGERS(table, 2, two), request_list = INTEGERS(requests, 1, &tokens);
  DLTensor position_list = INTEGERS(positions, 1, &tokens);
  apus_append_problem problem = APUS_INIT(apus_append_problem);
  problem.kv_head_count = HEADS;
  problem.head_dim_k = DIM;
  problem.source_type = APUS_F16;
  problem.page_size = SLOTS;
  apus_append_arguments tensors = APUS_INIT(apus_append_arguments);
  tensors.keys = tensors.values = &rows;
  apus_append_lists lists = APUS_INIT(apus_append_lists);
  lists.batch_indices = &request_list;
  lists.positions = &position_list;
  problem.lists = &lists;
  for (int form = 0; form < 2; form++) {
    DLTensor cache = dense(caches[form], 4, cache_shape);
    tensors.k = tensors.v = &cache;
    lists.page_indptr = form == 0 ? &indptr_list : NULL;
    lists.page_indices = form == 0 ? &page_list : NULL;
    lists.block_table = form == 0 ? NULL : &blocks;
    expect(apus_append(backend, &problem, &tensors, NULL), APUS_OK, NULL, "append by tensors");
  }
  /* Position 3 of request 0 is slot 1 of page 0; position 1 of request 1 is slot 1 of page 1. */
  for (int token = 0; token < 2; token++) {
    memcpy(caches[2] + (token * SLOTS + 1) * HEADS * DIM, q_bits + token * HEADS * DIM,
           HEADS * DIM * sizeof *q_bits);
  }
  check(memcmp(caches[0], caches[2], sizeof caches[0]) == 0, "rows lie where lists say");
  check(memcmp(caches[1], caches[2], sizeof caches[1]) == 0, "rows lie where a table says");
  lists.page_indptr = &indptr_list;
  expect(apus_append(backend, &problem, &tensors, NULL), APUS_INVALID_ARGUMENT,
         "page_indptr and page_indices, or block_table", "two forms of pages");
  lists.page_indptr = NULL;
  problem.positions = (apus_int_list){positions, TOKENS, 4};
  expect(apus_append(backend, &problem, &tensors, NULL), APUS_INVALID_ARGUMENT,
         "positions must be empty beside lists", "lists in both forms");
  problem.positions.count = 0;
  position_list.dtype.code = 2;
  expect(apus_append(backend, &problem, &tensors, NULL), APUS_INVALID_ARGUMENT,
         "positions must have type i32", "positions that are no integers");

  int64_t wide[] = {9, 0, 4};
  int32_t narrow[] = {9, 0, 4};
  uint16_t turned[3][TOKENS * HEADS * DIM], other[TOKENS * HEADS * DIM];
  apus_rope rope = APUS_INIT(apus_rope);
  DLTensor by_wide = INTEGERS(wide, 1, &tokens), by_narrow = INTEGERS(narrow, 1, &tokens);
  DLTensor outputs[3], second = dense(other, 3, row_shape);
  for (int i = 0; i < 3; i++) outputs[i] = dense(turned[i], 3, row_shape);
  expect(apus_rotate(backend, &rows, &rows, &outputs[0], &second,
                     (apus_int_list){wide, TOKENS, 8}, &rope, NULL, 0, NULL),
         APUS_OK, NULL, "rotate");
  for (int i = 1; i < 3; i++) {
    expect(apus_rotate_by(backend, &rows, &rows, &outputs[i], &second,
                          i == 1 ? &by_wide : &by_narrow, &rope, NULL, 0, NULL),
           APUS_OK, NULL, "rotate by a tensor");
    check(memcmp(turned[i], turned[0], sizeof turned[0]) == 0, "rotation by a tensor");
  }
  wide[1] = -1;
  expect(apus_rotate_by(backend, &rows, &rows, &outputs[1], &second, &by_wide, &rope, NULL, 0, NULL),
         APUS_INVALID_ARGUMENT, "positions must be in 0", "a negative position");
  expect(apus_rotate_by(backend, &rows, &rows, &outputs[1], &second, NULL, &rope, NULL, 0, NULL),
         APUS_INVALID_ARGUMENT, "positions must be given", "no positions");
#undef INTEGERS
}

void options(apus_backend backend) {
  for (int use = 0; use <= 3; use++) {
    apus_attention_problem problem = a_problem();
    problem.use_tensor_cores = (apus_tensor_core_use)use;
    apus_plan plan = 0;
    char text[2000] = "";
    expect(apus_attention_plan(backend, &problem, &plan),
           use == 3 ? APUS_INVALID_ARGUMENT : APUS_OK, use == 3 ? "use_tensor_cores" : NULL,
           "a use of tensor cores");
    if (use == 3) break;
    apus_plan_describe(plan, text, sizeof text, NULL);
    const char *wanted[] = {"", "tensor cores never", "tensor cores always"};
    check(strstr(text, wanted[use]) != NULL && (use > 0 || !strstr(text, "tensor cores")),
          "the plan states its use of tensor cores");
    apus_plan_destroy(plan);
  }
  apus_attention_problem problem = a_problem();
  problem.reserved = 1;
  apus_plan plan = 0;
  expect(apus_attention_plan(backend, &problem, &plan), APUS_INVALID_ARGUMENT, "reserved",
         "a field that is not known");
}
