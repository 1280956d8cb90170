// Vector vocabulary of the kernels, written once over clang's vector extensions.
//
// A file that includes kernels.inc.h first defines
//   VL                 f32 lanes of a vector: 4, 8 or 16
//   REGISTERS          architectural vector registers: 16 or 32
//   HAS_FMA            1 if v_fma rounds once
//   v_from_half        widening of VL binary16 patterns to f32
//   HAS_MASKED_ACCESS  1 if it also defines v_load_n, v_store_n, vh_load_n and vb_load_n,
//                      which touch only the first n < VL elements and set the others to zero.
// Every function is forced inline, so that integer arguments which are constants at the call
// (element types, block sizes) select code at compile time.
#ifndef CAPUS_VECTOR_INC_H
#define CAPUS_VECTOR_INC_H

#include "CApusSIMD.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline, unused))
#define UNROLL _Pragma("clang loop unroll(full)")

// Rounding must not depend on how the compiler fuses an expression: fusing is written v_fma.
#pragma STDC FP_CONTRACT OFF

typedef float vf __attribute__((ext_vector_type(VL)));     // f32 lanes
typedef int32_t vi __attribute__((ext_vector_type(VL)));   // the same lanes as integers; masks
typedef uint32_t vu __attribute__((ext_vector_type(VL)));  // for logical shifts
typedef int16_t vh __attribute__((ext_vector_type(VL)));   // 16-bit codes
typedef int8_t vb __attribute__((ext_vector_type(VL)));    // 8-bit codes
typedef int16_t vh2 __attribute__((ext_vector_type(2 * VL)));
typedef int8_t vb2 __attribute__((ext_vector_type(2 * VL)));
typedef float v4 __attribute__((ext_vector_type(4)));

#endif  // CAPUS_VECTOR_INC_H

#ifdef CAPUS_VECTOR_BODY

#define SHUFFLE __builtin_shufflevector

INLINE vf v_bitcast(vi x) { return (vf)x; }
INLINE vi v_bits(vf x) { return (vi)x; }
INLINE vi vi_add(vi a, vi b) { return (vi)((vu)a + (vu)b); }  // wraps
INLINE vi vi_shr(vi x, int n) { return (vi)((vu)x >> (vu)n); }
INLINE vf v_select(vi mask, vf a, vf b) { return mask ? a : b; }

/// a where a > b, else b: of a NaN and a number, b if a is the NaN.
INLINE vf v_max(vf a, vf b) { return a > b ? a : b; }
INLINE vf v_min(vf a, vf b) { return a < b ? a : b; }

#if HAS_FMA
INLINE vf v_fma(vf a, vf b, vf c) { return __builtin_elementwise_fma(a, b, c); }
#else
INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
#endif

INLINE vi v_lane_index(void) {
  vi x;
  UNROLL for (int i = 0; i < VL; i++) x[i] = i;
  return x;
}

INLINE vf v_load(const void *p) {
  vf x;
  memcpy(&x, p, sizeof x);
  return x;
}

INLINE void v_store(float *p, vf x) { memcpy(p, &x, sizeof x); }

INLINE vh vh_load(const void *p) {
  vh x;
  memcpy(&x, p, sizeof x);
  return x;
}

INLINE vb vb_load(const void *p) {
  vb x;
  memcpy(&x, p, sizeof x);
  return x;
}

#if !HAS_MASKED_ACCESS
INLINE vf v_load_n(const void *p, int n) {
  vf x = 0;
  memcpy(&x, p, (size_t)n * sizeof(float));
  return x;
}

INLINE void v_store_n(float *p, vf x, int n) { memcpy(p, &x, (size_t)n * sizeof *p); }

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
#endif

#if VL == 16
#define LOWER_HALF(x) SHUFFLE(x, x, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#define UPPER_HALF(x) \
  SHUFFLE(x, x, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31)
#elif VL == 8
#define LOWER_HALF(x) SHUFFLE(x, x, 0, 1, 2, 3, 4, 5, 6, 7)
#define UPPER_HALF(x) SHUFFLE(x, x, 8, 9, 10, 11, 12, 13, 14, 15)
#else
#define LOWER_HALF(x) SHUFFLE(x, x, 0, 1, 2, 3)
#define UPPER_HALF(x) SHUFFLE(x, x, 4, 5, 6, 7)
#endif

/// Bytes per element of a type.
INLINE int type_size(int type) { return type == CAPUS_F32 ? 4 : type <= CAPUS_BF16 ? 2 : 1; }

/// Address of element c of a row.
INLINE const void *element(const void *row, int type, ptrdiff_t c) {
  return (const char *)row + c * type_size(type);
}

/// Power of two by which v_widen's result must still be multiplied.
INLINE float type_unit(int type) { return type == CAPUS_E4M3 ? 0x1p8f : 1.0f; }

INLINE vf v_from_bfloat(vh h) {
  return v_bitcast((vi)(__builtin_convertvector(h, vi) << 16));
}

// e4m3 as binary16, times 2^-8: the seven magnitude bits move to binary16's exponent and upper
// mantissa, and subnormals become subnormals. The NaN code alone carries into bit 14 when one unit
// in its last place is added, and that bit makes the exponent all ones. e5m2 is the upper byte of
// binary16. Both for any number of lanes; 16-bit lanes fill a register with two vectors of f32.
#define HALF_FROM_E4M3(codes, lanes)                                                         \
  ({                                                                                         \
    const lanes h_ = (__builtin_convertvector(codes, lanes) << 7) & (lanes)(int16_t)0xBFFF;  \
    h_ | ((h_ + (lanes)0x0080) & (lanes)0x4000);                                             \
  })
#define HALF_FROM_E5M2(codes, lanes) (__builtin_convertvector(codes, lanes) << 8)

INLINE vf v_from_byte(int type, vb b) {
  return v_from_half(type == CAPUS_E4M3 ? HALF_FROM_E4M3(b, vh) : HALF_FROM_E5M2(b, vh));
}

/// VL elements widened to f32, up to the factor type_unit.
INLINE vf v_widen(int type, const void *p) {
  if (type == CAPUS_F32) return v_load(p);
  if (type == CAPUS_F16) return v_from_half(vh_load(p));
  if (type == CAPUS_BF16) return v_from_bfloat(vh_load(p));
  return v_from_byte(type, vb_load(p));
}

/// v_widen of the first n < VL elements; the other lanes are zero.
INLINE vf v_widen_n(int type, const void *p, int n) {
  if (type == CAPUS_F32) return v_load_n(p, n);
  if (type == CAPUS_F16) return v_from_half(vh_load_n(p, n));
  if (type == CAPUS_BF16) return v_from_bfloat(vh_load_n(p, n));
  return v_from_byte(type, vb_load_n(p, n));
}

/// v_widen of `count` consecutive vectors.
INLINE void v_widen_each(int type, const void *p, int count, vf *x) {
  int i = 0;
  if (type_size(type) == 1) {
    UNROLL for (; i + 2 <= count; i += 2) {
      vb2 b;
      memcpy(&b, (const char *)p + i * VL, sizeof b);
      const vh2 h = type == CAPUS_E4M3 ? HALF_FROM_E4M3(b, vh2) : HALF_FROM_E5M2(b, vh2);
      x[i] = v_from_half(LOWER_HALF(h));
      x[i + 1] = v_from_half(UPPER_HALF(h));
    }
  }
  UNROLL for (; i < count; i++) x[i] = v_widen(type, element(p, type, i * VL));
}

// zip_low and zip_high interleave the lower and the upper halves of two vectors. sum4 returns the
// sums of the lanes of four vectors; each is formed by the same tree, halving the vector until one
// lane is left, so that it does not depend on which vectors are reduced together.
#if VL == 16
INLINE vf zip_low(vf a, vf b) {
  return SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
INLINE vf zip_high(vf a, vf b) {
  return SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
/// In each quarter the sums of the quarters of four vectors. Shuffles within quarters run on every
/// port, those across compete with multiplications: these come first, while vectors are many.
INLINE vf fold_within(vf a, vf b, vf c, vf d) {
  const vf ab = SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
                SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  const vf cd = SHUFFLE(c, d, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
                SHUFFLE(c, d, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  return SHUFFLE(ab, cd, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
         SHUFFLE(ab, cd, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
INLINE vf fold_halves(vf a, vf b) {
  return SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
         SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
INLINE vf fold_quarters(vf a, vf b) {
  return SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
         SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}
/// The sums of 16 vectors.
INLINE vf sum16(const vf x[16]) {
  return fold_quarters(
      fold_halves(fold_within(x[0], x[1], x[2], x[3]), fold_within(x[4], x[5], x[6], x[7])),
      fold_halves(fold_within(x[8], x[9], x[10], x[11]), fold_within(x[12], x[13], x[14], x[15])));
}
INLINE v4 sum4(vf a, vf b, vf c, vf d) {
  vf x = fold_within(a, b, c, d);
  x += SHUFFLE(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  x += SHUFFLE(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  return SHUFFLE(x, x, 0, 1, 2, 3);
}
#elif VL == 8
INLINE vf zip_low(vf a, vf b) { return SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
INLINE vf zip_high(vf a, vf b) { return SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
INLINE vf fold_halves(vf a, vf b) {
  return SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}
INLINE v4 sum4(vf a, vf b, vf c, vf d) {
  vf ab = fold_halves(a, b), cd = fold_halves(c, d);
  vf x = SHUFFLE(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
  x += SHUFFLE(x, x, 1, 0, 3, 2, 5, 4, 7, 6);
  return SHUFFLE(x, x, 0, 4, 2, 6);
}
#else
INLINE vf zip_low(vf a, vf b) { return SHUFFLE(a, b, 0, 4, 1, 5); }
INLINE vf zip_high(vf a, vf b) { return SHUFFLE(a, b, 2, 6, 3, 7); }
INLINE v4 sum4(vf a, vf b, vf c, vf d) {
  vf ab = SHUFFLE(a, b, 0, 4, 1, 5) + SHUFFLE(a, b, 2, 6, 3, 7);
  vf cd = SHUFFLE(c, d, 0, 4, 1, 5) + SHUFFLE(c, d, 2, 6, 3, 7);
  return SHUFFLE(ab, cd, 0, 1, 4, 5) + SHUFFLE(ab, cd, 2, 3, 6, 7);
}
#endif

/// Stores the sums of `count` vectors times `unit`.
INLINE void store_sums(const vf *x, int count, float unit, float *out) {
  int i = 0;
#if VL == 16
  UNROLL for (; i + 16 <= count; i += 16) v_store(out + i, sum16(x + i) * (vf)unit);
#endif
  UNROLL for (; i + 4 <= count; i += 4) {
    const v4 s = sum4(x[i], x[i + 1], x[i + 2], x[i + 3]) * (v4)unit;
    memcpy(out + i, &s, sizeof s);
  }
  UNROLL for (; i < count; i++) out[i] = sum4(x[i], x[i], x[i], x[i])[0] * unit;
}

#endif  // CAPUS_VECTOR_BODY
