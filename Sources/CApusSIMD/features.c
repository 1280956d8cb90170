// Choice of the table at run time.
#include "tables.h"

#if defined(__x86_64__)
static int has_avx512(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
         __builtin_cpu_supports("bmi2");
}
#endif

const capus_kernels *capus_kernels_for(capus_isa isa) {
  switch (isa) {
    case CAPUS_ISA_PORTABLE:
      return &capus_portable_kernels;
#if defined(__aarch64__)
    case CAPUS_ISA_NEON:  // Part of the architecture's baseline.
      return &capus_neon_kernels;
#endif
#if defined(__x86_64__)
    // __builtin_cpu_supports also asks whether the system saves the wide registers.
    case CAPUS_ISA_AVX2:
      __builtin_cpu_init();
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                     __builtin_cpu_supports("f16c")
                 ? &capus_avx2_kernels
                 : NULL;
    case CAPUS_ISA_AVX512:
      return has_avx512() ? &capus_avx512_kernels : NULL;
    case CAPUS_ISA_AVX512BF16:
      return has_avx512() && __builtin_cpu_supports("avx512bf16") &&
                     __builtin_cpu_supports("avx512vbmi")
                 ? &capus_avx512bf16_kernels
                 : NULL;
#endif
    default:
      return NULL;
  }
}

const capus_kernels *capus_kernels_best(void) {
  for (int isa = CAPUS_ISA_COUNT - 1; isa > CAPUS_ISA_PORTABLE; isa--) {
    const capus_kernels *kernels = capus_kernels_for((capus_isa)isa);
    if (kernels) return kernels;
  }
  return &capus_portable_kernels;
}

const char *capus_isa_name(capus_isa isa) {
  switch (isa) {
    case CAPUS_ISA_PORTABLE:
      return "portable";
    case CAPUS_ISA_NEON:
      return "neon";
    case CAPUS_ISA_AVX2:
      return "avx2";
    case CAPUS_ISA_AVX512:
      return "avx512";
    case CAPUS_ISA_AVX512BF16:
      return "avx512bf16";
  }
  return "unknown";
}
