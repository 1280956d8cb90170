#include <pthread.h>

/* Of HandleTable.swift. */
void capus_before_fork(void);
void capus_after_fork(void);

/* When the library is loaded, before any call of it could be under way on another thread. */
__attribute__((constructor)) static void watch_forks(void) {
  (void)pthread_atfork(capus_before_fork, capus_after_fork, capus_after_fork);
}
