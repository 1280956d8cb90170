// Probes of the machine: the read bandwidth and the FMA rate that the kernels are held against.

enum { PROBE_STREAMS = 4, PROBE_VECTORS = 4, PROBE_AHEAD = 4096, PROBE_CHAINS = 12 };

/// xor of all 8-byte words (memory order; the last one padded with zeros) of the data.
static uint64_t read_probe(const void *data, size_t bytes) {
  const char *p = data;
  const size_t step = PROBE_VECTORS * sizeof(vi);
  const size_t stream = bytes / PROBE_STREAMS / step * step;
  vi x[PROBE_STREAMS * PROBE_VECTORS];
  UNROLL for (int i = 0; i < PROBE_STREAMS * PROBE_VECTORS; i++) x[i] = 0;
  for (size_t b = 0; b < stream; b += step) {
    UNROLL for (int s = 0; s < PROBE_STREAMS; s++) {
      const char *from = p + (size_t)s * stream + b;
      const size_t ahead = stream - b > PROBE_AHEAD ? PROBE_AHEAD : 0;
      for (size_t line = 0; line < step; line += 64) {
        __builtin_prefetch(from + ahead + line, 0, 3);
      }
      UNROLL for (int i = 0; i < PROBE_VECTORS; i++) {
        vi y;
        memcpy(&y, from + (size_t)i * sizeof y, sizeof y);
        x[s * PROBE_VECTORS + i] ^= y;
      }
    }
  }
  UNROLL for (int i = 1; i < PROBE_STREAMS * PROBE_VECTORS; i++) x[0] ^= x[i];
  uint64_t words[sizeof(vi) / 8], result = 0;
  memcpy(words, &x[0], sizeof words);
  for (size_t i = 0; i < sizeof(vi) / 8; i++) result ^= words[i];
  for (size_t b = PROBE_STREAMS * stream; b < bytes; b += 8) {
    uint64_t word = 0;
    memcpy(&word, p + b, bytes - b < 8 ? bytes - b : 8);
    result ^= word;
  }
  return result;
}

static double fma_probe(int64_t iterations, float *sink) {
  vf x[PROBE_CHAINS];
  // The initial values come from memory, so that nothing can be computed at compile time.
  UNROLL for (int i = 0; i < PROBE_CHAINS; i++) x[i] = *sink + (float)i;
  const vf a = *sink * 0x1p-20f + 0.5f, b = *sink * 0x1p-20f + 0.25f;
  for (int64_t n = 0; n < iterations; n++) {
    UNROLL for (int i = 0; i < PROBE_CHAINS; i++) x[i] = v_fma(x[i], a, b);
  }
  UNROLL for (int i = 1; i < PROBE_CHAINS; i++) x[0] += x[i];
  *sink = lane_sum(x[0]);
  return 2.0 * VL * PROBE_CHAINS * (double)iterations;
}
