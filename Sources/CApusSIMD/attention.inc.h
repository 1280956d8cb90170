// scores and weighted_sum: the two passes of decode over K and V rows.
//
// Both widen a vector of the row once and use it for a block of query rows that stays in
// registers. A result's bits depend on dim (scores) or on tokens (weighted_sum) and on the
// instruction set alone, never on the number of rows or on its place in a block: each sum runs in
// index order over one accumulator per lane.

enum {
  SCORE_BLOCK = 8,  // K rows that stay in L1 while all query rows pass over them
  SUM_BLOCK = 16,   // V rows that stay in L1 while all columns pass over them
  STREAM_LANES_FROM = 2048  // bytes of a row from which a stream is walked at four places
};

/// Requests about the next `bytes` bytes of a stream times its pace, if there is one and as far as
/// it goes, four lines at a time: an instruction more per line costs as much as its arithmetic.
///
/// Long rows are walked at four places at once. A core drops requests when its miss buffers are
/// full; several streams lead its hardware prefetchers to take over.
INLINE void stream_ahead(capus_stream *stream, ptrdiff_t bytes) {
  if (!stream) return;
  ptrdiff_t credit = stream->credit + (bytes * stream->pace >> 8);
  while (credit > 0 && stream->part < 2) {
    const ptrdiff_t size = stream->row_bytes[stream->part];
    const int isLong = size >= STREAM_LANES_FROM;
    const int end = isLong ? stream->count[stream->part] / 4 : stream->count[stream->part];
    const void *const *rows = stream->rows[stream->part];
    int row = stream->row;
    ptrdiff_t byte = stream->byte;
    if (isLong) {
      for (; credit > 0 && row < end; credit -= 4 * 64) {
        UNROLL for (int i = 0; i < 4; i++) {
          __builtin_prefetch((const char *)rows[row + i * end] + byte, 0, 3);
        }
        byte += 64;
        if (byte >= size) {
          byte = 0;
          row++;
        }
      }
    } else {
      for (; credit > 0 && row < end; credit -= size < 4 * 64 ? size : 4 * 64) {
        const char *from = (const char *)rows[row] + byte;
        UNROLL for (int i = 0; i < 4; i++) {
          if (i == 0 || byte + 64 * i < size) __builtin_prefetch(from + 64 * i, 0, 3);
        }
        byte += 4 * 64;
        if (byte >= size) {
          byte = 0;
          row++;
        }
      }
    }
    stream->row = row;
    stream->byte = byte;
    if (row >= end) {
      stream->part++;
      stream->row = 0;
      stream->byte = 0;
    }
  }
  stream->credit = credit;
}

/// Adds the products of U vectors of columns, or with U = 1 of `columns` <= VL columns, to the
/// R * T accumulators. The smaller of the two operand blocks is loaded first.
INLINE void score_columns(const int type, const int R, const int T, const int U, const float *q,
                          ptrdiff_t ldq, const void *const *k, int c, int columns, vf *sum) {
  const int partial = U == 1 && columns < VL;
  vf kv[8], qv[8];
  if (R <= T) {
    UNROLL for (int r = 0; r < R; r++) {
      UNROLL for (int u = 0; u < U; u++) {
        const float *from = q + r * ldq + c + u * VL;
        qv[r * U + u] = partial ? v_load_n(from, columns) : v_load(from);
      }
    }
    UNROLL for (int t = 0; t < T; t++) {
      const void *from = element(k[t], type, c);
      if (partial) {
        kv[0] = v_widen_n(type, from, columns);
      } else {
        v_widen_each(type, from, U, kv);
      }
      UNROLL for (int u = 0; u < U; u++) {
        UNROLL for (int r = 0; r < R; r++) {
          sum[r * T + t] = v_fma(kv[u], qv[r * U + u], sum[r * T + t]);
        }
      }
    }
  } else {
    UNROLL for (int t = 0; t < T; t++) {
      const void *from = element(k[t], type, c);
      if (partial) {
        kv[t] = v_widen_n(type, from, columns);
      } else {
        v_widen_each(type, from, U, kv + t * U);
      }
    }
    UNROLL for (int u = 0; u < U; u++) {
      UNROLL for (int r = 0; r < R; r++) {
        const float *from = q + r * ldq + c + u * VL;
        const vf x = partial ? v_load_n(from, columns) : v_load(from);
        UNROLL for (int t = 0; t < T; t++) {
          sum[r * T + t] = v_fma(kv[t * U + u], x, sum[r * T + t]);
        }
      }
    }
  }
}

/// Scores of R query rows against T tokens, R * T accumulators.
INLINE void score_block(const int type, const int R, const int T, const float *q, ptrdiff_t ldq,
                        const void *const *k, int dim, float *out, ptrdiff_t ldo,
                        int accumulate) {
  vf sum[16];
  UNROLL for (int x = 0; x < R * T; x++) sum[x] = 0;
  int c = 0;
  if (type_size(type) == 1) {
    for (; c + 2 * VL <= dim; c += 2 * VL) score_columns(type, R, T, 2, q, ldq, k, c, 0, sum);
  }
  for (; c + VL <= dim; c += VL) score_columns(type, R, T, 1, q, ldq, k, c, VL, sum);
  if (c < dim) score_columns(type, R, T, 1, q, ldq, k, c, dim - c, sum);

  float result[16];
  store_sums(sum, R * T, type_unit(type), result);
  if (accumulate) {
    UNROLL for (int r = 0; r < R; r++) {
      UNROLL for (int t = 0; t < T; t++) out[r * ldo + t] += result[r * T + t];
    }
  } else {
    UNROLL for (int r = 0; r < R; r++) {
      memcpy(out + r * ldo, result + r * T, (size_t)T * sizeof *out);
    }
  }
}

/// Scores of R query rows against n tokens, T at a time.
INLINE void score_rows(const int type, const int R, const int T, const float *q, ptrdiff_t ldq,
                       const void *const *k, int n, int dim, float *out, ptrdiff_t ldo,
                       int accumulate, capus_stream *ahead) {
  const ptrdiff_t bytes = (ptrdiff_t)dim * type_size(type);
  int t = 0;
  for (; t + T <= n; t += T) {
    stream_ahead(ahead, T * bytes);
    score_block(type, R, T, q, ldq, k + t, dim, out + t, ldo, accumulate);
  }
  for (; t < n; t++) {
    stream_ahead(ahead, bytes);
    score_block(type, R, 1, q, ldq, k + t, dim, out + t, ldo, accumulate);
  }
}

INLINE void scores(const int type, const float *q, ptrdiff_t ldq, int rows, const void *const *k,
                   int tokens, int dim, float *out, ptrdiff_t ldo, int accumulate,
                   capus_stream *ahead) {
#define ROWS(R, T)                                                                             \
  score_rows(type, R, T, q + i * ldq, ldq, k + j, n, dim, out + i * ldo + j, ldo, accumulate,  \
             i == 0 ? ahead : NULL)
  for (int j = 0; j < tokens; j += SCORE_BLOCK) {
    const int n = tokens - j < SCORE_BLOCK ? tokens - j : SCORE_BLOCK;
    int i = 0;
#if REGISTERS == 32
    for (; i + 8 <= rows; i += 8) ROWS(8, 2);
#endif
    for (; i + 4 <= rows; i += 4) ROWS(4, REGISTERS / 8);
    for (; i + 2 <= rows; i += 2) ROWS(2, REGISTERS / 4);
    if (i < rows) ROWS(1, 8);
  }
#undef ROWS
}

/// o[r][c...] += sum_j p[r][j] * v[j][c...] for R rows and C vectors of columns starting at c, or,
/// with C = 1, for the `columns` <= VL columns from c.
INLINE void sum_block(const int type, const int R, const int C, const float *p, ptrdiff_t ldp,
                      const void *const *v, int tokens, int c, int columns, float *o,
                      ptrdiff_t ldo, capus_stream *ahead) {
  const int partial = C == 1 && columns < VL;
  vf sum[16], vv[8];
  UNROLL for (int x = 0; x < R * C; x++) sum[x] = 0;
  for (int j = 0; j < tokens; j++) {
    const void *row = element(v[j], type, c);
    if (j % 4 == 0) stream_ahead(ahead, (ptrdiff_t)4 * columns * type_size(type));
    if (partial) {
      vv[0] = v_widen_n(type, row, columns);
    } else {
      v_widen_each(type, row, C, vv);
    }
    UNROLL for (int r = 0; r < R; r++) {
      const vf pv = p[r * ldp + j];
      UNROLL for (int x = 0; x < C; x++) sum[r * C + x] = v_fma(vv[x], pv, sum[r * C + x]);
    }
  }
  const vf unit = type_unit(type);
  UNROLL for (int r = 0; r < R; r++) {
    float *to = o + r * ldo + c;
    if (partial) {
      v_store_n(to, v_fma(sum[r], unit, v_load_n(to, columns)), columns);
    } else {
      UNROLL for (int x = 0; x < C; x++) {
        v_store(to + x * VL, v_fma(sum[r * C + x], unit, v_load(to + x * VL)));
      }
    }
  }
}

/// R rows of a token block: columns in blocks of C vectors, then of fewer.
INLINE void sum_rows(const int type, const int R, const int C, const float *p, ptrdiff_t ldp,
                     const void *const *v, int tokens, int dim, float *o, ptrdiff_t ldo,
                     capus_stream *ahead) {
  int c = 0;
  for (; c + C * VL <= dim; c += C * VL) {
    sum_block(type, R, C, p, ldp, v, tokens, c, C * VL, o, ldo, ahead);
  }
  if (C > 2 && c + C / 2 * VL <= dim) {
    sum_block(type, R, C / 2, p, ldp, v, tokens, c, C / 2 * VL, o, ldo, ahead);
    c += C / 2 * VL;
  }
  for (; c < dim; c += VL) {
    sum_block(type, R, 1, p, ldp, v, tokens, c, dim - c < VL ? dim - c : VL, o, ldo, ahead);
  }
}

INLINE void weighted_sum(const int type, const float *p, ptrdiff_t ldp, int rows,
                         const void *const *v, int tokens, int dim, float *o, ptrdiff_t ldo,
                         capus_stream *ahead) {
#define ROWS(R, C)                                                                 \
  sum_rows(type, R, C, p + i * ldp + j, ldp, v + j, n, dim, o + i * ldo, ldo,      \
           i == 0 ? ahead : NULL)
  for (int j = 0; j < tokens; j += SUM_BLOCK) {
    const int n = tokens - j < SUM_BLOCK ? tokens - j : SUM_BLOCK;
    int i = 0;
#if REGISTERS == 32
    for (; i + 8 <= rows; i += 8) ROWS(8, 2);
#endif
    for (; i + 4 <= rows; i += 4) ROWS(4, REGISTERS / 8);
    for (; i + 2 <= rows; i += 2) ROWS(2, REGISTERS / 4);
    if (i < rows) ROWS(1, 8);
  }
#undef ROWS
}
