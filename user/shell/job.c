/*
 * Jobs, see job.h.
 *
 * A job that faults is only stopped: the kernel leaves it to its supervisor
 * what to do. This one prints the fault and ends the job.
 */
#include "job.h"
#include "call.h"
#include "child.h"
#include "device.h"
#include "elf.h"
#include "keyboard.h"
#include "names.h"
#include "print.h"
#include "spawn.h"
#include "string.h"
#include "thread.h"
#include "time.h"

#define JOBS_MAX 16

struct job {
    char name[JOB_NAME_MAX]; /* empty: this place is free */
    struct process process;
};

/* Job n is jobs[n - 1]. */
static struct job jobs[JOBS_MAX];

/* Least authority: what programs get beyond their own memory. */
static const struct {
    const char *program;
    struct grant grant;
} authorities[] = {
    {"date", {USER_RTC_PAGE, USER_RTC_PAGE, 1, PROT_READ}},
    {"poweroff", {USER_POWER_PAGE, USER_POWER_PAGE, 1, PROT_READ | PROT_WRITE}},
    {"usertests", {USER_RTC_PAGE, USER_RTC_PAGE, 1, PROT_READ}},
};

#define AUTHORITIES (sizeof(authorities) / sizeof(authorities[0]))

/* Collect what `program` is granted of what we have. Returns how many. */
static uint64_t job_grants(const char *program, struct grant grants[AUTHORITIES]) {
    uint64_t count = 0;

    for (uint64_t i = 0; i < AUTHORITIES; i++) {
        if (strcmp(authorities[i].program, program) == 0 && page_present(authorities[i].grant.from))
            grants[count++] = authorities[i].grant;
    }
    return count;
}

static bool job_exists(int64_t number) {
    return number >= 1 && number <= JOBS_MAX && jobs[number - 1].name[0] != 0;
}

/* The lowest number that is free, or JOBS_MAX + 1. */
static int64_t job_free(void) {
    int64_t number = 1;

    while (job_exists(number)) number++;
    return number;
}

int64_t job_start(const struct program *program, int argc, const char *const argv[]) {
    struct grant grants[AUTHORITIES];
    uint64_t grant_count = job_grants(program->name, grants);
    int64_t number = job_free();

    if (number > JOBS_MAX) {
        job_reap(); /* some may have ended since the line began */
        number = job_free();
    }
    if (number > JOBS_MAX) {
        printf("%s: there are %d jobs already; `kill N` ends one\n", program->name, JOBS_MAX);
        return -EAGAIN;
    }
    struct job *job = &jobs[number - 1];
    int64_t error =
        spawn(program->start, program->size, argc, argv, grants, grant_count, &job->process);
    if (error == -ENOEXEC) {
        printf("%s: %s\n", program->name, elf_check(program->start, program->size));
        return error;
    }
    if (error < 0) {
        printf("%s: can't start: %s\n", program->name,
               error == -ENOMEM ? "no memory is left; `kill N` ends a job" : error_name(error));
        return error;
    }
    string_copy(job->name, program->name, sizeof(job->name));
    return number;
}

/* End what is left of a job and forget it. */
static void job_drop(struct job *job) {
    process_end(&job->process);
    job->name[0] = 0;
}

/*
 * Say how a job has ended; of a good end only if `always`.
 * Returns true if it ended by itself, with status 0.
 */
static bool job_report(const struct job *job, const struct executor_info *info, bool always) {
    if (info->fault_cause != FAULT_NONE) {
        /* The address, or the instruction if that was at fault. */
        printf("[%s stopped: %s 0x%lx, pc 0x%lx]\n", job->name, fault_name(info->fault_cause),
               info->fault_address, info->pc);
        return false;
    }
    if (info->status == STATUS_KILLED) {
        /* Or its main() returned -1, which looks the same. */
        printf("[%s was killed, perhaps by a fault of one of its threads]\n", job->name);
        return false;
    }
    if (info->status != 0 || always)
        printf("[%s ended with status %ld]\n", job->name, (int64_t)info->status);
    return info->status == 0;
}

/* Wait until a job has settled. False after ctrl-C. */
static bool job_settles(struct job *job, struct executor_info *info) {
    while (!child_settled(job->process.executor, info)) {
        keyboard_poll();
        if (keyboard_interrupted()) return false;
        park(EVENT_CHILD | EVENT_CONSOLE, time_after(LOOK_MS));
    }
    return true;
}

bool job_wait(int64_t number) {
    struct job *job = &jobs[number - 1];
    struct executor_info info;
    bool success = job_settles(job, &info) && job_report(job, &info, false);

    job_drop(job);
    return success;
}

bool job_wait_all(void) {
    struct executor_info info;
    bool success = true;

    for (int64_t number = 1; number <= JOBS_MAX; number++) {
        struct job *job = &jobs[number - 1];
        if (!job_exists(number)) continue;
        if (!job_settles(job, &info)) return false; /* the jobs go on */
        if (!job_report(job, &info, false)) success = false;
        job_drop(job);
    }
    return success;
}

bool job_kill(int64_t number) {
    if (!job_exists(number)) {
        printf("there is no job %ld; `jobs` lists them\n", number);
        return false;
    }
    job_drop(&jobs[number - 1]);
    return true;
}

bool job_any(void) {
    for (int64_t number = 1; number <= JOBS_MAX; number++) {
        if (job_exists(number)) return true;
    }
    return false;
}

bool job_any_ended(void) {
    struct executor_info info;

    for (int64_t number = 1; number <= JOBS_MAX; number++) {
        if (job_exists(number) && child_settled(jobs[number - 1].process.executor, &info))
            return true;
    }
    return false;
}

void job_reap(void) {
    struct executor_info info;

    for (int64_t number = 1; number <= JOBS_MAX; number++) {
        struct job *job = &jobs[number - 1];
        if (job_exists(number) && child_settled(job->process.executor, &info)) {
            job_report(job, &info, true);
            job_drop(job);
        }
    }
}

/* Print what an executor is doing. A pc can be told of one at rest only. */
static void print_executor(const char *number, const char *name, uint64_t executor) {
    struct executor_info info;
    char pc[20] = "-";

    if (inspect(executor, &info) < 0) return;
    if ((info.state & (STATE_EXECUTING | STATE_QUEUED)) == 0)
        snprintf(pc, sizeof(pc), "0x%lx", info.pc);
    printf("%3s  %-12s %-10s %-10s  0x%08lx\n", number, name, state_name(info.state), pc,
           info.state >> STATE_EVENTS_SHIFT);
}

void job_list(bool details) {
    if (details) {
        printf("job  name         state      pc          events\n");
        print_executor("-", "shell", HANDLE_SELF);
    }
    for (int64_t number = 1; number <= JOBS_MAX; number++) {
        char text[8];
        if (!job_exists(number)) continue;
        snprintf(text, sizeof(text), "%ld", number);
        if (details)
            print_executor(text, jobs[number - 1].name, jobs[number - 1].process.executor);
        else
            printf("%3s  %s\n", text, jobs[number - 1].name);
    }
}
