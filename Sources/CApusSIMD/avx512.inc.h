// AVX-512 F, BW, VL, DQ with 16 f32 lanes: what both tables of AVX-512 share.
#define VL 16
#define REGISTERS 32
#define HAS_FMA 1
#define HAS_MASKED_ACCESS 1
#include "vector.inc.h"

INLINE vf v_from_half(vh h) { return (vf)_mm512_cvtph_ps((__m256i)h); }

/// Mask of the first n lanes. A masked access does not touch the others.
INLINE __mmask16 first_lanes(int n) { return (__mmask16)((1u << n) - 1); }

INLINE vf v_load_n(const void *p, int n) { return (vf)_mm512_maskz_loadu_ps(first_lanes(n), p); }
INLINE void v_store_n(float *p, vf x, int n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), (__m512)x);
}
INLINE vh vh_load_n(const void *p, int n) {
  return (vh)_mm256_maskz_loadu_epi16(first_lanes(n), p);
}
INLINE vb vb_load_n(const void *p, int n) { return (vb)_mm_maskz_loadu_epi8(first_lanes(n), p); }

#include "kernels.inc.h"
