// The kernels and the table of one instruction set. See vector.inc.h for what the including file
// defines before; it then names the table with KERNELS(symbol, isa, name, dot).
#include "vector.inc.h"

#define CAPUS_VECTOR_BODY
#include "vector.inc.h"

#include "attention.inc.h"
#include "convert.inc.h"
#include "gemm.inc.h"
#include "math.inc.h"
#include "probe.inc.h"
#if HAS_DOT
#include "dot.inc.h"
#endif

#define TYPED(suffix, type)                                                                      \
  static void scores_##suffix(const float *q, ptrdiff_t ldq, int rows, const void *const *k,     \
                              int tokens, int dim, float *out, ptrdiff_t ldo, int accumulate,    \
                              const capus_walk *walk) {                                          \
    scores(type, q, ldq, rows, k, tokens, dim, out, ldo, accumulate, walk);                      \
  }                                                                                              \
  static void weighted_sum_##suffix(const float *p, ptrdiff_t ldp, int rows,                     \
                                    const void *const *v, int tokens, int dim, float *o,         \
                                    ptrdiff_t ldo, const capus_walk *walk) {                     \
    weighted_sum(type, p, ldp, rows, v, tokens, dim, o, ldo, walk);                              \
  }                                                                                              \
  static void widen_##suffix(const void *src, float *dst, ptrdiff_t count) {                     \
    widen(type, src, dst, count);                                                                \
  }                                                                                              \
  static void narrow_##suffix(const float *src, void *dst, ptrdiff_t count, int saturate) {      \
    narrow(type, src, dst, count, saturate);                                                     \
  }                                                                                              \
  static void pack_transposed_##suffix(const void *const *k, int tokens, int padded, int dim,    \
                                       float *dst, ptrdiff_t ldd) {                              \
    pack_transposed(type, k, tokens, padded, dim, dst, ldd);                                     \
  }

TYPED(f32, CAPUS_F32)
TYPED(f16, CAPUS_F16)
TYPED(bf16, CAPUS_BF16)
TYPED(e4m3, CAPUS_E4M3)
TYPED(e5m2, CAPUS_E5M2)

#define EACH(kernel) {kernel##_f32, kernel##_f16, kernel##_bf16, kernel##_e4m3, kernel##_e5m2}

#define KERNELS(symbol, isa_value, isa_name, dot_table) \
  const capus_kernels symbol = {                 \
      .name = isa_name,                          \
      .isa = isa_value,                          \
      .scores = EACH(scores),                    \
      .weighted_sum = EACH(weighted_sum),        \
      .widen = EACH(widen),                      \
      .narrow = EACH(narrow),                    \
      .pack_transposed = EACH(pack_transposed),  \
      .gemm = gemm,                              \
      .softmax_step = softmax_step,              \
      .softmax_rows = softmax_rows,              \
      .scale = scale,                            \
      .soft_cap = soft_cap,                      \
      .add_ramp = add_ramp,                      \
      .read_probe = read_probe,                  \
      .fma_probe = fma_probe,                    \
      .dot = dot_table,                          \
  };
