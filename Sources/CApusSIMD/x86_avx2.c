// AVX2, FMA and F16C with 8 f32 lanes.
#if defined(__x86_64__)

#include "tables.h"

#include <immintrin.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#define VL 8
#define REGISTERS 16
#define HAS_FMA 1
#define HAS_MASKED_ACCESS 1
#include "vector.inc.h"

INLINE vf v_from_half(vh h) { return (vf)_mm256_cvtph_ps((__m128i)h); }

/// All ones in the first n lanes. A masked access does not touch the others.
INLINE __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE vf v_load_n(const void *p, int n) { return (vf)_mm256_maskload_ps(p, first_lanes(n)); }
INLINE void v_store_n(float *p, vf x, int n) {
  _mm256_maskstore_ps(p, first_lanes(n), (__m256)x);
}
// AVX2 masks no access narrower than 32 bits.
INLINE vh vh_load_n(const void *p, int n) {
  vh x = 0;
  memcpy(&x, p, (size_t)n * 2);
  return x;
}
INLINE vb vb_load_n(const void *p, int n) {
  vb x = 0;
  memcpy(&x, p, (size_t)n);
  return x;
}

#include "kernels.inc.h"

KERNELS(capus_avx2_kernels, CAPUS_ISA_AVX2, "avx2", NULL)

#pragma clang attribute pop

#endif
