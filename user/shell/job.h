/*
 * Jobs: the programs that the shell has started.
 *
 * Jobs have numbers, from 1. The shell supervises the first executor of each:
 * EVENT_CHILD says that one of them has faulted or ended.
 */
#pragma once
#include "program.h"
#include <stdbool.h>

#define JOB_NAME_MAX 32

/* How often we look for ctrl-C while a program runs that reads the console
 * too: only the last reader is told of a key. */
#define LOOK_MS 200

/*
 * Start a program as a new job. Returns its number, or a negative error after
 * it has printed why.
 */
int64_t job_start(const struct program *program, int argc, const char *const argv[]);

/*
 * Wait until job `number` has ended, or ctrl-C, which stops it. Prints how it
 * ended unless that was with status 0.
 * Returns true if it was.
 */
bool job_wait(int64_t number);

/* The same for all jobs, but ctrl-C leaves them running. Returns true if all
 * ended with status 0. */
bool job_wait_all(void);

/* End job `number`. Returns false, after a message, if there is none. */
bool job_kill(int64_t number);

/* True if there is a job, also one that has ended that nobody was told of yet. */
bool job_any(void);

/* True if a job has ended that nobody was told of yet. */
bool job_any_ended(void);

/* Tell of the jobs that have ended, and forget them. */
void job_reap(void);

/* Print the jobs, and with `details` also what each is doing, and the shell. */
void job_list(bool details);
