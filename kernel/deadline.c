/*
 * The deadlines: a leftist heap, linked through the executors, so that it
 * needs no memory of its own and has no bound. (Crane 1972; Knuth, The Art of
 * Computer Programming, volume 3, section 5.2.3.)
 *
 *   rank of a node: steps from it to the nearest missing child, counted from 1;
 *   0 for no node. The left child's rank is never below the right child's, so
 *   the right spine, along which heaps are merged, has O(log n) nodes.
 *
 * All of it is under one lock, and so is the step that ends a park on account
 * of its deadline. As park_finish takes the executor out under the same lock
 * before it can park anew, a deadline found in the heap is that of the current
 * park, or of one that has ended: which of the two, the sequence number tells.
 */
#include "deadline.h"
#include "machine.h"
#include "park.h"
#include "scheduler.h"
#include "timer.h"

static struct lock deadline_lock;
static struct executor *heap;            /* under deadline_lock */
static uint64_t nearest = DEADLINE_NONE; /* written under it */

static uint64_t rank(const struct executor *node) {
    return node != NULL ? node->heap_rank : 0;
}

/* Make the rank and the order of a node's children right, given that theirs
 * are. */
static void settle(struct executor *node) {
    if (rank(node->heap_left) < rank(node->heap_right)) {
        struct executor *left = node->heap_left;
        node->heap_left = node->heap_right;
        node->heap_right = left;
    }
    node->heap_rank = rank(node->heap_right) + 1;
}

/* One heap of two: down the right spines, then up again. The parent of the
 * result is the caller's business. */
static struct executor *merge(struct executor *one, struct executor *other) {
    struct executor *spine = NULL; /* nodes passed, linked upwards by parent */
    while (one != NULL && other != NULL) {
        if (other->deadline < one->deadline) {
            struct executor *swap = one;
            one = other;
            other = swap;
        }
        one->heap_parent = spine;
        spine = one;
        one = one->heap_right;
    }
    struct executor *merged = one != NULL ? one : other;
    while (spine != NULL) {
        struct executor *up = spine->heap_parent;
        spine->heap_right = merged;
        if (merged != NULL) merged->heap_parent = spine;
        settle(spine);
        merged = spine;
        spine = up;
    }
    return merged;
}

/* Take a node out of the heap. Its ancestors' ranks shrink at most as far up
 * as they depend on it. */
static void heap_remove(struct executor *node) {
    struct executor *parent = node->heap_parent;
    struct executor *merged = merge(node->heap_left, node->heap_right);
    if (merged != NULL) merged->heap_parent = parent;
    if (parent == NULL)
        heap = merged;
    else if (parent->heap_left == node)
        parent->heap_left = merged;
    else
        parent->heap_right = merged;
    for (; parent != NULL; parent = parent->heap_parent) {
        uint64_t before = parent->heap_rank;
        settle(parent);
        if (parent->heap_rank == before) break;
    }
    node->heap_left = node->heap_right = node->heap_parent = NULL;
    node->heap_rank = 0;
}

static void note_nearest(void) {
    uint64_t deadline = heap != NULL ? heap->deadline : DEADLINE_NONE;
    __atomic_store_n(&nearest, deadline, __ATOMIC_RELAXED);
}

void deadline_insert(struct executor *executor, uint64_t deadline, uint64_t sequence) {
    executor_get(executor);
    lock_acquire(&deadline_lock, LOCK_DEADLINES);
    executor->deadline = deadline;
    executor->deadline_sequence = sequence;
    executor->heap_rank = 1;
    heap = merge(heap, executor);
    heap->heap_parent = NULL;
    note_nearest();
    lock_release(&deadline_lock, LOCK_DEADLINES);
    timer_no_later(deadline);
}

void deadline_remove(struct executor *executor) {
    bool inside;
    lock_acquire(&deadline_lock, LOCK_DEADLINES);
    inside = executor->heap_rank != 0;
    if (inside) {
        heap_remove(executor);
        note_nearest();
    }
    lock_release(&deadline_lock, LOCK_DEADLINES);
    if (inside) executor_put(executor);
}

void deadline_expire(uint64_t now) {
    if (deadline_nearest() > now) return;
    /* Those to be queued, in the order of their deadlines: the duty to queue
     * them makes their `next` ours. */
    struct executor *first = NULL, **last = &first;
    lock_acquire(&deadline_lock, LOCK_DEADLINES);
    while (heap != NULL && heap->deadline <= now) {
        struct executor *executor = heap;
        heap_remove(executor);
        if (park_timeout(executor, executor->deadline_sequence)) {
            executor->next = NULL;
            *last = executor;
            last = &executor->next;
        } else {
            executor_put(executor);
        }
    }
    note_nearest();
    lock_release(&deadline_lock, LOCK_DEADLINES);
    while (first != NULL) {
        struct executor *executor = first;
        first = executor->next;
        scheduler_enqueue(executor); /* the heap's reference is now the queue's */
    }
}

uint64_t deadline_nearest(void) {
    return __atomic_load_n(&nearest, __ATOMIC_RELAXED);
}
