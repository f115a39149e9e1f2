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
 * park, or of one that has ended: which of the two, PARKED tells. (The sequence
 * number would be needed if one could park anew from inside the heap.)
 */
#include "deadline.h"
#include "park.h"
#include "scheduler.h"
#include "timer.h"

static struct lock deadline_lock;
static struct executor *heap;            /* under deadline_lock */
static uint64_t nearest = DEADLINE_NONE; /* written under it */

static uint64_t rank(const struct executor *node) {
    return node != NULL ? node->heap_rank : 0;
}

/* Make the order of a node's children and its rank right, given that theirs
 * are. Returns whether its rank was not. */
static bool settle(struct executor *node) {
    struct executor *left = node->heap_left, *right = node->heap_right;
    uint64_t before = node->heap_rank;
    if (rank(left) < rank(right)) {
        node->heap_left = right;
        node->heap_right = left;
    }
    node->heap_rank = rank(node->heap_right) + 1;
    return node->heap_rank != before;
}

/*
 * Put one heap of two in the place of *link, a link of `parent`: down the right
 * spines, then up again as far as ranks change. All change that were passed on
 * the way down, being 0 since; of those above, each is greater than the one
 * before: O(log n) of them, too.
 */
static void merge(struct executor *one, struct executor *other, struct executor **link,
                  struct executor *parent) {
    while (one != NULL && other != NULL) {
        struct executor **nearer = other->deadline < one->deadline ? &other : &one;
        struct executor *node = *nearer;
        *nearer = node->heap_right;
        node->heap_rank = 0;
        node->heap_parent = parent;
        *link = node;
        link = &node->heap_right;
        parent = node;
    }
    *link = one != NULL ? one : other;
    if (*link != NULL) (*link)->heap_parent = parent;
    while (parent != NULL && settle(parent)) parent = parent->heap_parent;
    __atomic_store_n(&nearest, heap != NULL ? heap->deadline : DEADLINE_NONE, __ATOMIC_RELAXED);
}

static void heap_remove(struct executor *node) {
    struct executor *parent = node->heap_parent, **link = &heap;
    if (parent != NULL) link = parent->heap_left == node ? &parent->heap_left : &parent->heap_right;
    merge(node->heap_left, node->heap_right, link, parent);
    node->heap_left = node->heap_right = NULL;
    node->heap_rank = 0;
}

void deadline_insert(struct executor *executor, uint64_t deadline, uint64_t sequence) {
    KERNEL_ASSERT(deadline != DEADLINE_NONE);
    executor_get(executor);
    lock_acquire(&deadline_lock, LOCK_DEADLINES);
    executor->deadline = deadline;
    executor->deadline_sequence = sequence;
    executor->heap_rank = 1;
    merge(heap, executor, &heap, NULL);
    lock_release(&deadline_lock, LOCK_DEADLINES);
    timer_no_later(deadline);
}

/* Here, and not in heap_remove, the deadline is forgotten: deadline_expire takes out
 * what another hart may hold, and that reads it without the lock. */
void deadline_take_out(struct executor *executor) {
    lock_acquire(&deadline_lock, LOCK_DEADLINES);
    bool inside = executor->heap_rank != 0;
    if (inside) heap_remove(executor);
    executor->deadline = DEADLINE_NONE;
    lock_release(&deadline_lock, LOCK_DEADLINES);
    if (inside) executor_put(executor);
}

void deadline_expire(uint64_t now) {
    if (deadline_nearest() > now) return;
    lock_acquire(&deadline_lock, LOCK_DEADLINES);
    /* So many at most in one go, with interrupts off. */
    for (int left = 64; left > 0 && heap != NULL && heap->deadline <= now; left--) {
        struct executor *executor = heap;
        heap_remove(executor);
        /* The heap's reference goes to the queue, or back. */
        if (park_timeout(executor, executor->deadline_sequence))
            scheduler_enqueue(executor);
        else
            executor_put(executor);
    }
    lock_release(&deadline_lock, LOCK_DEADLINES);
}

uint64_t deadline_nearest(void) {
    return __atomic_load_n(&nearest, __ATOMIC_RELAXED);
}
