// Plain C with 4 f32 lanes for the baseline of any architecture: always correct, and the oracle
// of nothing but itself.
#include "tables.h"

#define VL 4
#define REGISTERS 16
// Where the baseline has no fused instruction, a product is rounded before it is added: the fused
// form would be a library call. The bound n * 2^-24 * sum |a||b| of a sum of n products holds for
// both, as the first product is added to zero.
#if defined(__ARM_FEATURE_FMA) || defined(__FMA__)
#define HAS_FMA 1
#else
#define HAS_FMA 0
#endif
#define HAS_MASKED_ACCESS 0
#include "vector.inc.h"

/// binary16 widened by integer arithmetic, except for subnormals, which are small integers times
/// 2^-24: the result does not depend on a mode that treats subnormal operands as zero.
INLINE vf v_from_half(vh h) {
  const vi code = __builtin_convertvector(h, vi);
  const vi magnitude = code & (vi)0x7FFF;
  const vi normal = (magnitude << 13) + (vi)((127 - 15) << 23);
  const vi special = (magnitude << 13) | (vi)0x7F800000;
  const vi subnormal = (vi)(__builtin_convertvector(magnitude, vf) * (vf)0x1p-24f);
  vi bits = magnitude < (vi)0x0400 ? subnormal : normal;
  bits = magnitude < (vi)0x7C00 ? bits : special;
  return (vf)(bits | (code & (vi)(int32_t)0x80000000));
}

#include "kernels.inc.h"

KERNELS(capus_portable_kernels, CAPUS_ISA_PORTABLE, "portable", NULL)
