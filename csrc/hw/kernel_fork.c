/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fork and exit as the running kernel does them. A process of its own holds the memory and gives back what it inherited
 * from its maker, so that its fork copies nothing but that memory and a few pages of libraries and stack.
 */
#include "hw/hw.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint64_t PAGE = 4096, HUGE_PAGE = 2u << 20;

const char *const fperf_hw_memory_names[FPERF_HW_NR_MEMORIES + 1] = {
#define X(NAME, name) [FPERF_HW_MEMORY_##NAME] = name,
	FPERF_HW_MEMORIES(X)
#undef X
};

/* All of a file of /proc that fits, as a string; no allocator, whose memory may be gone. */
static bool read_file(const char *path, char *text, size_t size)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t got = 0;

	while (fd >= 0 && got < size - 1) {
		const ssize_t nr = read(fd, text + got, size - 1 - got);

		if (nr <= 0)
			break;
		got += (size_t)nr;
	}
	text[got] = '\0';
	if (fd >= 0)
		close(fd);
	return got;
}

/* Without a locale, whose tables may be gone too. */
static uint64_t read_number(const char **at, unsigned int base)
{
	uint64_t value = 0;

	for (;; (*at)++) {
		const char c = **at;
		const unsigned int digit = c >= '0' && c <= '9' ? (unsigned int)(c - '0') :
					   c >= 'a' && c <= 'f' ? (unsigned int)(c - 'a') + 10 :
								  base;

		if (digit >= base)
			return value;
		value = value * base + digit;
	}
}

/* Bytes under PMDs in this process; 0 where the kernel does not say. */
static uint64_t huge_bytes(void)
{
	static const char KEY[] = "AnonHugePages:";
	char text[4096];
	const char *found;

	if (!read_file("/proc/self/smaps_rollup", text, sizeof(text)))
		return 0;
	found = strstr(text, KEY);
	if (!found)
		return 0;
	found += strlen(KEY);
	found += strspn(found, " ");
	return read_number(&found, 10) << 10;
}

/* A line of /proc/self/maps. */
struct mapping {
	uintptr_t start, end;
	const char *name; /* up to the end of the line; empty if it has none */
	size_t length;
};

static const char *next_mapping(const char *at, struct mapping *mapping)
{
	const char *const eol = strchr(at, '\n');
	const char *rest = at;

	if (!eol)
		return NULL;
	mapping->start = read_number(&rest, 16);
	rest++;
	mapping->end = read_number(&rest, 16);
	/* Protection, offset, device, inode; then the name, which holds '/' or '[' first. */
	while (rest < eol && *rest != '/' && *rest != '[')
		rest++;
	mapping->name = rest;
	mapping->length = (size_t)(eol - rest);
	return eol + 1;
}

/*
 * Give back all that this process inherited but its stack, its thread's own block and the files that this code, the C
 * library and the loader are in, with the zeroed data behind each. Nothing but system calls may follow.
 */
static bool forget_inheritance(void)
{
	const size_t size = 4u << 20;
	char *const text = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const uintptr_t needed[] = { (uintptr_t)forget_inheritance,	    (uintptr_t)kill,
				     (uintptr_t)getauxval(AT_BASE),	    (uintptr_t)__builtin_frame_address(0),
				     (uintptr_t)__builtin_thread_pointer(), (uintptr_t)text };
	enum { NR_NEEDED = sizeof(needed) / sizeof(*needed) };
	struct mapping home[NR_NEEDED] = { 0 }, mapping;
	uintptr_t kept_up_to = 0;

	if (text == MAP_FAILED || !read_file("/proc/self/maps", text, size))
		return false;
	for (const char *at = text; (at = next_mapping(at, &mapping));)
		for (unsigned int i = 0; i < NR_NEEDED; i++)
			if (needed[i] >= mapping.start && needed[i] < mapping.end)
				home[i] = mapping;
	for (const char *at = text; (at = next_mapping(at, &mapping));) {
		/* The stack and what the kernel maps for itself; "[heap]" goes. */
		bool keep = mapping.length && *mapping.name == '[' && strncmp(mapping.name, "[heap]", 6) != 0;

		for (unsigned int i = 0; i < NR_NEEDED; i++)
			keep |= mapping.start == home[i].start || (mapping.length && mapping.length == home[i].length &&
								   !memcmp(mapping.name, home[i].name, mapping.length));
		if (!mapping.length && mapping.start == kept_up_to)
			keep = true;
		if (keep)
			kept_up_to = mapping.end;
		else
			munmap((void *)mapping.start, mapping.end - mapping.start);
	}
	munmap(text, size);
	return true;
}

/* Write one byte of each page, pages in random order if asked. */
static bool touch(char *memory, uint64_t bytes, bool in_random_order)
{
	const uint64_t nr = bytes / PAGE;
	uint32_t *order;
	uint64_t state = 1;

	if (!in_random_order) {
		for (uint64_t at = 0; at < bytes; at += PAGE)
			memory[at] = 1;
		return true;
	}
	order = mmap(NULL, nr * sizeof(*order), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (order == MAP_FAILED)
		return false;
	for (uint64_t i = 0; i < nr; i++) {
		uint64_t j;

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		j = state % (i + 1);
		order[i] = order[j];
		order[j] = (uint32_t)i;
	}
	for (uint64_t i = 0; i < nr; i++)
		memory[order[i] * PAGE] = 1;
	munmap(order, nr * sizeof(*order));
	return true;
}

/* Memory of the wanted form; NULL if it cannot be had. */
static char *populate(uint64_t bytes, enum fperf_hw_memory form, struct fperf_hw_forked *ret)
{
	const bool huge = form == FPERF_HW_MEMORY_PTE_THP || form == FPERF_HW_MEMORY_PMD;
	char *const found = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *memory;

	if (found == MAP_FAILED)
		return NULL;
	memory = (char *)(((uintptr_t)found + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
	(void)madvise(memory, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (!touch(memory, bytes, form == FPERF_HW_MEMORY_ORDER0_RANDOM))
		return NULL;
	ret->huge_bytes = huge_bytes();
	/* A protection of part of a PMD's range splits the PMD; the folio stays whole. */
	if (form == FPERF_HW_MEMORY_PTE_THP)
		for (uint64_t at = 0; at < bytes; at += HUGE_PAGE)
			if (mprotect(memory + at + PAGE, PAGE, PROT_READ) ||
			    mprotect(memory + at + PAGE, PAGE, PROT_READ | PROT_WRITE))
				return NULL;
	ret->pmd_mapped_bytes = huge_bytes();
	return memory;
}

static bool fork_and_exit(struct fperf_hw_forked *ret)
{
	uint64_t begin = fperf_hw_now();
	/* Not fork(), whose handlers would look for memory that is gone. */
	const long child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);

	if (!child)
		for (;;)
			syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
	ret->fork_ns = fperf_hw_now() - begin;
	if (child < 0)
		return false;
	/* It comes to rest on another CPU, or this one. */
	usleep(2000);
	begin = fperf_hw_now();
	kill((pid_t)child, SIGKILL);
	if (waitpid((pid_t)child, NULL, 0) != child)
		return false;
	ret->exit_ns = fperf_hw_now() - begin;
	return true;
}

static bool write_whole(int fd, const void *from, size_t bytes)
{
	return write(fd, from, bytes) == (ssize_t)bytes;
}

int fperf_hw_fork(uint64_t bytes, enum fperf_hw_memory form, struct fperf_hw_forked *ret)
{
	struct fperf_hw_forked forked = { 0 };
	size_t got = 0;
	int ends[2];
	pid_t process;

	if (!bytes || bytes % HUGE_PAGE || form >= FPERF_HW_NR_MEMORIES)
		return FPERF_ERR(ARGUMENT);
	if (pipe(ends))
		return FPERF_ERR(NO_MEMORY);
	process = fork();
	if (!process) {
		signal(SIGINT, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(!(forget_inheritance() && populate(bytes, form, &forked) && fork_and_exit(&forked) &&
			write_whole(ends[1], &forked, sizeof(forked))));
	}
	close(ends[1]);
	while (process > 0 && got < sizeof(forked)) {
		const ssize_t nr = read(ends[0], (char *)&forked + got, sizeof(forked) - got);

		if (nr > 0)
			got += (size_t)nr;
		else if (!nr || errno != EINTR)
			break;
	}
	close(ends[0]);
	while (process > 0 && waitpid(process, NULL, 0) < 0 && errno == EINTR)
		;
	if (got < sizeof(forked))
		return FPERF_ERR(NO_MEMORY);
	*ret = forked;
	return 0;
}
