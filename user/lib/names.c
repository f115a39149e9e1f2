/*
 * Names of the kernel's numbers, see names.h.
 */
#include "names.h"
#include "spawn.h"
#include "stag/abi.h"

const char *error_name(int64_t error) {
    switch (error < 0 ? -(uint64_t)error : (uint64_t)error) {
    case 0: return "no error";
    case EPERM: return "EPERM";
    case ESRCH: return "ESRCH";
    case ENOEXEC: return "ENOEXEC";
    case EBADF: return "EBADF";
    case EAGAIN: return "EAGAIN";
    case ENOMEM: return "ENOMEM";
    case EACCES: return "EACCES";
    case EFAULT: return "EFAULT";
    case EBUSY: return "EBUSY";
    case EEXIST: return "EEXIST";
    case EINVAL: return "EINVAL";
    case ENOSYS: return "ENOSYS";
    case ETIMEDOUT: return "ETIMEDOUT";
    default: return "unknown error";
    }
}

const char *fault_name(uint64_t cause) {
    static const char *const names[] = {
        [0] = "misaligned fetch at", [1] = "fetch access fault at", [2] = "illegal instruction",
        [3] = "breakpoint at",       [4] = "misaligned load at",    [5] = "load access fault at",
        [6] = "misaligned store at", [7] = "store access fault at", [12] = "fetch page fault at",
        [13] = "load page fault at", [15] = "store page fault at",
    };

    if (cause >= sizeof(names) / sizeof(names[0]) || names[cause] == 0) return "unknown fault at";
    return names[cause];
}

const char *state_name(uint64_t state) {
    if (state & STATE_TERMINATED) return "ended";
    if (state & STATE_STOPPED) return "stopped";
    if (state & STATE_PARKED) return "parked";
    if (state & STATE_EXECUTING) return "executing";
    return "queued";
}
