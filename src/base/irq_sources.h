/* SPDX-License-Identifier: MIT */
/*
 * Interrupts that come as eventfds: of passed-through devices, from the host's kernel or
 * from another process.
 *
 * A source is an eventfd and a function to call when it was written. Two kinds of threads
 * wait for all sources of a set:
 *
 *	the set's own thread	always there as soon as there is a source
 *	idle CPUs		which have to wait for something anyway
 *
 * A wake-up of a sleeping thread is the larger part of what an interrupt costs. An idle CPU
 * that waits for the eventfd itself takes the interruption after one wake-up; if the set's
 * thread told it, there would be two. So an event wakes one thread: an idle CPU where there
 * is one, else the set's thread. Without idle CPUs nobody has to leave guest code.
 *
 * Each set has two epoll instances, one for each kind, and an eventfd is in both with
 * EPOLLEXCLUSIVE: the kernel tells the instances in the order in which the eventfd was put
 * into them, until one has a thread waiting. That the CPUs' comes first is only a matter of
 * speed. What must hold is that a thread that the kernel has told looks: so a CPU that
 * stops waiting, for whatever reason, serves what has come before it does anything else.
 * EPOLLET: without it, each event would be passed on from the thread that took it
 * to the next one, to see whether something is left.
 *
 * A CPU that looks again and again instead of waiting is nobody whom the kernel could tell, and
 * it would wake the set's thread, which would take the CPU's place to find nothing. So the
 * thread waits for its epoll instance by another one, where it is left out for as long
 * as somebody looks (irq_sources_watch()).
 *
 * Source: epoll_ctl(2), epoll(7), eventfd(2).
 */
#ifndef ZVISOR_BASE_IRQ_SOURCES_H
#define ZVISOR_BASE_IRQ_SOURCES_H

#include <stdbool.h>
#include <stdint.h>

struct epoll_event;
struct irq_source;
struct irq_sources;

/*
 * The eventfd was written, once or several times since the last call. On the set's thread or
 * a CPU's, also on two of them at once; shall not block, and shall not remove a source.
 */
typedef void irq_source_callback(void *opaque);

/* NULL with errno set when descriptors or memory lack. */
struct irq_sources *irq_sources_create(void);
/* NULL is allowed. All sources were removed, and no CPU calls irq_sources_serve() any more. */
void irq_sources_destroy(struct irq_sources *sources);

/*
 * Call `callback` whenever `fd` is written; if it was written already, soon. `fd` is an
 * eventfd with EFD_NONBLOCK, whatever another process that has it does to that later
 * (base/event.h); it stays the caller's, and open until the source is removed.
 * 0 or -errno: -EINVAL when it would block, -EEXIST when it is a source of this set already,
 * -ENOSPC above /proc/sys/fs/epoll/max_user_watches. Any thread.
 */
int irq_source_add(struct irq_sources *sources, int fd, irq_source_callback *callback, void *opaque,
		   struct irq_source **source);
/* When it returns, the callback does not run and will not. Any thread but in a callback. */
void irq_source_remove(struct irq_source *source);

/* For idle CPUs. Is there any source? Costs a load. */
bool irq_sources_any(const struct irq_sources *sources);
/* The epoll instance that they wait for. */
int irq_sources_idle_fd(const struct irq_sources *sources);
/*
 * One begins to look at it again and again without waiting, or looks no more: what comes
 * in between is left to it. What it has not served by then is the thread's again.
 */
void irq_sources_watch(struct irq_sources *sources, bool on);
/* They got these events from it. */
void irq_sources_serve(struct irq_sources *sources, const struct epoll_event *events,
		       unsigned int count);
/*
 * For any CPU: look for `ns` nanoseconds, or until something has come; false: nothing has,
 * or another thread wants this one's CPU.
 */
bool irq_sources_look(struct irq_sources *sources, uint64_t ns);
/* Their wait ended for another reason, or there was no room for more: look what has come. */
void irq_sources_serve_rest(struct irq_sources *sources);

#endif
