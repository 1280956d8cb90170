// Compares the Advanced SIMD table with the portable one over all kernels; Scripts/neon builds and
// runs it. Every buffer ends at a page that cannot be touched, so that a kernel that reads or writes
// beyond it dies.
#include "CApusSIMD.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const capus_kernels *neon, *portable;
static long checks, failures;

static void check(int holds, const char *what, int type, int rows, int tokens, int dim) {
  checks++;
  if (holds) return;
  if (failures++ < 20) {
    printf("FAILED %s: type %d, %d rows, %d tokens, width %d\n", what, type, rows, tokens, dim);
  }
}

// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
static uint64_t state = 1;
static uint64_t draw(void) {
  uint64_t x = state += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}
static float uniform(void) { return (float)(draw() >> 40) * 0x1p-23f - 1.0f; }

enum { ARENAS = 64 };
static struct {
  void *base;
  size_t length;
} arenas[ARENAS];
static int arena_count;

/// Zeroed bytes that end at a page without access.
static void *guarded(size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t length = (bytes + page - 1) / page * page + page;
  char *base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED || arena_count == ARENAS ||
      mprotect(base + length - page, page, PROT_NONE) != 0) {
    abort();
  }
  arenas[arena_count].base = base;
  arenas[arena_count++].length = length;
  return base + length - page - bytes;
}

static void release(void) {
  while (arena_count > 0) {
    arena_count--;
    munmap(arenas[arena_count].base, arenas[arena_count].length);
  }
}

static int size_of(int type) { return type == CAPUS_F32 ? 4 : type <= CAPUS_BF16 ? 2 : 1; }

/// The factor of a sum of n products in f32; both tables are within it of the exact sum.
static double bound(int n) {
  const double share = (n + 1) * 0x1p-24;
  return 2 * share / (1 - share);
}

static float *floats(int count) {
  float *x = guarded((size_t)count * sizeof *x);
  for (int i = 0; i < count; i++) x[i] = uniform();
  return x;
}

/// Rows of a type that lie one after the other, the last before the guard.
static void stored(int type, int count, int dim, const void **rows, float *values) {
  char *codes = guarded((size_t)(count * dim * size_of(type)));
  for (int i = 0; i < count * dim; i++) values[i] = uniform();
  portable->narrow[type](values, codes, count * dim, 1);
  portable->widen[type](codes, values, count * dim);
  for (int j = 0; j < count; j++) rows[j] = codes + (size_t)(j * dim * size_of(type));
}

static void attention(int type, int rows, int tokens, int dim) {
  const void *k[40];
  float *values = floats(tokens * dim);
  stored(type, tokens, dim, k, values);
  float *q = floats(rows * dim), *p = floats(rows * tokens);
  float *a = floats(rows * tokens), *b = guarded((size_t)(rows * tokens) * 4);
  memcpy(b, a, (size_t)(rows * tokens) * 4);
  for (int accumulate = 0; accumulate < 2; accumulate++) {
    neon->scores[type](q, dim, rows, k, tokens, dim, a, tokens, accumulate, NULL);
    portable->scores[type](q, dim, rows, k, tokens, dim, b, tokens, accumulate, NULL);
    for (int i = 0; i < rows * tokens; i++) {
      double magnitude = accumulate ? fabs((double)b[i]) : 0;
      for (int c = 0; c < dim; c++) {
        magnitude += fabs((double)q[i / tokens * dim + c] * values[i % tokens * dim + c]);
      }
      check(fabs((double)a[i] - b[i]) <= (1 + accumulate) * bound(dim + 1) * magnitude, "scores",
            type, rows, tokens, dim);
    }
  }
  float *o = floats(rows * dim), *r = guarded((size_t)(rows * dim) * 4);
  memcpy(r, o, (size_t)(rows * dim) * 4);
  neon->weighted_sum[type](p, tokens, rows, k, tokens, dim, o, dim, NULL);
  portable->weighted_sum[type](p, tokens, rows, k, tokens, dim, r, dim, NULL);
  for (int i = 0; i < rows * dim; i++) {
    double magnitude = fabs((double)r[i]) + 1;
    for (int j = 0; j < tokens; j++) {
      magnitude += fabs((double)p[i / dim * tokens + j] * values[j * dim + i % dim]);
    }
    check(fabs((double)o[i] - r[i]) <= bound(tokens + 1) * magnitude, "weighted_sum", type, rows,
          tokens, dim);
  }
  const int padded = tokens + 3;
  float *x = floats(dim * padded), *y = floats(dim * padded);
  neon->pack_transposed[type](k, tokens, padded, dim, x, padded);
  portable->pack_transposed[type](k, tokens, padded, dim, y, padded);
  check(memcmp(x, y, (size_t)(dim * padded) * 4) == 0, "pack_transposed", type, rows, tokens, dim);
  release();
}

static void conversions(int type, int count) {
  const int bytes = size_of(type);
  uint8_t *codes = guarded((size_t)(count * bytes)), *other = guarded((size_t)(count * bytes));
  float *x = guarded((size_t)count * 4), *y = guarded((size_t)count * 4);
  for (int i = 0; i < count * bytes; i++) codes[i] = (uint8_t)draw();
  if (bytes == 1) {
    for (int i = 0; i < count; i++) codes[i] = (uint8_t)i;
  }
  neon->widen[type](codes, x, count);
  portable->widen[type](codes, y, count);
  int same = 1;
  for (int i = 0; i < count; i++) same &= x[i] == y[i] || (isnan(x[i]) && isnan(y[i]));
  check(same, "widen", type, 0, 0, count);
  for (int i = 0; i < count; i++) {
    const uint32_t word = (uint32_t)draw();
    memcpy(x + i, &word, 4);
  }
  for (int saturate = 0; saturate < 2; saturate++) {
    neon->narrow[type](x, codes, count, saturate);
    portable->narrow[type](x, other, count, saturate);
    check(memcmp(codes, other, (size_t)(count * bytes)) == 0, "narrow", type, 0, saturate, count);
  }
  release();
}

static void gemm(int rows, int columns, int depth) {
  float *a = floats(rows * depth), *b = floats(depth * columns);
  float *x = floats(rows * columns), *y = guarded((size_t)(rows * columns) * 4);
  memcpy(y, x, (size_t)(rows * columns) * 4);
  neon->gemm(a, depth, rows, b, columns, columns, depth, x, columns, 1);
  portable->gemm(a, depth, rows, b, columns, columns, depth, y, columns, 1);
  for (int i = 0; i < rows * columns; i++) {
    double magnitude = fabs((double)y[i]) + 1;
    for (int c = 0; c < depth; c++) {
      magnitude += fabs((double)a[i / columns * depth + c] * b[c * columns + i % columns]);
    }
    check(fabs((double)x[i] - y[i]) <= bound(depth + 1) * magnitude, "gemm", 0, rows, depth,
          columns);
  }
  release();
}

/// Both are within `ulps` of the exact value.
static int agree(float a, float b, int ulps) {
  const double size = fmax(fabs((double)a), fabs((double)b));
  return a == b || fabs((double)a - b) <= 2 * ulps * 0x1p-23 * size;
}

static void softmax(int rows, int count) {
  float *s = floats(rows * count), *t = guarded((size_t)(rows * count) * 4);
  float *factor = floats(rows);
  float *m = floats(rows), *l = floats(rows), *n = floats(rows), *k = floats(rows);
  float *alpha = floats(rows), *beta = floats(rows);
  for (int i = 0; i < rows * count; i++) s[i] = i % 7 == 5 ? -INFINITY : s[i] * 40;
  for (int i = 0; i < rows; i++) {
    factor[i] = i % 3 == 0 ? 1 : 0.125f;
    m[i] = n[i] = i % 2 == 0 ? -INFINITY : 3;
    l[i] = k[i] = i % 2 == 0 ? 0 : 2;
  }
  memcpy(t, s, (size_t)(rows * count) * 4);
  neon->softmax_rows(s, count, rows, count, factor, m, l, alpha);
  portable->softmax_rows(t, count, rows, count, factor, n, k, beta);
  for (int i = 0; i < rows * count; i++) {
    check(agree(s[i], t[i], 2), "softmax_rows p", 0, rows, 0, count);
  }
  for (int i = 0; i < rows; i++) {
    check(m[i] == n[i] && agree(alpha[i], beta[i], 2) &&
              fabs((double)l[i] - k[i]) <= (bound(count + 2) + 8 * 0x1p-23) * fabs((double)k[i]),
          "softmax_rows state", 0, rows, 0, count);
  }
  float one = -INFINITY, two = -INFINITY, sum = 0, total = 0;
  neon->softmax_step(s, count, &one, &sum);
  portable->softmax_step(t, count, &two, &total);
  check(agree(one, two, 2) && agree(sum, total, count + 8), "softmax_step", 0, 1, 0, count);
  release();
}

static void elementwise(int count) {
  float *x = floats(count), *y = guarded((size_t)count * 4);
  for (int i = 0; i < count; i++) x[i] *= 100;
  memcpy(y, x, (size_t)count * 4);
  neon->scale(x, count, 0.3f);
  portable->scale(y, count, 0.3f);
  check(memcmp(x, y, (size_t)count * 4) == 0, "scale", 0, 0, 0, count);
  neon->add_ramp(x, count, -4.5f, 0.75f);
  portable->add_ramp(y, count, -4.5f, 0.75f);
  for (int i = 0; i < count; i++) {
    check(fabs((double)x[i] - y[i]) <= 2 * 0x1p-23 * (fabs((double)y[i]) + 0.75 * count + 4.5),
          "add_ramp", 0, 0, 0, count);
    y[i] = x[i];
  }
  neon->soft_cap(x, count, 0.02f, 50);
  portable->soft_cap(y, count, 0.02f, 50);
  for (int i = 0; i < count; i++) check(agree(x[i], y[i], 5), "soft_cap", 0, 0, 0, count);
  uint8_t *bytes = guarded((size_t)count);
  for (int i = 0; i < count; i++) bytes[i] = (uint8_t)draw();
  check(neon->read_probe(bytes, (size_t)count) == portable->read_probe(bytes, (size_t)count),
        "read_probe", 0, 0, 0, count);
  release();
}

int main(void) {
  neon = capus_kernels_for(CAPUS_ISA_NEON);
  portable = capus_kernels_for(CAPUS_ISA_PORTABLE);
  if (!neon || !portable || capus_kernels_best() != neon || neon->dot) {
    puts("neon: the table must exist and be the best; found another.");
    return 1;
  }
  const int dims[] = {1, 3, 4, 5, 7, 8, 16, 17, 64, 100}, rows[] = {1, 2, 3, 4, 7, 8};
  const int tokens[] = {1, 2, 5, 8, 17, 33};
  for (int type = 0; type < CAPUS_TYPE_COUNT; type++) {
    for (unsigned d = 0; d < sizeof dims / sizeof *dims; d++) {
      for (unsigned r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (unsigned t = 0; t < sizeof tokens / sizeof *tokens; t++) {
          attention(type, rows[r], tokens[t], dims[d]);
        }
      }
    }
    for (int count = 1; count < 40; count++) conversions(type, count);
    conversions(type, 256);
    conversions(type, 20000);
  }
  for (int r = 1; r < 14; r += 3) {
    for (int c = 1; c < 40; c += 5) gemm(r, c, 2 * c + r);
  }
  for (int r = 1; r < 10; r++) {
    for (int count = 1; count < 70; count += 3) softmax(r, count);
  }
  for (int count = 1; count < 70; count++) elementwise(count);
  float sink = 0.5f;
  check(neon->fma_probe(10, &sink) == 10 * neon->fma_probe(1, &sink), "fma_probe", 0, 0, 0, 0);
  printf("neon: %ld checks, %ld failed, seed 1\n", checks, failures);
  return failures > 0;
}
