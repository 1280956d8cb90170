/* Decode attention over a paged cache: two requests of different lengths, grouped query heads.
 * Appends the new token of each request, attends to all its tokens, checks against plain loops. */
#include <apus.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { REQUESTS = 2, HEADS = 8, KV_HEADS = 2, DIM = 64, PAGE = 16, PAGES = 6 };

/* Lengths with the new token. Request 0 has pages 4 and 1, request 1 has pages 0, 5 and 2. */
static const int64_t lengths[REQUESTS] = {20, 47};
static const int32_t page_indptr[] = {0, 2, 5}, page_indices[] = {4, 1, 0, 5, 2};
static const int32_t last_page_length[] = {4, 15};

static float q[REQUESTS][HEADS][DIM], o[REQUESTS][HEADS][DIM], lse[REQUESTS][HEADS];
static float new_k[REQUESTS][KV_HEADS][DIM], new_v[REQUESTS][KV_HEADS][DIM];
static float k[PAGES][PAGE][KV_HEADS][DIM], v[PAGES][PAGE][KV_HEADS][DIM];

static void require(apus_status status, const char *what) {
  if (status == APUS_OK) return;
  fprintf(stderr, "%s: %s\n", what, apus_last_error_message());
  exit(1);
}

static void fill(float *values, size_t count) {
  static unsigned seed = 1;
  for (size_t i = 0; i < count; i++) {
    seed = seed * 1664525u + 1013904223u;
    values[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
  }
}

static DLTensor f32(void *data, int ndim, int64_t *shape) {
  return (DLTensor){data, {kDLCPU, 0}, ndim, {2, 32, 1}, shape, NULL, 0};
}

/* The greatest difference between o and the definition in double precision. */
static double worst_error(void) {
  double worst = 0;
  for (int r = 0; r < REQUESTS; r++) {
    for (int h = 0; h < HEADS; h++) {
      int g = h / (HEADS / KV_HEADS);
      double sum = 0, wanted[DIM] = {0};
      for (int64_t t = 0; t < lengths[r]; t++) {
        int page = page_indices[page_indptr[r] + t / PAGE];
        double score = 0;
        for (int d = 0; d < DIM; d++) score += (double)q[r][h][d] * k[page][t % PAGE][g][d];
        double weight = exp(score / sqrt(DIM));
        sum += weight;
        for (int d = 0; d < DIM; d++) wanted[d] += weight * v[page][t % PAGE][g][d];
      }
      for (int d = 0; d < DIM; d++) worst = fmax(worst, fabs(wanted[d] / sum - o[r][h][d]));
      worst = fmax(worst, fabs(log(sum) - lse[r][h]));
    }
  }
  return worst;
}

int main(void) {
  if (apus_abi_version() < APUS_ABI_VERSION) {
    fprintf(stderr, "the library is older than its header\n");
    return 1;
  }
  fill(&q[0][0][0], sizeof q / sizeof(float));
  fill(&k[0][0][0][0], sizeof k / sizeof(float));
  fill(&v[0][0][0][0], sizeof v / sizeof(float));
  fill(&new_k[0][0][0], sizeof new_k / sizeof(float));
  fill(&new_v[0][0][0], sizeof new_v / sizeof(float));

  apus_backend backend;
  require(apus_backend_create_cpu(NULL, 0, &backend), "back end");

  int64_t cache_shape[] = {PAGES, PAGE, KV_HEADS, DIM}, token_shape[] = {REQUESTS, KV_HEADS, DIM};
  int64_t row_shape[] = {REQUESTS, HEADS, DIM}, lse_shape[] = {REQUESTS, HEADS};
  DLTensor k_tensor = f32(k, 4, cache_shape), v_tensor = f32(v, 4, cache_shape);
  DLTensor new_k_tensor = f32(new_k, 3, token_shape), new_v_tensor = f32(new_v, 3, token_shape);
  DLTensor q_tensor = f32(q, 3, row_shape), o_tensor = f32(o, 3, row_shape);
  DLTensor lse_tensor = f32(lse, 2, lse_shape);

  /* The new token of a request is its last: position length − 1. */
  const int32_t requests[] = {0, 1}, positions[] = {19, 46};
  apus_append_problem append = APUS_INIT(apus_append_problem);
  append.kv_head_count = KV_HEADS;
  append.head_dim_k = DIM;
  append.source_type = APUS_F32;
  append.page_size = PAGE;
  append.page_indptr = (apus_int_list){page_indptr, REQUESTS + 1, 4};
  append.page_indices = (apus_int_list){page_indices, 5, 4};
  append.last_page_length = (apus_int_list){last_page_length, REQUESTS, 4};
  append.batch_indices = (apus_int_list){requests, REQUESTS, 4};
  append.positions = (apus_int_list){positions, REQUESTS, 4};
  apus_append_arguments tokens = APUS_INIT(apus_append_arguments);
  tokens.keys = &new_k_tensor;
  tokens.values = &new_v_tensor;
  tokens.k = &k_tensor;
  tokens.v = &v_tensor;
  require(apus_append(backend, &append, &tokens, NULL), "append");

  /* One query row per request. A plan is made once per step and runs in every layer. */
  const int32_t qo_indptr[] = {0, 1, 2};
  apus_attention_problem problem = APUS_INIT(apus_attention_problem);
  problem.qo_head_count = HEADS;
  problem.kv_head_count = KV_HEADS;
  problem.head_dim_qk = DIM;
  problem.q_type = APUS_F32;
  problem.qo_indptr = (apus_int_list){qo_indptr, REQUESTS + 1, 4};
  problem.geometry = APUS_PAGED;
  problem.page_size = PAGE;
  problem.page_indptr = append.page_indptr;
  problem.page_indices = append.page_indices;
  problem.last_page_length = append.last_page_length;
  problem.lse_convention = APUS_LSE_NATURAL;
  apus_plan plan;
  require(apus_attention_plan(backend, &problem, &plan), "plan");

  apus_attention_arguments arguments = APUS_INIT(apus_attention_arguments);
  arguments.q = &q_tensor;
  arguments.k = &k_tensor;
  arguments.v = &v_tensor;
  arguments.o = &o_tensor;
  arguments.lse = &lse_tensor;
  require(apus_attention_run(plan, &arguments, NULL), "run");

  require(apus_plan_destroy(plan), "destroy");
  require(apus_backend_destroy(backend), "destroy");
  double error = worst_error();
  /* Scores of 64 products and sums of up to 47 terms of size 1, in f32. */
  int is_right = error < (DIM + 47) * 0x1p-24;
  printf("paged decode with apus %s: greatest error %.1e, %s\n", apus_version(), error,
         is_right ? "as expected" : "WRONG");
  return is_right ? 0 : 1;
}
