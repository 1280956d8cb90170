/* Cases of the other functions of apus.h. */
#include "fuzz.h"

#include <string.h>

apus_rope random_rope(fuzzer *f, int64_t dim) {
  apus_rope rope = APUS_INIT(apus_rope);
  rope.interleaved = chance(f, 50);
  rope.rotary_dim = (int32_t)(dim % 2 == 0 && chance(f, 60) ? 0 : 2 * range(f, 1, dim / 2));
  if (chance(f, 30)) rope.scale = (double)range(f, 1, 32) / 4;
  if (chance(f, 30)) rope.theta = (double)range(f, 1, 500000);
  if (chance(f, 30)) {
    rope.is_llama31 = 1;
    rope.low_frequency_factor = 1;
    rope.high_frequency_factor = 4;
    rope.old_context_length = 8192;
  }
  return rope;
}

const apus_stream *random_stream(fuzzer *f) {
  static const apus_stream stream;
  return f->is_mutated && chance(f, 2) ? &stream : NULL;
}

/* One of the tensors of a call may be mutated. */
typedef struct {
  const DLTensor *places[8];
  tensor *tensors[8];
  int count;
} operands;

static void offer(operands *o, tensor *t) {
  o->places[o->count] = &t->dl;
  o->tensors[o->count++] = t;
}

static void mutate_operands(fuzzer *f, operands *o) {
  if (!f->is_mutated || chance(f, 20)) return;
  int which = (int)range(f, 0, o->count - 1);
  if (chance(f, 10)) {
    for (int i = 0; i < o->count; i++) o->tensors[i]->memory->is_output = 1;
    o->places[which] = o->places[range(f, 0, o->count - 1)];
  } else {
    mutate_tensor(f, &o->places[which], o->tensors[which]);
  }
}

static apus_lse_convention any_convention(fuzzer *f) {
  if (f->is_mutated && chance(f, 5)) return (apus_lse_convention)(int32_t)awkward(f);
  return (apus_lse_convention)range(f, 0, 2);
}

/* Whether the results are to be looked at. */
static int finish(fuzzer *f, int function, apus_status status) {
  end_call(f, function, status);
  check_memory(f, status == APUS_OK);
  if (f->is_mutated) return 0;
  if (status != APUS_OK) refused(f);
  return status == APUS_OK;
}

static void accept_all(fuzzer *f, tensor *t, const char *name) {
  const int64_t zero[MOST_DIMENSIONS] = {0};
  accept_box(f, t, zero, t->shape);
  check_rest(f, t, name);
}

enum { MOST_TOKENS = 12 };

typedef struct {
  apus_append_problem problem;
  apus_append_arguments arguments;
  int64_t batch, page_size, page_count, token_count, dim_k, dim_v;
  int64_t lengths[MOST_REQUESTS], pages[MOST_REQUESTS][64];
  int64_t requests[MOST_TOKENS], positions[MOST_TOKENS];
  int source_type, cache_type, is_combined, is_packed;
  tensor keys, values, k, v, k_scale, v_scale;
  /* Lists as tensors, in the place of those of the problem. */
  apus_append_lists lists;
  int has_lists, is_table;
  tensor tables[2], batch_indices, token_positions;
} append;

static void choose_tokens(fuzzer *f, append *a) {
  apus_append_problem *p = &a->problem;
  a->batch = range(f, 1, MOST_REQUESTS);
  a->page_size = PICK(f, 1, 2, 3, 4, 16);
  int64_t count = 0, widest = 0, offsets[MOST_REQUESTS + 1] = {0}, last[MOST_REQUESTS];
  for (int64_t r = 0; r < a->batch; r++) {
    a->lengths[r] = range(f, 0, 20);
    int64_t pages = (a->lengths[r] + a->page_size - 1) / a->page_size;
    /* Each page belongs to one request: no slot is written twice. */
    for (int64_t i = 0; i < pages; i++) a->pages[r][i] = count + i;
    count += pages;
    offsets[r + 1] = count;
    last[r] = pages > 0 ? a->lengths[r] - (pages - 1) * a->page_size : 0;
    if (pages > widest) widest = pages;
  }
  a->page_count = count + range(f, 0, 2);
  int64_t shift = a->page_count > 0 ? range(f, 0, a->page_count - 1) : 0, flat[512];
  for (int64_t r = 0; r < a->batch; r++) {
    for (int64_t i = 0; i < offsets[r + 1] - offsets[r]; i++) {
      a->pages[r][i] = (a->pages[r][i] + shift) % a->page_count;
    }
  }
  p->page_size = a->page_size;
  a->has_lists = chance(f, 40);
  a->is_table = chance(f, 50);
  if (!a->is_table) {
    for (int64_t r = 0, i = 0; r < a->batch; r++) {
      for (int64_t j = 0; i < offsets[r + 1]; i++, j++) flat[i] = a->pages[r][j];
    }
    if (a->has_lists) {
      make_integers(f, &a->tables[0], offsets, 1, (int64_t[]){a->batch + 1});
      make_integers(f, &a->tables[1], flat, 1, &count);
    } else {
      p->page_indptr = list(f, offsets, a->batch + 1);
      p->page_indices = list(f, flat, count);
      p->last_page_length = list(f, last, a->batch);
    }
  } else {
    int64_t width = widest + range(f, 0, 2);
    for (int64_t r = 0; r < a->batch; r++) {
      for (int64_t i = 0; i < width; i++) {
        flat[r * width + i] = i < offsets[r + 1] - offsets[r] ? a->pages[r][i] : -1;
      }
    }
    if (a->has_lists) {
      make_integers(f, &a->tables[0], flat, 2, (int64_t[]){a->batch, width});
    } else {
      p->block_table = list(f, flat, a->batch * width);
      p->pages_per_request = width;
      p->kv_lengths = list(f, a->lengths, a->batch);
    }
  }
  int64_t wanted = range(f, 0, MOST_TOKENS), r = range(f, 0, a->batch - 1), position = 0;
  while (a->token_count < wanted) {
    int64_t t = a->token_count++;
    a->requests[t] = -1;
    a->positions[t] = range(f, -9, 9);
    if (chance(f, 10)) continue;
    if (position < a->lengths[r]) {
      a->requests[t] = r;
      a->positions[t] = position;
    }
    position += range(f, 1, 3);
    if (position >= a->lengths[r] && r + 1 < a->batch) {
      r++;
      position = 0;
    }
  }
  if (!a->has_lists) {
    p->batch_indices = list(f, a->requests, a->token_count);
    p->positions = list(f, a->positions, a->token_count);
    return;
  }
  make_integers(f, &a->batch_indices, a->requests, 1, &a->token_count);
  make_integers(f, &a->token_positions, a->positions, 1, &a->token_count);
  a->lists = APUS_INIT(apus_append_lists);
  a->lists.batch_indices = &a->batch_indices.dl;
  a->lists.positions = &a->token_positions.dl;
  if (a->is_table) {
    a->lists.block_table = &a->tables[0].dl;
  } else {
    a->lists.page_indptr = &a->tables[0].dl;
    a->lists.page_indices = &a->tables[1].dl;
  }
}

static int cache_shape(const append *a, int has_heads, int64_t *shape) {
  int rank = 0;
  shape[rank++] = a->page_count;
  if (a->is_combined) shape[rank++] = 2;
  if (has_heads && a->problem.layout == APUS_HND) shape[rank++] = a->problem.kv_head_count;
  shape[rank++] = a->page_size;
  if (has_heads && a->problem.layout == APUS_NHD) shape[rank++] = a->problem.kv_head_count;
  return rank;
}

static void choose_append_scale(
    fuzzer *f, append *a, tensor *t, apus_append_scale *scale, int allows_dynamic) {
  int64_t shape[MOST_DIMENSIONS] = {a->problem.kv_head_count};
  switch (range(f, 0, 5)) {
    case 0: scale->value = (float)range(f, 1, 8) / 4; return;
    case 1:
      make(f, t, APUS_F32, 0, 0, 1, shape);
      fill_positive(f, t);
      scale->per_head = &t->dl;
      return;
    case 2: {
      if (!allows_dynamic) return;
      int combined = a->is_combined;
      a->is_combined = 0;
      int rank = cache_shape(a, 1, shape);
      a->is_combined = combined;
      make(f, t, APUS_F32, 0, 1, rank, shape);
      scale->dynamic_per_token_head = &t->dl;
      return;
    }
    default: return;
  }
}

static void choose_append(fuzzer *f, append *a) {
  memset(a, 0, sizeof *a);
  a->problem = APUS_INIT(apus_append_problem);
  a->arguments = APUS_INIT(apus_append_arguments);
  apus_append_problem *p = &a->problem;
  choose_tokens(f, a);
  p->is_latent = chance(f, 25);
  p->kv_head_count = (int32_t)(p->is_latent && chance(f, 80) ? 1 : range(f, 1, 4));
  a->dim_k = PICK(f, 1, 3, 8, 16, 64, 128, 576);
  if (a->dim_k > 128) p->kv_head_count = 1;
  a->dim_v = p->is_latent ? PICK(f, 0, 1, 8, 64) : chance(f, 50) ? a->dim_k : range(f, 1, 70);
  p->head_dim_k = (int32_t)a->dim_k;
  p->head_dim_v = (int32_t)(!p->is_latent && a->dim_v == a->dim_k ? 0 : a->dim_v);
  a->source_type = (int)range(f, 1, 5);
  a->cache_type = (int)range(f, 1, 5);
  p->source_type = (apus_type)a->source_type;
  p->cache_type = (apus_type)(a->cache_type == a->source_type ? 0 : a->cache_type);
  p->layout = (apus_layout)range(f, 0, 1);
  int64_t heads = p->kv_head_count;
  int has_middle = heads > 1 || chance(f, 50);
  int64_t three[] = {a->token_count, heads, a->dim_k}, two[] = {a->token_count, a->dim_k};
  make(f, &a->keys, a->source_type, 1, 0, has_middle ? 3 : 2, has_middle ? three : two);
  three[2] = two[1] = a->dim_v;
  make(f, &a->values, a->source_type, 1, 0, has_middle ? 3 : 2, has_middle ? three : two);
  a->is_combined = !p->is_latent && a->dim_k == a->dim_v && chance(f, 50);
  a->is_packed = p->is_latent && chance(f, 50);
  int has_heads = !p->is_latent || heads > 1 || chance(f, 50);
  int64_t shape[MOST_DIMENSIONS];
  int rank = cache_shape(a, has_heads, shape);
  shape[rank] = a->is_packed ? a->dim_k + a->dim_v : a->dim_k;
  make(f, &a->k, a->cache_type, 1, 1, rank + 1, shape);
  shape[rank] = a->dim_v;
  if (a->is_combined || a->is_packed) {
    a->arguments.kv = &a->k.dl;
  } else {
    make(f, &a->v, a->cache_type, 1, 1, rank + 1, shape);
    a->arguments.k = &a->k.dl;
    a->arguments.v = &a->v.dl;
  }
  a->arguments.keys = &a->keys.dl;
  a->arguments.values = &a->values.dl;
  choose_append_scale(f, a, &a->k_scale, &a->arguments.k_scale, 1);
  if (a->arguments.k_scale.dynamic_per_token_head == NULL || !p->is_latent) {
    choose_append_scale(f, a, &a->v_scale, &a->arguments.v_scale, !p->is_latent);
  }
}

/* A tensor of the lists, or what one holds. */
static void mutate_lists(fuzzer *f, append *a) {
  apus_append_lists *l = &a->lists;
  const DLTensor **places[] = {&l->batch_indices, &l->positions,
                               a->is_table ? &l->block_table : &l->page_indptr, &l->page_indices};
  tensor *tensors[] = {&a->batch_indices, &a->token_positions, &a->tables[0], &a->tables[1]};
  int64_t which = range(f, 0, a->is_table ? 2 : 3);
  tensor *t = tensors[which];
  if (chance(f, 50) || t->memory->size < 4) {
    mutate_tensor(f, places[which], t);
  } else if (t->memory->data == (uint8_t *)t->dl.data + t->dl.byte_offset) {
    int32_t value = (int32_t)awkward(f);
    memcpy(t->memory->data + 4 * range(f, 0, (int64_t)t->memory->size / 4 - 1), &value, 4);
  }
}

static void mutate_append(fuzzer *f, append *a) {
  if (a->has_lists && chance(f, 40)) {
    mutate_lists(f, a);
    return;
  }
  apus_append_problem *p = &a->problem;
  apus_int_list *lists[] = {&p->page_indptr, &p->page_indices, &p->last_page_length,
                            &p->block_table, &p->kv_lengths,   &p->batch_indices, &p->positions};
  int32_t *fields[] = {&p->kv_head_count, &p->head_dim_k, &p->head_dim_v, &p->is_latent,
                       (int32_t *)&p->source_type, (int32_t *)&p->cache_type,
                       (int32_t *)&p->layout};
  apus_append_arguments *x = &a->arguments;
  switch (range(f, 0, 9)) {
    case 0: case 1: case 2: mutate_list(f, lists[range(f, 0, 6)]); break;
    case 3: case 4: {
      int32_t *field = fields[range(f, 0, 6)];
      *field = chance(f, 50) ? (int32_t)awkward(f) : *field + (int32_t)PICK(f, -1, 1, 2);
      break;
    }
    case 5: *(chance(f, 50) ? &p->page_size : &p->pages_per_request) = awkward(f); break;
    case 6: mutate_tensor(f, &x->keys, &a->keys); break;
    case 7: mutate_tensor(f, x->kv ? &x->kv : &x->k, &a->k); break;
    case 8:
      if (x->k_scale.dynamic_per_token_head != NULL) {
        mutate_tensor(f, &x->k_scale.dynamic_per_token_head, &a->k_scale);
      } else if (x->k_scale.per_head != NULL) {
        mutate_tensor(f, &x->k_scale.per_head, &a->k_scale);
      } else {
        x->k_scale.value = (float)PICK(f, -1, INT64_MIN, INT64_MAX);
      }
      break;
    default:
      if (x->v != NULL) {
        mutate_tensor(f, &x->v, &a->v);
      } else {
        mutate_tensor(f, &x->values, &a->values);
      }
  }
}

/* Accepts the rows of the tokens that were not skipped. */
static void accept_tokens(fuzzer *f, append *a, tensor *t, const char *name, int is_scale) {
  int has_two = a->is_combined && !is_scale;
  int rank = t->rank + is_scale; /* as if there were a last dimension */
  int is_hnd = rank == 4 + has_two && a->problem.layout == APUS_HND;
  for (int64_t i = 0; i < a->token_count; i++) {
    if (a->requests[i] < 0) continue;
    int64_t start[MOST_DIMENSIONS] = {0}, count[MOST_DIMENSIONS];
    memcpy(count, t->shape, sizeof count);
    start[0] = a->pages[a->requests[i]][a->positions[i] / a->page_size];
    start[1 + has_two + is_hnd] = a->positions[i] % a->page_size;
    count[0] = count[1 + has_two + is_hnd] = 1;
    accept_box(f, t, start, count);
  }
  check_rest(f, t, name);
}

void append_case(fuzzer *f) {
  append a;
  choose_append(f, &a);
  if (f->is_mutated) {
    for (int64_t i = range(f, 1, 2); i > 0; i--) mutate_append(f, &a);
  }
  if (a.has_lists) a.problem.lists = structure(f, &a.lists, sizeof a.lists);
  const void *problem = structure(f, &a.problem, sizeof a.problem);
  const void *arguments = structure(f, &a.arguments, sizeof a.arguments);
  snapshot(f);
  begin_call(f, "apus_append");
  if (!finish(f, F_APPEND, apus_append(f->backend, problem, arguments, random_stream(f)))) return;
  f->is_tame = 1;
  accept_tokens(f, &a, &a.k, "the cache of k", 0);
  if (a.arguments.v != NULL) accept_tokens(f, &a, &a.v, "the cache of v", 0);
  if (a.arguments.k_scale.dynamic_per_token_head) accept_tokens(f, &a, &a.k_scale, "k_scale", 1);
  if (a.arguments.v_scale.dynamic_per_token_head) accept_tokens(f, &a, &a.v_scale, "v_scale", 1);
}

void merge_case(fuzzer *f) {
  tensor va, sa, vb, sb, v, s;
  int64_t rows = range(f, 0, 6), heads = range(f, 0, 4), dim = PICK(f, 0, 1, 3, 8, 16, 64, 130);
  int64_t full[] = {rows, heads, dim};
  int type = (int)range(f, 1, 5);
  operands o = {.count = 0};
  f->is_tame = 1;
  make(f, &v, (int)(chance(f, 70) ? type : range(f, 1, 5)), 0, 1, 3, full);
  make(f, &s, APUS_F32, 0, 1, 2, full);
  offer(&o, &v);
  offer(&o, &s);
  const apus_lse_convention convention = any_convention(f);
  int kind = (int)range(f, 0, 2);
  if (kind == 2) {
    int64_t count = range(f, 0, 4);
    make(f, &va, type, 0, 0, 4, (int64_t[]){rows, count, heads, dim});
    make(f, &sa, APUS_F32, 0, 0, 3, (int64_t[]){rows, count, heads});
    offer(&o, &va);
    offer(&o, &sa);
    mutate_operands(f, &o);
    snapshot(f);
    begin_call(f, "apus_merge_states");
    if (!finish(f, F_MERGE_MANY,
                apus_merge_states(f->backend, o.places[2], o.places[3], o.places[0], o.places[1],
                                  convention, random_stream(f)))) {
      return;
    }
  } else if (kind == 1) {
    tensor mask;
    fill_numbers(f, &v);
    fill_numbers(f, &s);
    make(f, &vb, v.type, 0, 0, 3, full);
    make(f, &sb, APUS_F32, 0, 0, 2, full);
    make(f, &mask, TYPE_U8, 0, 0, 1, full);
    offer(&o, &vb);
    offer(&o, &sb);
    offer(&o, &mask);
    int has_mask = chance(f, 50);
    mutate_operands(f, &o);
    snapshot(f);
    begin_call(f, "apus_merge_state_in_place");
    if (!finish(f, F_MERGE_IN_PLACE,
                apus_merge_state_in_place(f->backend, o.places[0], o.places[1], o.places[2],
                                          o.places[3], has_mask ? o.places[4] : NULL, convention,
                                          random_stream(f)))) {
      return;
    }
    for (int64_t r = 0; r < rows; r++) {
      if (has_mask && mask.memory->data[r] == 0) continue;
      accept_box(f, &v, (int64_t[]){r, 0, 0}, (int64_t[]){1, heads, dim});
      accept_box(f, &s, (int64_t[]){r, 0}, (int64_t[]){1, heads});
    }
    check_rest(f, &v, "v");
    check_rest(f, &s, "s");
    return;
  } else {
    make(f, &va, type, 0, 0, 3, full);
    make(f, &sa, APUS_F32, 0, 0, 2, full);
    make(f, &vb, type, 0, 0, 3, full);
    make(f, &sb, APUS_F32, 0, 0, 2, full);
    offer(&o, &va);
    offer(&o, &sa);
    offer(&o, &vb);
    offer(&o, &sb);
    mutate_operands(f, &o);
    snapshot(f);
    begin_call(f, "apus_merge_state");
    if (!finish(f, F_MERGE,
                apus_merge_state(f->backend, o.places[2], o.places[3], o.places[4], o.places[5],
                                 o.places[0], o.places[1], convention, random_stream(f)))) {
      return;
    }
  }
  accept_all(f, &v, "v");
  accept_all(f, &s, "s");
}

void rotate_case(fuzzer *f) {
  tensor q, k, q_out, k_out, table;
  int64_t rows = range(f, 0, 6), dim = PICK(f, 2, 3, 8, 16, 64, 130), positions[6];
  int64_t greatest = range(f, 1, 40);
  operands o = {.count = 0};
  f->is_tame = 1;
  make(f, &q, (int)range(f, 1, 5), 0, 0, 3, (int64_t[]){rows, range(f, 0, 4), dim});
  make(f, &k, (int)range(f, 1, 5), 0, 0, 3, (int64_t[]){rows, range(f, 0, 3), dim});
  int in_place = chance(f, 40);
  offer(&o, &q);
  offer(&o, &k);
  if (in_place) {
    q.memory->is_output = k.memory->is_output = 1;
  } else {
    make(f, &q_out, q.type, 0, 1, 3, q.shape);
    make(f, &k_out, k.type, 0, 1, 3, k.shape);
    offer(&o, &q_out);
    offer(&o, &k_out);
  }
  for (int64_t i = 0; i < rows; i++) positions[i] = range(f, 0, greatest - 1);
  apus_int_list l = list(f, positions, rows);
  tensor placed;
  const DLTensor *by = NULL;
  if (chance(f, 40)) {
    make_integers(f, &placed, positions, 1, &rows);
    by = &placed.dl;
    if (f->is_mutated && chance(f, 30)) mutate_tensor(f, &by, &placed);
  }
  const void *rope = NULL;
  const DLTensor *cache = NULL;
  if (chance(f, 50)) {
    apus_rope source = random_rope(f, dim);
    if (f->is_mutated && chance(f, 30)) {
      double *fields[] = {&source.scale, &source.theta, &source.low_frequency_factor,
                          &source.high_frequency_factor, &source.old_context_length};
      const double values[] = {0.0 / 0.0, 1e308 * 10, -1, 1e-320, 1e308, 0};
      *fields[range(f, 0, 4)] = values[range(f, 0, 5)];
      if (chance(f, 50)) source.rotary_dim = (int32_t)awkward(f);
    }
    rope = structure(f, &source, sizeof source);
  } else {
    make(f, &table, APUS_F32, 0, 0, 2, (int64_t[]){greatest, 2 * range(f, 1, dim / 2)});
    cache = &table.dl;
    if (f->is_mutated && chance(f, 20)) mutate_tensor(f, &cache, &table);
  }
  mutate_operands(f, &o);
  if (f->is_mutated && chance(f, 20)) mutate_list(f, &l);
  int out = in_place ? 0 : 2;
  snapshot(f);
  begin_call(f, by != NULL ? "apus_rotate_by" : "apus_rotate");
  int32_t interleaved = (int32_t)range(f, 0, 1);
  const apus_stream *stream = random_stream(f);
  apus_status status =
      by != NULL ? apus_rotate_by(f->backend, o.places[0], o.places[1], o.places[out],
                                  o.places[out + 1], by, rope, cache, interleaved, stream)
                 : apus_rotate(f->backend, o.places[0], o.places[1], o.places[out],
                               o.places[out + 1], l, rope, cache, interleaved, stream);
  if (!finish(f, F_ROTATE, status)) return;
  accept_all(f, in_place ? &q : &q_out, "q_out");
  accept_all(f, in_place ? &k : &k_out, "k_out");
}

void pack_case(fuzzer *f) {
  tensor flags, packed;
  int64_t offsets[8], segments = range(f, 0, 6), bytes = 0;
  operands o = {.count = 0};
  offsets[0] = range(f, 0, 2);
  for (int64_t i = 0; i < segments; i++) {
    int64_t length = range(f, 0, 70);
    offsets[i + 1] = offsets[i] + length;
    bytes += (length + 7) / 8;
  }
  int64_t count = offsets[segments] + range(f, 0, 3);
  apus_int_list indptr = {NULL, 0, 0};
  if (chance(f, 70)) {
    indptr = list(f, offsets, segments + 1);
  } else {
    bytes = (count + 7) / 8;
  }
  make(f, &flags, TYPE_U8, 0, 0, 1, &count);
  make(f, &packed, TYPE_U8, 0, 1, 1, &bytes);
  offer(&o, &flags);
  offer(&o, &packed);
  mutate_operands(f, &o);
  if (f->is_mutated && chance(f, 30)) mutate_list(f, &indptr);
  apus_bit_order order = (apus_bit_order)range(f, 0, f->is_mutated ? 3 : 1);
  snapshot(f);
  begin_call(f, "apus_pack_bits");
  if (!finish(f, F_PACK,
              apus_pack_bits(f->backend, o.places[0], o.places[1], indptr, order,
                             random_stream(f)))) {
    return;
  }
  accept_all(f, &packed, "packed");
}
