// scores and weighted_sum: the two passes of decode over K and V rows.
//
// Both widen a vector of the row once and use it for a block of query rows that stays in
// registers. A result's bits depend on dim (scores) or on tokens (weighted_sum) and on the
// instruction set alone, never on the number of rows or on its place in a block: each sum runs in
// index order over one accumulator per lane.

// Tokens are taken a few at a time, all heads of them before the next ones: each place of a group
// is a stream of its own, which crosses memory in the order of addresses where the heads of a token
// follow each other and the caller's list takes its tokens from distant parts of a block. Requests
// reach only a little ahead of such a stream; hardware prefetchers do the rest.

/// Tokens of a group of scores.
enum { SCORE_GROUP = 4 };

/// Tokens of a group of weighted_sum. At 8 bits the sums' way through the registers weighs more
/// than the streams' number.
INLINE int sum_group(const int type) { return type_size(type) == 1 ? 8 : 4; }

/// The heads of a call, and what it requests meanwhile.
typedef struct walk_state {
  int heads;
  ptrdiff_t head_bytes;
  int reach;
  /// Place of the group that is requested: rows of the list ahead, and its head.
  int rows_ahead;
  int head_ahead;
} walk_state;

/// Rows of one head: places of a list, and bytes from there.
typedef struct row_list {
  const void *const *list;
  ptrdiff_t offset;
} row_list;

INLINE const char *row_of(row_list rows, int t) { return (const char *)rows.list[t] + rows.offset; }

/// The rows from `t` on.
INLINE row_list rows_from(row_list rows, int t) { return (row_list){rows.list + t, rows.offset}; }

INLINE walk_state walk_of(const capus_walk *walk) {
  const walk_state one = {1, 0, 0, 0, 0};
  if (!walk) return one;
  return (walk_state){walk->heads, walk->head_bytes, walk->reach, 0, 0};
}

/// Before the first head of a group of `group` rows.
INLINE void walk_start(walk_state *walk, int group) {
  walk->rows_ahead = 0;
  walk->head_ahead = walk->reach;
  while (walk->head_ahead >= walk->heads) {
    walk->head_ahead -= walk->heads;
    walk->rows_ahead += group;
  }
}

/// After a head.
INLINE void walk_advance(walk_state *walk, int group) {
  if (++walk->head_ahead == walk->heads) {
    walk->head_ahead = 0;
    walk->rows_ahead += group;
  }
}

/// The rows to request while those of the list are read.
INLINE row_list walk_next(const walk_state *walk, const void *const *list) {
  return (row_list){list + walk->rows_ahead, walk->head_ahead * walk->head_bytes};
}

/// Requests the lines of the row `from` that begin within `bytes` bytes from `offset` on.
INLINE void request(const void *from, ptrdiff_t offset, ptrdiff_t bytes) {
  if (bytes >= 64) {
    UNROLL for (ptrdiff_t i = 0; i < bytes; i += 64) {
      __builtin_prefetch((const char *)from + offset + i, 0, 3);
    }
  } else if ((offset & 63) < bytes) {
    __builtin_prefetch((const char *)from + offset, 0, 3);
  }
}

/// Adds the products of U vectors of columns, or with U = 1 of `columns` <= VL columns, to the
/// R * T accumulators. The smaller of the two operand blocks is loaded first.
INLINE void score_columns(const int type, const int R, const int T, const int U,
                          const int requests, const float *q, ptrdiff_t ldq, row_list k,
                          row_list next, int c, int columns, vf *sum) {
  const int partial = U == 1 && columns < VL;
  const ptrdiff_t bytes = (ptrdiff_t)U * VL * type_size(type);
  vf kv[8], qv[8];
  if (R <= T) {
    UNROLL for (int r = 0; r < R; r++) {
      UNROLL for (int u = 0; u < U; u++) {
        const float *from = q + r * ldq + c + u * VL;
        qv[r * U + u] = partial ? v_load_n(from, columns) : v_load(from);
      }
    }
    UNROLL for (int t = 0; t < T; t++) {
      const void *from = element(row_of(k, t), type, c);
      if (requests) request(row_of(next, t), c * type_size(type), bytes);
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
      const void *from = element(row_of(k, t), type, c);
      if (requests) request(row_of(next, t), c * type_size(type), bytes);
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
INLINE void score_block(const int type, const int R, const int T, const int requests,
                        const float *q, ptrdiff_t ldq, row_list k, row_list next, int dim,
                        float *out, ptrdiff_t ldo, int accumulate) {
  vf sum[16];
  UNROLL for (int x = 0; x < R * T; x++) sum[x] = 0;
  int c = 0;
  if (type_size(type) < 4 && T <= 4) {
    for (; c + 2 * VL <= dim; c += 2 * VL) {
      score_columns(type, R, T, 2, requests, q, ldq, k, next, c, 0, sum);
    }
  }
  for (; c + VL <= dim; c += VL) {
    score_columns(type, R, T, 1, requests, q, ldq, k, next, c, VL, sum);
  }
  if (c < dim) score_columns(type, R, T, 1, requests, q, ldq, k, next, c, dim - c, sum);

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

/// Scores of all rows against a group of n <= SCORE_GROUP tokens of one head. The first rows
/// request.
INLINE void score_group(const int type, const int n, const float *q, ptrdiff_t ldq, int rows,
                        row_list k, row_list next, int dim, float *out, ptrdiff_t ldo,
                        int accumulate) {
#define ROWS(R, T, requests)                                                                   \
  UNROLL for (int t = 0; t < n; t += n < T ? 1 : T) {                                          \
    score_block(type, R, n < T ? 1 : T, requests, q + i * ldq, ldq, rows_from(k, t),           \
                rows_from(next, t), dim, out + i * ldo + t, ldo, accumulate);                  \
  }                                                                                            \
  i += R
  int i = 0;
#if REGISTERS == 32
  if (rows >= 8) {
    ROWS(8, 2, 1);
    while (i + 8 <= rows) { ROWS(8, 2, 0); }
  }
#endif
  if (i == 0 && rows >= 4) { ROWS(4, REGISTERS / 8, 1); }
  while (i + 4 <= rows) { ROWS(4, REGISTERS / 8, 0); }
  if (i == 0 && rows >= 2) {
    ROWS(2, 4, 1);
  } else if (i + 2 <= rows) {
    ROWS(2, 4, 0);
  }
  if (i == 0 && rows > 0) {
    ROWS(1, 4, 1);
  } else if (i < rows) {
    ROWS(1, 4, 0);
  }
#undef ROWS
}

INLINE void scores(const int type, const float *q, ptrdiff_t ldq, int rows, const void *const *k,
                   int tokens, int dim, float *out, ptrdiff_t ldo, int accumulate,
                   const capus_walk *heads) {
  enum { G = SCORE_GROUP };
  walk_state walk = walk_of(heads);
#define GROUP(n)                                                                            \
  for (int h = 0; h < walk.heads; h++, walk_advance(&walk, G)) {                            \
    score_group(type, n, q + (ptrdiff_t)h * rows * ldq, ldq, rows,                          \
                (row_list){k + j, h * walk.head_bytes}, walk_next(&walk, k + j), dim,       \
                out + (ptrdiff_t)h * rows * ldo + j, ldo, accumulate);                      \
  }
  int j = 0;
  for (; j + G <= tokens; j += G) {
    walk_start(&walk, G);
    GROUP(G)
  }
  for (; j < tokens; j++) {
    walk_start(&walk, 1);
    GROUP(1)
  }
#undef GROUP
}

/// o[r][c...] += sum_j p[r][j] * v[j][c...] for all rows, T tokens and C vectors of columns from c
/// on, or, with C = 1, `columns` <= VL columns. The values stay in registers while the sums pass.
INLINE void sum_block(const int type, const int T, const int C, const float *p, ptrdiff_t ldp,
                      int rows, row_list v, row_list next, int c, int columns, float *o,
                      ptrdiff_t ldo) {
  const int partial = C == 1 && columns < VL;
  vf x[16];
  UNROLL for (int t = 0; t < T; t++) {
    const void *from = element(row_of(v, t), type, c);
    request(row_of(next, t), c * type_size(type), (ptrdiff_t)C * VL * type_size(type));
    if (partial) {
      x[t] = v_widen_n(type, from, columns);
    } else {
      v_widen_each(type, from, C, x + t * C);
    }
  }
  const vf unit = type_unit(type);
  for (int r = 0; r < rows; r++) {
    float *to = o + r * ldo + c;
    vf sum[4];
    UNROLL for (int i = 0; i < C; i++) {
      sum[i] = partial ? v_load_n(to, columns) : v_load(to + i * VL);
    }
    UNROLL for (int t = 0; t < T; t++) {
      const vf weight = (vf)p[r * ldp + t] * unit;
      UNROLL for (int i = 0; i < C; i++) sum[i] = v_fma(x[t * C + i], weight, sum[i]);
    }
    UNROLL for (int i = 0; i < C; i++) {
      if (partial) {
        v_store_n(to, sum[i], columns);
      } else {
        v_store(to + i * VL, sum[i]);
      }
    }
  }
}

/// T tokens: columns in blocks of four vectors, then of one.
INLINE void sum_tokens(const int type, const int T, const float *p, ptrdiff_t ldp, int rows,
                       row_list v, row_list next, int dim, float *o, ptrdiff_t ldo) {
  int c = 0;
  for (; c + 4 * VL <= dim; c += 4 * VL) {
    sum_block(type, T, 4, p, ldp, rows, v, next, c, 4 * VL, o, ldo);
  }
  for (; c < dim; c += VL) {
    sum_block(type, T, 1, p, ldp, rows, v, next, c, dim - c < VL ? dim - c : VL, o, ldo);
  }
}

INLINE void weighted_sum(const int type, const float *p, ptrdiff_t ldp, int rows,
                         const void *const *v, int tokens, int dim, float *o, ptrdiff_t ldo,
                         const capus_walk *heads) {
  const int G = sum_group(type);
  enum { T = REGISTERS / 8 };
  walk_state walk = walk_of(heads);
  for (int j = 0; j < tokens; j += G) {
    const int n = tokens - j < G ? tokens - j : G;
    walk_start(&walk, G);
    for (int h = 0; h < walk.heads; h++, walk_advance(&walk, G)) {
      const row_list row = {v + j, h * walk.head_bytes}, next = walk_next(&walk, v + j);
      const float *from = p + (ptrdiff_t)h * rows * ldp + j;
      float *to = o + (ptrdiff_t)h * rows * ldo;
      int t = 0;
      for (; t + T <= n; t += T) {
        sum_tokens(type, T, from + t, ldp, rows, rows_from(row, t), rows_from(next, t),
                   dim, to, ldo);
      }
      for (; t < n; t++) {
        sum_tokens(type, 1, from + t, ldp, rows, rows_from(row, t), rows_from(next, t),
                   dim, to, ldo);
      }
    }
  }
}
