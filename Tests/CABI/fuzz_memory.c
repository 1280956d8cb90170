/* Random numbers, and memory whose ends are watched. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, CANARY = 256, CANARY_BYTE = 0xc5 };

uint64_t next(fuzzer *f) {
  /* SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). */
  uint64_t z = f->random += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

int64_t range(fuzzer *f, int64_t least, int64_t greatest) {
  return least + (int64_t)(next(f) % (uint64_t)(greatest - least + 1));
}

int chance(fuzzer *f, int percent) { return (int)(next(f) % 100) < percent; }

int64_t awkward(fuzzer *f) {
  switch (range(f, 0, 5)) {
    case 0: return range(f, -3, 9);
    case 1: return PICK(f, INT64_MAX, INT64_MIN, INT64_MAX - 1, INT64_MIN + 1, INT64_MAX / 2);
    case 2: return PICK(f, INT32_MAX, INT32_MIN, (int64_t)INT32_MAX + 1, UINT32_MAX, -1);
    case 3: return ((int64_t)1 << range(f, 3, 62)) + range(f, -1, 1);
    case 4: return -((int64_t)1 << range(f, 0, 62));
    default: return (int64_t)next(f) >> range(f, 0, 60);
  }
}

void memory_create(fuzzer *f) {
#ifndef FUZZ_ASAN
  for (int i = 0; i < SLOT_COUNT; i++) {
    uint8_t *whole =
        mmap(NULL, SLOT_BYTES + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED) abort();
    f->slots[i].floor = whole + PAGE;
    if (mprotect(f->slots[i].floor, SLOT_BYTES, PROT_READ | PROT_WRITE) != 0) abort();
  }
#endif
  for (int i = 0; i < SLOT_COUNT; i++) f->slots[i].copy = malloc(SLOT_BYTES);
}

void memory_destroy(fuzzer *f) {
  memory_reset(f);
  for (int i = 0; i < SLOT_COUNT; i++) {
    free(f->slots[i].copy);
#ifndef FUZZ_ASAN
    munmap(f->slots[i].floor - PAGE, SLOT_BYTES + 2 * PAGE);
#endif
  }
}

void memory_reset(fuzzer *f) {
#ifdef FUZZ_ASAN
  for (int i = 0; i < f->used; i++) free(f->slots[i].data);
#endif
  f->used = 0;
}

slot *take(fuzzer *f, size_t size, int is_output) {
  if (f->used == SLOT_COUNT || size > SLOT_BYTES - 2 * CANARY) abort();
  slot *s = &f->slots[f->used++];
  s->size = size;
  s->is_output = is_output;
#ifdef FUZZ_ASAN
  s->data = malloc(size);
#else
  /* Against one of the guard pages; canaries on the other side. */
  int is_high = chance(f, 70);
  s->data = is_high ? s->floor + SLOT_BYTES - size : s->floor;
  memset(is_high ? s->data - CANARY : s->data + size, CANARY_BYTE, CANARY);
#endif
  return s;
}

void *place(fuzzer *f, const void *bytes, size_t size) {
  slot *s = take(f, size, 0);
  if (size > 0) memcpy(s->data, bytes, size);
  return s->data;
}

void snapshot(fuzzer *f) {
  for (int i = 0; i < f->used; i++) {
    if (f->slots[i].size > 0) memcpy(f->slots[i].copy, f->slots[i].data, f->slots[i].size);
  }
}

void check_memory(fuzzer *f, int succeeded) {
  for (int i = 0; i < f->used; i++) {
    slot *s = &f->slots[i];
    if (!(succeeded && s->is_output) && s->size > 0 && memcmp(s->copy, s->data, s->size) != 0) {
      fail(f, s->is_output ? "a refused call wrote to an output" : "an input was written to");
    }
#ifndef FUZZ_ASAN
    const uint8_t *watched = s->data == s->floor ? s->data + s->size : s->data - CANARY;
    for (int j = 0; j < CANARY; j++) {
      if (watched[j] != CANARY_BYTE) {
        fail(f, "a byte outside of a tensor was written to");
        break;
      }
    }
#endif
  }
}

uint8_t *wide_memory(void) {
#if defined(FUZZ_ASAN) || defined(FUZZ_TSAN)
  return NULL;
#else
  static uint8_t *memory;
  uint8_t *found = __atomic_load_n(&memory, __ATOMIC_ACQUIRE);
  if (found != NULL) return found;
  void *made = mmap(NULL, (size_t)1 << 40, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (made == MAP_FAILED) return NULL;
  if (!__atomic_compare_exchange_n(&memory, &found, made, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    munmap(made, (size_t)1 << 40);
    return found;
  }
  return made;
#endif
}
