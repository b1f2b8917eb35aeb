/* SPDX-License-Identifier: MIT */
/*
 * The machine's devices: made, plugged into libzpci, and taken out again.
 *
 * A device goes in two ways. Asked for (the usual one), the guest is told and gives
 * its function back by SCLP deconfigure; the vCPU that does it only leaves a note, and
 * the main thread removes the device, as removing waits for what the device has in
 * flight. By force it is removed by whoever says so, and the guest sees that it is gone.
 * A reset gives back what was asked for, as on QEMU (s390_pcihost_reset()): the guest
 * that was asked is no more.
 *
 * Locks: `plug_lock` is held while a device comes or goes, and is the outermost of
 * all; no vCPU's thread takes it. `list_lock` guards the list and the notes, for
 * moments.
 */
#ifndef ZVISOR_MACHINE_DEVICES_H
#define ZVISOR_MACHINE_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct machine;

/*
 * Make and plug the devices of the machine's configuration. Negative errno and one
 * line in `error` on failure; -EIO and -ENOMEM are failures of the host, the rest
 * wrong requests.
 */
int machine_devices_create(struct machine *machine, char *error, size_t error_size);

/* Free them. They are unplugged: libzpci is gone. */
void machine_devices_destroy(struct machine *machine);

/* Is there one at all? */
bool machine_devices_present(const struct machine *machine);

/* On a vCPU's thread: the guest has given the function back … */
void machine_device_deconfigured(struct machine *machine, uint32_t fid);

/* … or has said, by configuring what it has configured already, that it keeps it. */
void machine_device_kept(struct machine *machine, uint32_t fid);

/*
 * The main thread, when it was woken: remove what the guest has given back, or what was
 * taken away from it. False: something that is under way in the host keeps a device; to be
 * tried again.
 */
bool machine_devices_finish(struct machine *machine);

/* The main thread, for a reset, before libzpci is reset. No vCPU runs, devices are quiet. */
void machine_devices_reset(struct machine *machine);

/*
 * memory_clear(), but not while a device comes: one that pins memory shall find the pages that
 * stay. The main thread, for a reset.
 */
int machine_devices_clear_memory(struct machine *machine);

#endif
