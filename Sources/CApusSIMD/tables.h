// Tables of the instruction sets compiled into this binary.
#ifndef CAPUS_TABLES_H
#define CAPUS_TABLES_H

#include "CApusSIMD.h"

#define CAPUS_HIDDEN __attribute__((visibility("hidden")))

extern CAPUS_HIDDEN const capus_kernels capus_portable_kernels;
#if defined(__aarch64__)
extern CAPUS_HIDDEN const capus_kernels capus_neon_kernels;
#endif
#if defined(__x86_64__)
extern CAPUS_HIDDEN const capus_kernels capus_avx2_kernels;
extern CAPUS_HIDDEN const capus_kernels capus_avx512_kernels;
extern CAPUS_HIDDEN const capus_kernels capus_avx512bf16_kernels;
#endif

#endif
