/*
 * Interrupts from hart to hart. They carry no message: the receiver looks at
 * what may have changed (its executor's state word, the run queue, a panic).
 */
#pragma once
#include "hart.h"

/* What this hart stored before is seen by the interrupted hart. */
void ipi_send(struct hart *hart);

/* On the interrupted hart: from here on it sees what the sender stored. A hart
 * that finds a panic going on stops here. */
void ipi_receive(void);
