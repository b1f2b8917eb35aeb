/* SPDX-License-Identifier: MIT */
/*
 * Loading of kernel, initrd and command line; see ipl.h.
 *
 * Files are what a person named, not what a guest wrote, but they are data all
 * the same: every offset, size and address in them is checked before use.
 */
#include "machine/ipl.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "cpu/arch.h"
#include "machine/memory.h"

/* The interface of a Linux kernel image, absolute addresses. */
#define LINUX_ENTRY 0x10000
#define LINUX_MAGIC 0x10008 /* "S390EP" */
#define LINUX_INITRD_START 0x10408
#define LINUX_INITRD_SIZE 0x10410
#define LINUX_COMMAND_LINE_SIZE 0x10430 /* 0 in kernels that know only the legacy size */
#define LINUX_COMMAND_LINE 0x10480
#define LINUX_COMMAND_LINE_LEGACY 896
#define LINUX_SALIPL_ENTRY 0x800 /* ELF entry point of kernels up to 3.2 */

#define INITRD_LOWEST (8 * MIB)
#define INITRD_DISTANCE MIB /* from the end of the kernel, at least */
#define PROGRAM_HEADERS_MAX 64

struct loader {
	const struct ipl_request *request;
	struct memory *memory;
	char *error;
	size_t error_size;
	/* The kernel's */
	uint64_t entry;
	uint64_t end; /* lowest absolute address above it */
	bool is_linux;
};

struct file {
	const char *option;
	const char *name;
	int fd;
	uint64_t size;
};

static int __attribute__((format(printf, 3, 4)))
fail(struct loader *loader, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(loader->error, loader->error_size, format, args);
	va_end(args);
	return error;
}

static int file_open(struct loader *loader, struct file *file, const char *option,
		     const char *name)
{
	struct stat status;
	int error;

	*file = (struct file){ .option = option, .name = name, .fd = -1 };
	file->fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0) {
		error = errno;
		return fail(loader, -error, "%s %s: %s", option, name, strerror(error));
	}
	if (fstat(file->fd, &status)) {
		error = errno;
		close(file->fd);
		return fail(loader, -EIO, "%s %s: %s", option, name, strerror(error));
	}
	if (!S_ISREG(status.st_mode)) {
		close(file->fd);
		return fail(loader, -EINVAL, "%s %s: not a file%s", option, name,
			    S_ISDIR(status.st_mode) ? " but a directory" : "");
	}
	file->size = (uint64_t)status.st_size;
	return 0;
}

/* All of it, from `offset` on; a file that has become shorter is a failure. */
static int file_read(struct loader *loader, const struct file *file, uint64_t offset, void *to,
		     uint64_t length)
{
	char *next = to;

	while (length) {
		/* One call of the kernel reads at most 2 GiB less a page. */
		size_t piece = (size_t)MIN(length, GIB);
		ssize_t done = pread(file->fd, next, piece, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return fail(loader, -EIO, "%s %s: %s", file->option, file->name,
				    strerror(errno));
		if (!done)
			return fail(loader, -EIO, "%s %s: ends while it is read", file->option,
				    file->name);
		next += done;
		offset += (uint64_t)done;
		length -= (uint64_t)done;
	}
	return 0;
}

static unsigned long long mib_up(uint64_t bytes)
{
	return (bytes + MIB - 1) / MIB;
}

/* Is what was loaded a Linux kernel, with its parameter area? */
static bool has_linux_parameters(const struct loader *loader)
{
	return loader->end > LINUX_COMMAND_LINE + LINUX_COMMAND_LINE_LEGACY &&
	       !memcmp(loader->memory->base + LINUX_MAGIC, "S390EP", 6);
}

/* --- ELF ------------------------------------------------------------------ */

/* Ehdr and Phdr in guest byte order; the layouts are elf.h's. */
static uint16_t half(const Elf64_Half *field)
{
	return load_be16(field);
}

static uint32_t word(const Elf64_Word *field)
{
	return load_be32(field);
}

static uint64_t xword(const uint64_t *field)
{
	return load_be64(field);
}

static int load_segment(struct loader *loader, const struct file *file, const Elf64_Phdr *header)
{
	uint64_t offset = xword(&header->p_offset);
	uint64_t file_size = xword(&header->p_filesz);
	uint64_t size = xword(&header->p_memsz);
	uint64_t address = xword(&header->p_paddr);
	int rc;

	if (file_size > size || !range_fits(offset, file_size, file->size))
		return fail(loader, -ENOEXEC,
			    "%s %s: a program header points outside of the file",
			    file->option, file->name);
	if (!size)
		return 0;
	if (!range_fits(address, size, loader->memory->size))
		return fail(loader, -ENOSPC,
			    "%s %s: wants memory at 0x%llx to 0x%llx, the guest has %llu MiB",
			    file->option, file->name, (unsigned long long)address,
			    (unsigned long long)(address + size - 1),
			    (unsigned long long)(loader->memory->size / MIB));
	rc = file_read(loader, file, offset, loader->memory->base + address, file_size);
	loader->end = MAX(loader->end, address + size);
	return rc;
}

static bool segments_overlap(const Elf64_Phdr *headers, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		for (unsigned int j = 0; j < i; j++) {
			uint64_t a = xword(&headers[i].p_paddr), b = xword(&headers[j].p_paddr);
			uint64_t a_size = xword(&headers[i].p_memsz);
			uint64_t b_size = xword(&headers[j].p_memsz);

			if (word(&headers[i].p_type) != PT_LOAD ||
			    word(&headers[j].p_type) != PT_LOAD)
				continue;
			if (a_size && b_size && (a < b ? b - a < a_size : a - b < b_size))
				return true;
		}
	}
	return false;
}

static int load_elf(struct loader *loader, const struct file *file, const Elf64_Ehdr *header)
{
	Elf64_Phdr headers[PROGRAM_HEADERS_MAX];
	unsigned int count = half(&header->e_phnum);
	uint64_t offset = xword(&header->e_phoff);
	bool loaded = false;
	int rc;

	if (header->e_ident[EI_CLASS] != ELFCLASS64 ||
	    header->e_ident[EI_DATA] != ELFDATA2MSB || half(&header->e_machine) != EM_S390)
		return fail(loader, -ENOEXEC, "%s %s: an ELF file of another machine, not s390x",
			    file->option, file->name);
	if (half(&header->e_type) != ET_EXEC && half(&header->e_type) != ET_DYN)
		return fail(loader, -ENOEXEC, "%s %s: an ELF file, but not an executable",
			    file->option, file->name);
	if (half(&header->e_phentsize) != sizeof(Elf64_Phdr) || !count ||
	    count > PROGRAM_HEADERS_MAX ||
	    !range_fits(offset, count * sizeof(Elf64_Phdr), file->size))
		return fail(loader, -ENOEXEC, "%s %s: an ELF file without usable program headers",
			    file->option, file->name);
	rc = file_read(loader, file, offset, headers, count * sizeof(Elf64_Phdr));
	if (rc)
		return rc;
	if (segments_overlap(headers, count))
		return fail(loader, -ENOEXEC, "%s %s: an ELF file whose segments overlap",
			    file->option, file->name);
	for (unsigned int i = 0; i < count; i++) {
		if (word(&headers[i].p_type) != PT_LOAD)
			continue;
		rc = load_segment(loader, file, &headers[i]);
		if (rc)
			return rc;
		loaded = true;
	}
	loader->entry = xword(&header->e_entry);
	if (!loaded || (loader->entry & 1) || loader->entry >= loader->end)
		return fail(loader, -ENOEXEC, "%s %s: an ELF file with nothing to enter",
			    file->option, file->name);
	loader->is_linux = (loader->entry == LINUX_ENTRY ||
			    loader->entry == LINUX_SALIPL_ENTRY) &&
			   has_linux_parameters(loader);
	return 0;
}

/* --- raw images ------------------------------------------------------------ */

/*
 * A short (ESA/390) PSW that could start something: bit 12 one, 31-bit
 * addressing, no DAT, an instruction address inside the image.
 */
static bool ipl_psw_usable(uint64_t psw, uint64_t size)
{
	uint64_t address = psw & 0x7fffffff;

	return (psw & PSW_BIT12) && (psw & PSW_BA) && !(psw & (PSW_DAT | PSW_WAIT)) &&
	       !(address & 1) && address >= 8 && address < size;
}

static int load_raw(struct loader *loader, const struct file *file)
{
	uint64_t psw;
	int rc;

	if (file->size < 16)
		return fail(loader, -ENOEXEC, "%s %s: neither an ELF file nor a kernel image for s390x",
			    file->option, file->name);
	if (file->size > loader->memory->size)
		return fail(loader, -ENOSPC, "%s %s: %llu MiB do not fit into %llu MiB of memory",
			    file->option, file->name, mib_up(file->size),
			    (unsigned long long)(loader->memory->size / MIB));
	rc = file_read(loader, file, 0, loader->memory->base, file->size);
	if (rc)
		return rc;
	loader->end = file->size;
	if (has_linux_parameters(loader)) {
		loader->is_linux = true;
		loader->entry = LINUX_ENTRY;
		return 0;
	}
	psw = load_be64(loader->memory->base);
	if (!ipl_psw_usable(psw, file->size))
		return fail(loader, -ENOEXEC,
			    "%s %s: neither an ELF file nor a kernel image for s390x",
			    file->option, file->name);
	loader->entry = psw & 0x7fffffff;
	return 0;
}

/* -------------------------------------------------------------------------- */

static int load_kernel(struct loader *loader)
{
	union {
		Elf64_Ehdr elf;
		unsigned char bytes[sizeof(Elf64_Ehdr)];
	} header = { 0 };
	struct file file;
	int rc;

	rc = file_open(loader, &file, "--kernel", loader->request->kernel);
	if (rc)
		return rc;
	rc = file_read(loader, &file, 0, &header, MIN(file.size, sizeof(header)));
	if (!rc) {
		if (!memcmp(header.bytes, ELFMAG, SELFMAG))
			rc = load_elf(loader, &file, &header.elf);
		else
			rc = load_raw(loader, &file);
	}
	close(file.fd);
	return rc;
}

static int load_command_line(struct loader *loader)
{
	const char *append = loader->request->append;
	uint64_t most;
	char *area;

	if (!append)
		append = "";
	if (!loader->is_linux)
		return !*append ? 0 : fail(loader, -EINVAL,
					   "--append: %s is not a Linux kernel and takes no command line",
					   loader->request->kernel);
	most = load_be64(loader->memory->base + LINUX_COMMAND_LINE_SIZE);
	if (!most)
		most = LINUX_COMMAND_LINE_LEGACY;
	most = MIN(most, loader->end - LINUX_COMMAND_LINE);
	if (strlen(append) >= most)
		return fail(loader, -ENOSPC,
			    "--append: %zu characters, this kernel takes at most %llu",
			    strlen(append), (unsigned long long)(most - 1));
	/* The image has a default there; what is given replaces all of it. */
	area = (char *)loader->memory->base + LINUX_COMMAND_LINE;
	memset(area, 0, most);
	memcpy(area, append, strlen(append));
	return 0;
}

static int load_initrd(struct loader *loader)
{
	struct file file;
	uint64_t start;
	int rc;

	if (!loader->request->initrd)
		return 0;
	rc = file_open(loader, &file, "--initrd", loader->request->initrd);
	if (rc)
		return rc;
	start = (loader->end + INITRD_DISTANCE + MIB - 1) & ~(MIB - 1);
	start = MAX(start, INITRD_LOWEST);
	if (!loader->is_linux)
		rc = fail(loader, -EINVAL, "--initrd %s: %s is not a Linux kernel and takes none",
			  file.name, loader->request->kernel);
	else if (!file.size)
		rc = fail(loader, -EINVAL, "--initrd %s: the file is empty", file.name);
	else if (!range_fits(start, file.size, loader->memory->size))
		rc = fail(loader, -ENOSPC,
			  "--initrd %s: %llu MiB do not fit behind the kernel (ending at %llu MiB) into %llu MiB of memory",
			  file.name, mib_up(file.size), mib_up(loader->end),
			  (unsigned long long)(loader->memory->size / MIB));
	else
		rc = file_read(loader, &file, 0, loader->memory->base + start, file.size);
	if (!rc) {
		store_be64(loader->memory->base + LINUX_INITRD_START, start);
		store_be64(loader->memory->base + LINUX_INITRD_SIZE, file.size);
	}
	close(file.fd);
	return rc;
}

int ipl_load(const struct ipl_request *request, struct memory *memory, struct ipl_entry *entry,
	     char *error, size_t error_size)
{
	struct loader loader = {
		.request = request,
		.memory = memory,
		.error = error,
		.error_size = error_size,
	};
	int rc;

	rc = load_kernel(&loader);
	if (!rc)
		rc = load_command_line(&loader);
	if (!rc)
		rc = load_initrd(&loader);
	if (rc)
		return rc;
	if (memory->written)
		memory->written(memory->opaque, 0, memory->size);
	entry->psw_mask = PSW_EA | PSW_BA;
	entry->psw_addr = loader.is_linux ? LINUX_ENTRY : loader.entry;
	return 0;
}
