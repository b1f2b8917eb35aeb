/* SPDX-License-Identifier: MIT */
/*
 * Connecting to a server of vfio-user, for the first time and again.
 *
 * What a server says of its device is checked once, here. Registers that it lets us map are
 * mapped if they cannot be taken away under us: the file is sealed against shrinking.
 *
 * A server that has come back is asked the same. Its registers are mapped anywhere first; only
 * when the device is known to be the same one, area by area, do they go where those of the
 * first one have been.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "devices/device.h"
#include "vfio/user_client_internal.h"
#include "vfio/user_version.h"

#define REGION_INFO_MAX 4096 /* with its capabilities */
#define CAPABILITIES_MAX 16
#define RETRY_NS 20000000

__attribute__((format(printf, 4, 5))) static int say(char *error, size_t size, int rc,
						     const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, size, format, args);
	va_end(args);
	return rc;
}

/* --- the socket -------------------------------------------------------------------------- */

static int open_socket(const char *path, char *error, size_t error_size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat there;
	int fd, rc;

	if (strlen(path) >= sizeof(address.sun_path))
		return say(error, error_size, -EINVAL,
			   "longer than the %zu bytes that a socket's name can have",
			   sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return say(error, error_size, -EIO, "%s", strerror(errno));
	/* Without O_NONBLOCK, a server that does not accept would be waited for. */
	rc = connect(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	if (!rc && fcntl(fd, F_SETFL, 0))
		rc = -errno;
	if (!rc)
		return fd;
	close(fd);
	if (rc == -ECONNREFUSED && !stat(path, &there) && !S_ISSOCK(there.st_mode))
		return say(error, error_size, -ENOTSOCK, "is not a socket");
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		return say(error, error_size, rc,
			   "nobody listens there; start the server first (zvisor device "
			   "TYPE,...,socket=PATH)");
	if (rc == -EACCES)
		return say(error, error_size, rc, "%s: the server runs as another user",
			   strerror(-rc));
	return say(error, error_size, rc, "%s", strerror(-rc));
}

/* --- what the server says ------------------------------------------------------------------ */

static int call(struct user_channel *channel, struct user_request *request, uint64_t until)
{
	int rc;

	request->until = until;
	rc = user_channel_call(channel, request);
	if (rc && request->reply_fd >= 0) {
		close(request->reply_fd);
		request->reply_fd = -1;
	}
	return rc;
}

/* A structure there and back; 0 also means that all of it came. */
static int ask(struct user_channel *channel, unsigned command, void *info, uint32_t size,
	       uint64_t until)
{
	struct user_request request = {
		.command = command,
		.parts = { { info, size } },
		.part_count = 1,
		.reply = info,
		.reply_max = size,
	};
	int rc = call(channel, &request, until);

	if (request.reply_fd >= 0)
		close(request.reply_fd);
	return rc ? rc : request.reply_length == size ? 0 : -EPROTO;
}

/* If there is none all goes over the socket. */
static void offer_ring(struct user_channel *channel, uint64_t until)
{
	int fd;
	struct user_ring *ring = user_ring_new(&fd);
	struct user_request request = { .command = USER_RING, .fds = &fd, .fd_count = 1 };

	if (!ring)
		return;
	if (call(channel, &request, until))
		user_ring_free(ring);
	else
		user_channel_set_ring(channel, ring);
	if (request.reply_fd >= 0)
		close(request.reply_fd);
	close(fd);
}

static int agree_on_version(struct user_client *c, struct user_channel *channel, uint64_t until,
			    char *error, size_t error_size)
{
	uint8_t reply[sizeof(struct user_version) + USER_VERSION_TEXT_MAX];
	struct user_capabilities peer;
	struct user_version_text ours;
	struct user_request request = {
		.command = USER_VERSION,
		.reply = reply,
		.reply_max = sizeof(reply),
	};
	const char *why = NULL;
	int rc;

	user_version_compose(&ours, USER_VERSION_MINOR, true, true);
	request.parts[0] = (struct iovec){ &ours.version, sizeof(ours.version) };
	request.parts[1] = (struct iovec){ ours.text, ours.length };
	request.part_count = 2;
	rc = call(channel, &request, until);
	if (rc)
		return say(error, error_size, rc, "no version is agreed on");
	if (request.reply_fd >= 0)
		close(request.reply_fd);
	if (user_version_parse(reply, request.reply_length, &peer, &why))
		return say(error, error_size, -EPROTO, "the server's version: %s", why);
	if (peer.major != USER_VERSION_MAJOR || peer.minor > USER_VERSION_MINOR)
		return say(error, error_size, -EPROTO, "the server speaks version %u.%u, not %u.%u",
			   peer.major, peer.minor, USER_VERSION_MAJOR, USER_VERSION_MINOR);
	if (!(peer.page_sizes & PAGE_SIZE))
		return say(error, error_size, -EPROTO, "the server cannot map pages of 4 KiB");
	if (!peer.regions_max || (c->share_memory && !peer.fds_max) ||
	    peer.transfer_max < USER_TRANSFER_MIN)
		return say(error, error_size, -EPROTO, "the server takes too little");
	c->regions_max = peer.regions_max;
	c->maps_posted = peer.maps_posted;
	c->has_file = false;
	user_channel_set_limits(channel, peer.transfer_max, peer.fds_max);
	if (peer.ring && peer.fds_max)
		offer_ring(channel, until);
	return 0;
}

/* --- regions ----------------------------------------------------------------------------------- */

static bool is_in_file(int fd, uint64_t start, uint64_t offset, uint64_t length)
{
	struct stat status;

	return !fstat(fd, &status) && status.st_size >= 0 &&
	       range_fits(start, offset, (uint64_t)status.st_size) &&
	       range_fits(start + offset, length, (uint64_t)status.st_size);
}

static void map_area(struct passthrough_region *region, int fd, uint64_t start, uint64_t offset,
		     uint64_t length)
{
	void *host;

	if (!length || region->areas == PASSTHROUGH_AREAS_MAX ||
	    !range_fits(offset, length, region->size) || !is_in_file(fd, start, offset, length))
		return;
	host = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(start + offset));
	if (host != MAP_FAILED)
		region->area[region->areas++] = (struct passthrough_area){ offset, length, host };
}

/* The list of areas; false: the whole region is one. */
static bool find_sparse(const uint8_t *reply, uint32_t length, uint32_t at,
			struct vfio_region_info_cap_sparse_mmap *sparse, uint32_t *areas)
{
	struct vfio_info_cap_header header;

	for (unsigned i = 0; i < CAPABILITIES_MAX && at; i++, at = header.next) {
		if (!range_fits(at, sizeof(header), length))
			return false;
		memcpy(&header, reply + at, sizeof(header));
		if (header.id != VFIO_REGION_INFO_CAP_SPARSE_MMAP ||
		    !range_fits(at, sizeof(*sparse), length))
			continue;
		memcpy(sparse, reply + at, sizeof(*sparse));
		*areas = at + (uint32_t)sizeof(*sparse);
		return true;
	}
	return false;
}

static void map_region(struct passthrough_region *region, const uint8_t *reply, uint32_t length,
		       int fd)
{
	struct vfio_region_info_cap_sparse_mmap sparse;
	struct vfio_region_sparse_mmap_area area;
	struct user_region_info info;
	uint32_t at;

	memcpy(&info, reply, sizeof(info));
	if (!user_file_can_be_mapped(fd, F_SEAL_SHRINK))
		return;
	if (!(info.flags & VFIO_REGION_INFO_FLAG_CAPS) ||
	    !find_sparse(reply, length, info.cap_offset, &sparse, &at)) {
		map_area(region, fd, info.offset, 0, region->size);
		return;
	}
	for (uint32_t i = 0; i < sparse.nr_areas && range_fits(at, sizeof(area), length); i++) {
		memcpy(&area, reply + at, sizeof(area));
		map_area(region, fd, info.offset, area.offset, area.size);
		at += (uint32_t)sizeof(area);
	}
}

static int learn_region(struct user_channel *channel, unsigned index,
			struct passthrough_region *region, uint64_t until)
{
	uint8_t reply[REGION_INFO_MAX];
	struct user_region_info info = { .argsz = sizeof(reply), .index = index };
	struct user_request request = {
		.command = USER_DEVICE_GET_REGION_INFO,
		.parts = { { &info, sizeof(info) } },
		.part_count = 1,
		.reply = reply,
		.reply_max = sizeof(reply),
	};
	int rc = call(channel, &request, until);

	*region = (struct passthrough_region){ 0 };
	if (rc == -EINVAL)
		return 0;
	if (rc)
		return rc;
	if (request.reply_length >= sizeof(info)) {
		memcpy(&info, reply, sizeof(info));
		region->size = info.size;
		if (request.reply_fd >= 0 && info.flags & VFIO_REGION_INFO_FLAG_MMAP)
			map_region(region, reply, request.reply_length, request.reply_fd);
	} else {
		rc = -EPROTO;
	}
	if (request.reply_fd >= 0)
		close(request.reply_fd);
	return rc;
}

void user_client_forget_regions(struct user_client_identity *identity)
{
	for (unsigned r = 0; r < ARRAY_SIZE(identity->regions); r++) {
		struct passthrough_region *region = &identity->regions[r];

		while (region->areas) {
			region->areas--;
			munmap(region->area[region->areas].host,
			       region->area[region->areas].length);
		}
	}
}

/*
 * The areas of `identity` take the places that those of `known`, the same ones, have. A place
 * is never empty: another thread may be using it.
 */
static int replace_regions(struct user_client_identity *identity,
			   const struct user_client_identity *known)
{
	for (unsigned r = 0; r < ARRAY_SIZE(identity->regions); r++) {
		struct passthrough_region *region = &identity->regions[r];

		while (region->areas) {
			const unsigned a = region->areas - 1;

			if (mremap(region->area[a].host, region->area[a].length,
				   region->area[a].length, MREMAP_MAYMOVE | MREMAP_FIXED,
				   known->regions[r].area[a].host) == MAP_FAILED)
				return -errno;
			region->areas = a;
		}
	}
	return 0;
}

/* --- the device ---------------------------------------------------------------------------------- */

static int learn_id(struct user_channel *channel, struct user_client_identity *identity,
		    uint64_t until)
{
	struct {
		struct user_region_access access;
		uint32_t id;
	} reply = { { 0, VFIO_PCI_CONFIG_REGION_INDEX, sizeof(reply.id) }, 0 };
	struct user_request request = {
		.command = USER_REGION_READ,
		.parts = { { &reply.access, sizeof(reply.access) } },
		.part_count = 1,
		.reply = &reply,
		.reply_max = (uint32_t)sizeof(reply.access) + (uint32_t)sizeof(reply.id),
	};
	int rc = call(channel, &request, until);

	if (request.reply_fd >= 0)
		close(request.reply_fd);
	identity->id = reply.id;
	return rc ? rc : request.reply_length == request.reply_max ? 0 : -EPROTO;
}

static int learn_device(struct user_channel *channel, struct user_client_identity *identity,
			uint64_t until, char *error, size_t error_size)
{
	struct user_device_info device = { .argsz = sizeof(device) };
	int rc = ask(channel, USER_DEVICE_GET_INFO, &device, sizeof(device), until);

	if (rc)
		return say(error, error_size, rc, "the server says nothing of its device");
	identity->flags = device.flags;
	if (!(device.flags & VFIO_DEVICE_FLAGS_PCI) ||
	    device.regions <= VFIO_PCI_CONFIG_REGION_INDEX)
		return say(error, error_size, -EINVAL, "its device is no PCI function");
	for (unsigned r = 0; !rc && r < MIN(device.regions, VFIO_PCI_NUM_REGIONS); r++)
		rc = learn_region(channel, r, &identity->regions[r], until);
	for (unsigned i = 0; !rc && i < MIN(device.irqs, VFIO_PCI_NUM_IRQS); i++) {
		struct user_irq_info irq = { .argsz = sizeof(irq), .index = i };

		rc = ask(channel, USER_DEVICE_GET_IRQ_INFO, &irq, sizeof(irq), until);
		if (!rc && irq.flags & VFIO_IRQ_INFO_EVENTFD)
			identity->irqs[i] = irq.count;
		if (rc == -EINVAL)
			rc = 0;
	}
	if (!rc)
		rc = learn_id(channel, identity, until);
	return rc ? say(error, error_size, rc, "the server says too little of its device") : 0;
}

static bool is_same_device(const struct user_client_identity *a,
			   const struct user_client_identity *b)
{
	bool same = a->flags == b->flags && a->id == b->id &&
		    !memcmp(a->irqs, b->irqs, sizeof(a->irqs));

	for (unsigned r = 0; same && r < ARRAY_SIZE(a->regions); r++) {
		const struct passthrough_region *left = &a->regions[r], *right = &b->regions[r];

		same = left->size == right->size && left->areas == right->areas;
		for (unsigned i = 0; same && i < left->areas; i++)
			same = left->area[i].offset == right->area[i].offset &&
			       left->area[i].length == right->area[i].length;
	}
	return same;
}

/*
 * The identity's areas are the caller's, if it returns 0. `until` 0: the server has its time from
 * now on.
 */
static int connect_once(struct user_client *c, struct user_channel **result,
			struct user_client_identity *identity, uint64_t until, char *error,
			size_t error_size)
{
	struct user_channel *channel;
	int fd = open_socket(c->path, error, error_size);
	const char *hint = "";
	char why[200];
	int rc;

	if (fd < 0)
		return fd;
	if (!until)
		until = user_client_deadline(c);
	channel = user_channel_new(fd, c->timeout_ms, &user_client_channel_ops, c);
	if (!channel) {
		close(fd);
		return say(error, error_size, -ENOMEM, "out of memory");
	}
	*identity = (struct user_client_identity){ 0 };
	rc = agree_on_version(c, channel, until, error, error_size);
	/* It was connected by the kernel: whether the server has accepted it is not known. */
	if (rc && deadline_is_past(until))
		hint = "; it may be serving another client (one at a time)";
	if (!rc)
		rc = learn_device(channel, identity, until, error, error_size);
	if (!rc) {
		*result = channel;
		return 0;
	}
	user_channel_why(channel, why, sizeof(why));
	if (*why)
		rc = say(error, error_size, -EPROTO, "the server is not usable: %s%s", why, hint);
	user_channel_free(channel);
	user_client_forget_regions(identity);
	return rc;
}

/* Until `end`, a server that is not there, or has too many who wait for it, is tried again. */
static int connect_patiently(struct user_client *c, struct user_channel **channel,
			     struct user_client_identity *identity, uint64_t end, uint64_t until,
			     char *error, size_t error_size)
{
	const struct timespec pause = { .tv_nsec = RETRY_NS };

	for (;;) {
		int rc = connect_once(c, channel, identity, until, error, error_size);

		if (rc != -ENOENT && rc != -ECONNREFUSED && rc != -EAGAIN)
			return rc;
		if (c->quit || deadline_is_past(end))
			return rc;
		nanosleep(&pause, NULL);
	}
}

int user_client_connect(struct user_client *c, char *error, size_t error_size)
{
	return connect_patiently(c, &c->channel, &c->identity, deadline_in_ms(USER_CLIENT_START_MS),
				 0, error, error_size);
}

/* --- again ------------------------------------------------------------------------------------------ */

/* What is mapped, as a list: while the server is told of it, it may ask for memory. */
struct region_list {
	struct user_region *regions;
	size_t count, room;
};

static void add_region(void *opaque, const struct user_region *region)
{
	struct region_list *list = opaque;

	if (list->count < list->room)
		list->regions[list->count++] = *region;
}

static int restore_mappings(struct user_client *c, uint64_t until)
{
	struct region_list list = { .room = user_memory_count(c->mapped) };
	int rc = 0;

	list.regions = calloc(list.room + 1, sizeof(*list.regions));
	if (!list.regions)
		return -ENOMEM;
	user_memory_each(c->mapped, add_region, &list);
	if (list.count > c->regions_max)
		rc = -ENOSPC;
	if (!rc)
		rc = user_client_tell_maps(c, list.regions, list.count, true, until);
	free(list.regions);
	return rc;
}

static int restore(struct user_client *c, uint64_t until)
{
	int rc = restore_mappings(c, until);

	if (!rc && c->error_fd >= 0)
		rc = user_client_set_irqs(c, VFIO_PCI_ERR_IRQ_INDEX, 0, 1, &c->error_fd, until);
	if (!rc && c->request_fd >= 0)
		rc = user_client_set_irqs(c, VFIO_PCI_REQ_IRQ_INDEX, 0, 1, &c->request_fd, until);
	if (rc)
		user_channel_end(c->channel, "it does not take what was set before");
	return rc;
}

int user_client_reconnect(struct user_client *c, uint64_t end, uint64_t until, char *error,
			  size_t error_size)
{
	struct user_client_identity identity;
	struct user_channel *channel;
	int rc;

	rc = connect_patiently(c, &channel, &identity, end, until, error, error_size);
	if (rc)
		return rc;
	rc = is_same_device(&identity, &c->identity) ? replace_regions(&identity, &c->identity) :
						       -ENODEV;
	if (rc) {
		user_client_forget_regions(&identity);
		user_channel_free(channel);
		return say(error, error_size, rc,
			   rc == -ENODEV ? "it serves another device" :
					   "its registers cannot be mapped");
	}
	user_channel_free(c->channel);
	c->channel = channel;
	c->connections++;
	rc = restore(c, until);
	return rc ? say(error, error_size, rc, "it does not take what was set before: %s",
			strerror(-rc)) :
		    0;
}
