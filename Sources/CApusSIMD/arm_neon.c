// Advanced SIMD with 4 f32 lanes, the baseline of AArch64.
#if defined(__aarch64__)

#include "tables.h"

#include <arm_neon.h>

#define VL 4
#define REGISTERS 32
#define HAS_FMA 1
#define HAS_MASKED_ACCESS 0
#include "vector.inc.h"

INLINE vf v_from_half(vh h) { return (vf)vcvt_f32_f16((float16x4_t)h); }

#include "kernels.inc.h"

KERNELS(capus_neon_kernels, CAPUS_ISA_NEON, "neon", NULL)

#endif
