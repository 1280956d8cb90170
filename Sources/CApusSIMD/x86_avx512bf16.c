// AVX-512 with BF16 and VBMI: the kernels of x86_avx512.c, and products of bfloat16 pairs.
#if defined(__x86_64__)

#include "tables.h"

#include <immintrin.h>
#include <string.h>

#pragma clang attribute push(                                                                  \
    __attribute__((target(                                                                     \
        "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,fma,f16c,bmi2"))), \
    apply_to = function)

#define HAS_DOT 1
#include "avx512.inc.h"

KERNELS(capus_avx512bf16_kernels, CAPUS_ISA_AVX512BF16, "avx512bf16", &dot_kernels)

#pragma clang attribute pop

#endif
