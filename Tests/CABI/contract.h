/* What the parts of the contract's tests share. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <stddef.h>
#include <stdint.h>

#include "apus.h"

enum { ROWS = 4, LENGTH = 300, HEADS = 2, DIM = 32, THREADS = 4, ROUNDS = 50 };

/* Counts a broken promise and prints a line for it. */
extern int failures;
void check(int condition, const char *what);
/* A call's status and, where `words` are given, words of its message. */
void expect(apus_status found, apus_status wanted, const char *words, const char *what);

/* A padded decode over f16: its tensors, problem, plan and run. */
extern int64_t q_shape[3], kv_shape[4];
extern uint16_t q_bits[ROWS * HEADS * DIM], kv_bits[ROWS * LENGTH * HEADS * DIM];
/* f16 bits between 1/8 and 1/4 in size. */
void fill(uint16_t *bits, size_t count);
DLTensor dense(void *data, int ndim, int64_t *shape);
apus_attention_problem a_problem(void);
apus_plan a_plan(apus_backend backend);
apus_status run(apus_plan plan, uint16_t *o_bits);

/* Of contract_lists.c. */
void tensor_lists(apus_backend backend);
void options(apus_backend backend);
void forks(void);

#endif
