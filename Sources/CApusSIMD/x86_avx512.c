// AVX-512 F, BW, VL, DQ with 16 f32 lanes.
#if defined(__x86_64__)

#include "tables.h"

#include <immintrin.h>
#include <string.h>

#pragma clang attribute push(                                                              \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c,bmi2"))), \
    apply_to = function)

#include "avx512.inc.h"

KERNELS(capus_avx512_kernels, CAPUS_ISA_AVX512, "avx512", NULL)

#pragma clang attribute pop

#endif
